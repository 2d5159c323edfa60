"""The documentation: MyST pages, docstrings, and tables made from the code. It is built without a network.

Formulas become MathML, which docutils itself makes of LaTeX and browsers show without scripts or fonts from elsewhere;
a formula that docutils can't read stops the build.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "cli")]

from mixanalysis import __version__  # noqa: E402
from tables import TABLES  # noqa: E402

project = "mixanalysis"
author = "The mixanalysis authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"mixanalysis {version}"
html_static_path = ["_static"]
html_css_files = ["mathml.css"]
html_math_renderer = "mathml"
html_show_sphinx = False


def fill(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Put the tables made from the code where a page asks for them, `<!-- table: NAME -->`."""
    source[0] = re.sub(r"<!-- table: ([\w-]+) -->", lambda match: TABLES[match[1]](), source[0])


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own."""
    writer.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", fill)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
