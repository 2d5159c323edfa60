"""Documents: nothing is lost between pages, nothing overlaps, and what belongs together stays together."""

from __future__ import annotations

import io

import numpy as np
import pypdfium2
import pytest

from mixanalysis.report.pdf import INNER, WIDTH, Document, write_pdf

HEADER = ("name", "size", "value")


def rows_of(count):
    return [(f"layer{number}", f"{number}", f"{number / 7:.3f}") for number in range(count)]


def texts_of(document):
    """The lines of each page, as a reader's program finds them."""
    file = io.BytesIO()
    write_pdf(file, document)
    pdf = pypdfium2.PdfDocument(file.getvalue())
    try:
        return [page.get_textpage().get_text_range().splitlines() for page in pdf]
    finally:
        pdf.close()


@pytest.mark.parametrize("count", [0, 1, 53, 54, 55, 200])
def test_long_tables_flow_over_pages(count):
    document = Document()
    document.section("Title")
    document.table("Many rows.", HEADER, rows_of(count), "lrr")
    pages = texts_of(document)
    assert len(pages) == (1 if count < 53 else 2 if count < 100 else 4)
    found = []
    for number, lines in enumerate(pages, start=1):
        assert lines[0].strip() == ("Title" if number == 1 else "Title, continued")
        assert lines[-1].strip() == f"{number} / {len(pages)}"
        words = " ".join(lines[2 if number == 1 else 1 : -1]).split()
        assert tuple(words[:3]) == HEADER
        found += words[3:]
    assert found == [cell for row in rows_of(count) for cell in row]


def test_nothing_is_lost_and_what_leads_is_never_last():
    generator = np.random.default_rng(0)
    for _ in range(30):
        document, wanted = Document(), 0
        for _ in range(generator.integers(2, 6)):
            document.section("Section")
            for _ in range(generator.integers(1, 9)):
                kind = generator.integers(4)
                wanted += [1, 2, 2, 0][kind]
                if kind == 0:
                    document.paragraph("word " * int(generator.integers(1, 300)))
                if kind == 1:
                    document.heading("heading")
                    document.paragraph("text")
                if kind == 2:
                    document.drawing(lambda _part: None, float(generator.uniform(0.5, 9)), "caption")
                if kind == 3:
                    document.table("caption", HEADER, rows_of(int(generator.integers(1, 150))), "lrr")
        pages = document.pages()
        for blocks in pages:
            assert sum(block.height for block in blocks) <= INNER + 1e-9
            assert len(blocks) > 1, "a page with its title alone"
            assert not blocks[-1].leads
        assert sum(len(blocks) for blocks in pages) >= wanted


@pytest.mark.parametrize("length", [5, 40, 120])
def test_columns_do_not_overlap_and_long_names_keep_both_ends(length):
    document = Document()
    document.section("Title")
    header = ("network", "layer", "m", "p", "v", "edge", "s_max", "p-value", "outliers")
    name = "first" + "w" * length + "last"
    row = (name, name, "150528", "0.0625", "0.008154", "2.4664", "4.5551", "< 1e-12", "12")
    document.table("Wide.", header, [row] * 2, "llrrrrrrr")
    (blocks,) = document.pages()
    table = blocks[-1].draw.args[0]
    assert table.places[-1][1] <= WIDTH + 1e-9
    for (_, right), (left, _) in zip(table.places, table.places[1:], strict=False):
        assert right < left
    first = table.rows[0][0]
    assert first == name or (first[:5], first[-4:], first.count("…")) == ("first", "last", 1)
    assert table.rows[0][2:] == row[2:]
    (lines,) = texts_of(document)
    assert " ".join(row[2:]) in " ".join(" ".join(lines).split())


def test_columns_that_say_nothing_are_left_out():
    document = Document()
    document.section("Title")
    document.table("Some.", ("a", "relation", "b"), [("x", "", "1"), ("y", "", "")], "llr")
    (lines,) = texts_of(document)
    assert [line.split() for line in lines[2:-1]] == [["a", "b"], ["x", "1"], ["y"]]
