"""Results of analyses as figures, PDF and HTML."""

from mixanalysis.report.style import FigureStyle

__all__ = ["FigureStyle"]
