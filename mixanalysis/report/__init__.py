"""Tables to figures, pages and folders."""

from mixanalysis.report.folder import Request, opened
from mixanalysis.report.style import Look
from mixanalysis.report.writer import write_report

__all__ = ["Look", "Request", "opened", "write_report"]
