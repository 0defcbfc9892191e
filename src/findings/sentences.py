"""`Document` → its sentences and list items, each with the heading it stands under and its place.

The splitter is a small one of our own, for the register of these documents: layout first (what a
paragraph or list item is was settled in `documents`), then full stops, with the abbreviations
that they hold. General splitters were slower and broke on abbreviations or headings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from findings.documents import Document

ABBREVIATIONS = frozenset(
    """mr mrs ms miss dr prof rev hon rt st cllr clr sir no nos para paras p pp vol fig ref refs tel ext approx
    e.g eg i.e ie etc viz cf vs v al inc ltd co dept govt jan feb mar apr jun jul aug sep sept oct nov dec""".split()
)
"""Words that a full stop follows without ending the sentence (lower case, without the last stop)."""

ENDS_ANYWAY = frozenset("etc al inc ltd co dept".split())
"""Of these, the ones after which a capital letter does begin a sentence."""

LETTERED = re.compile(
    r"\b(?:appendix|annex|option|plan|grade|item|table|figure|part|section|group|band|category|paper|room|route|schedule) \w$",
    re.I,
)
"""A letter that counts something: no name's initial, so a full stop after it may end the sentence."""

BOUNDARY = re.compile(r"[.!?…]+[\"'”’)\]]*(?:(?<=[a-z]{2}.)\d{1,2}(?=\s))?(\s+)(?=[\"'“‘(\[•]*[A-Z0-9£À-Þ]|\((?:outcome|enabler) )")
MARKUP = re.compile(r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=[\w.])[*_](?!\w)|`|\\(?=[\W_])|\s*\|\s*")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Sentence:
    """A sentence or list item of a document.

    Attributes:
        text: as a reader sees it: one line, without markup.
        heading: the nearest heading above it; empty where there is none.
        page: from 1.
        paragraph: the number printed before its paragraph, or None.
        start, end: character span in `Document.text`.
    """

    text: str
    heading: str
    page: int
    paragraph: int | None
    list_item: bool
    start: int
    end: int


def sentences(document: Document) -> list[Sentence]:
    """All sentences of the document in its order, running headers, footers and grades left out."""
    found: list[Sentence] = []
    heading = ""
    for block in document.blocks:
        if block.kind in ("furniture", "judgement"):
            continue
        if block.kind == "heading":
            heading = plain(document.text[block.start : block.end], document.format)
            continue
        whole = block.kind in ("table_row", "title")
        spans = [(block.start, block.end)] if whole else list(split(document.text, block.start, block.end))
        for start, end in spans:
            text = plain(document.text[start:end], document.format)
            if re.search(r"\w", text):
                listed = block.kind == "list_item"
                found.append(Sentence(text, heading, document.page(start), block.number, listed, start, end))
        if block.kind == "title":
            heading = found[-1].text
    return found


def split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The spans of the sentences in `text[start:end]`, white space around them left out."""
    begin = start
    for match in BOUNDARY.finditer(text, start, end):
        if _is_abbreviation(text, begin, match):
            continue
        yield begin, match.start(1)
        begin = match.end(1)
    stop = begin + len(text[begin:end].rstrip())
    if stop > begin:
        yield begin, stop


def _is_abbreviation(text: str, begin: int, match: re.Match[str]) -> bool:
    if match.group().startswith("...."):
        return True  # a line to sign on
    if text[match.start()] != "." or match.group().strip() != ".":
        return False
    word = re.search(r"[\w.’'-]*$", text[begin : match.start()])
    last = word.group().lower().lstrip("'’") if word else ""
    following = text[match.end() :]
    if re.fullmatch(r"(?:[a-z]\.)*[a-z]", last):
        if LETTERED.search(text[begin : match.start()]):
            return False
        if last in ("i", "a") and begin + 1 != match.start() and not re.match(r"[A-Z]\.", following):
            return False  # "... than I.", "plan A."
        # initials ("J. Smith") and "p.m.": a clock time may end a sentence, a name's initial does not
        return not (last in ("p.m", "a.m") and re.match(r"[A-Z]", following))
    if last in ("no", "nos", "p", "pp", "para", "paras", "ref", "v", "mar", "jun", "sep", "vol", "fig", "ext"):
        return bool(re.match(r"\d", following))
    if re.fullmatch(r"\d{1,3}", last) and begin + len(last) == match.start():
        return True  # a number that opens the sentence is a paragraph's
    return last in ABBREVIATIONS and last not in ENDS_ANYWAY


def plain(text: str, form: str = "text") -> str:
    """One line of text as a reader sees it; Markdown's inline marks are taken out."""
    if form == "markdown":
        text = MARKUP.sub(lambda m: " " if "|" in m.group() else "", LINK.sub(r"\1", text))
    return " ".join(text.replace("\u00ad", "").split())


def fingerprint(text: str) -> str:
    """SHA-256 (hexadecimal) of the lower-cased letters and digits of a sentence: the same through
    changes of white space, quotes and hyphens. It stands for text that may not be passed on."""
    return hashlib.sha256("".join(re.findall(r"[^\W_]", text.lower())).encode()).hexdigest()
