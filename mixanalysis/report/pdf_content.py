"""A report as a document: what stands out, then figures and tables by section, then where all of it came from."""

from __future__ import annotations

from collections.abc import Iterable

from mixanalysis.report.pdf import Document
from mixanalysis.report.section import PrintTable, Report, Sources


def document(report: Report) -> Document:
    """The report's pages."""
    pages = Document()
    pages.section(report.overview.title)
    _parts(pages, report.overview.pages().summary)
    for section in report.sections:
        if section.finding is not None:
            pages.heading(section.finding.title)
            pages.paragraph(" ".join(section.finding.sentences))
    printed = [(section.title, section.pages()) for section in report.sections]
    for _, part in printed:
        _parts(pages, part.summary)
    for title, part in printed:
        pages.section(title)
        for drawing in part.figures:
            pages.drawing(drawing.draw, drawing.size[1], drawing.caption, *drawing.arguments)
        _parts(pages, part.tables)
    _provenance(pages, report.sources)
    return pages


def _parts(pages: Document, parts: Iterable[PrintTable | str]) -> None:
    for part in parts:
        if isinstance(part, str):
            pages.paragraph(part)
        else:
            pages.table(part.caption, part.header, part.rows, part.sides)


def _provenance(pages: Document, sources: Sources) -> None:
    data = sources.data
    pages.section("Provenance")
    for item in sources.inputs:
        pages.heading(f"{item['label']}: {item['path']} ({item['format']}, layout {item['layout']})")
        pages.paragraph(f"sha256 {item['sha256']}")
    pages.heading(f"Data: {data['name']}, {data['split']} set, {data['images']} images")
    pages.paragraph(f"sha256 {data['fingerprint']}")
    pages.paragraph(", ".join(f"{name} {number}" for name, number in sources.versions.items()))
    pages.paragraph("manifest.json beside this file holds the parameters, and the sha256 of every output.")
