"""Control characters of names and messages told as escapes, so that none reaches a terminal, a page or a figure."""

from __future__ import annotations

import re

UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move, hide or turn round what stands beside them, or that no file of text can hold."""


def visible(text: str, keep: str = "") -> str:
    r"""A text whose control characters are told as escapes.

    Args:
        text: any.
        keep: control characters that stay.

    Returns:
        The text in one line, unless `keep` has line breaks.

    Examples:
        >>> print(visible("bell\x07"))
        bell\x07
    """
    return UNSEEN.sub(lambda each: each[0] if each[0] in keep else each[0].encode("unicode_escape").decode(), text)


def visible_json(text: str, *, ascii_only: bool = False) -> str:
    r"""JSON that says the same without control characters, and without any character beyond ASCII where asked.

    Args:
        text: JSON, whose line breaks stand between its values.
        ascii_only: write all that isn't ASCII as escapes.

    Returns:
        JSON of the same content.

    Examples:
        >>> print(visible_json('["γ\x9b"]'))
        ["γ\u009b"]
        >>> print(visible_json('["γ\x9b"]', ascii_only=True))
        ["\u03b3\u009b"]
    """
    seen = UNSEEN.sub(lambda each: each[0] if each[0] == "\n" else _escape(each[0]), text)
    return re.sub(r"[^\x00-\x7f]", lambda each: _escape(each[0]), seen) if ascii_only else seen


def _escape(character: str) -> str:
    """The character as JSON's escape, one of two halves beyond U+FFFF."""
    halves = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{halves[start : start + 4]}" for start in range(0, len(halves), 4))
