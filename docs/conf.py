"""The documentation: MyST pages, docstrings, and tables made from the code. It is built without a network.

Formulas become MathML, which docutils itself makes of LaTeX and browsers show without scripts or fonts from elsewhere;
a formula that docutils can't read stops the build.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError
from sphinx.ext.napoleon import GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "cli")]

from generated import TABLES  # noqa: E402

from mixanalysis import __version__  # noqa: E402

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
napoleon_use_ivar = True
smartquotes = False
default_role = "code"

html_theme = "furo"
html_title = f"mixanalysis {version}"
html_static_path = ["_static"]
html_css_files = ["mathml.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_show_copyright = False


def fill(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Put the tables made from the code where a page asks for them, `<!-- table: NAME -->`."""
    source[0] = re.sub(r"<!-- table: ([\w-]+) -->", lambda match: TABLES[match[1]](), source[0])


def plain(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Docstrings are text with formulas such as |x|_F and y* in it, whose bars and stars aren't markup."""
    for index, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"\*(?=\S)|\||(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        lines[index] = "`".join(parts)


def properties(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """A property's docstring as a method's; napoleon takes what stands before a colon in it for a type."""
    if what == "property":
        text = (inspect.getdoc(thing) or "").splitlines()
        plain(app, what, name, thing, options, text)
        lines[:] = GoogleDocstring(text, app.config, app, "method", name, thing, options).lines()


def mathml(node: nodes.Element, *, as_block: bool = False) -> str:
    """A formula as MathML, with words upright by themselves, parted from what they apply to, and norms of one size."""
    try:
        text = tex2mathml(node.astext(), as_block=as_block)
        text = re.sub(r'<mi mathvariant="normal">(\w{2,})</mi>', r"<mi>\1</mi>", text)
        text = text.replace("<mo>‖</mo>", '<mo stretchy="false">‖</mo>')
        return re.sub(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>\()", '<mspace width="0.1667em"></mspace>', text)
    except (MathError, IndexError, SyntaxError) as error:
        raise ExtensionError(f"{node.source}:{node.line}: can't read the formula {node.astext()}: {error}") from None


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    writer.body.append(mathml(node))
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own."""
    writer.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", plain, priority=100)
    app.connect("autodoc-process-docstring", properties, priority=900)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
