"""Text that Markdown and HTML show as it is, whatever somebody wrote into it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
"""Characters that reorder or hide the text beside them, or that XML and UTF-8 cannot hold."""


def visible(text: str) -> str:
    """The text with characters that reorder, hide or break it (bidirectional and control characters,
    lone surrogates) shown by their numbers."""
    return HIDDEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", text)


def escaped(text: str) -> str:
    """One line of text that Markdown shows as it is: no markup, no HTML, no link, no mention."""
    text = re.sub(r"([\\`*_{}\[\]<>#|~&$^@])", r"\\\1", visible(" ".join(text.split())))
    return re.sub(r"\b(www)\.|:(?=//)", lambda m: f"{m[1]}\\." if m[1] else "\\:", text, flags=re.I)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, its cells shown as they are."""
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]
