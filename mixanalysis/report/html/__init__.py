"""The report as one HTML file that needs nothing beside itself."""

from mixanalysis.report.html.page import write_html

__all__ = ["write_html"]
