"""`Document` → its sentences and list items, each with the heading it stands under and its place.

The splitter is a small one of our own, for the register of these documents: layout first (what a
paragraph or list item is was settled in `documents`), then full stops, with the abbreviations
that they hold. General splitters were slower and broke on abbreviations or headings.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
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

COUNTED = re.compile(
    r"\b(?:appendix|annex|option|plan|grade|item|table|figure|part|section|group|band|category|paper|room|"
    r"route|schedule) \w$",
    re.I,
)
"""A letter that counts something: no name's initial, so a full stop after it may end the sentence."""

TITLED = re.compile(r"\b(?:mr|mrs|ms|miss|dr|prof|rev|sir|cllr|clr|councillor)\.?\s+[ai]$", re.I)
"""A name's initial that looks like the word `a` or `I`."""

BOUNDARY = re.compile(
    r"(?<![.!?…])[.!?…]+[\"'”’)\]*_]{0,20}"
    r"(?:(?<=[a-z]{2}.)\d{1,2}(?=\s)|(?<=\])\([^()\s]*\)[*_]*)?"  # a footnote's mark, a link's target
    r"(\s+(?:(?<=\n)[> \t]+)?|(?<=[a-z)]\.)(?=[A-Z][a-z]{2,} ))"
    r"(?!\([A-Za-z ]{1,20}\)\s*$)"  # "(Recommendation)" at the end belongs to what it marks
    r"(?=[\"'“‘(\[•*_]*[A-Z0-9£À-Þ]|\((?:outcome|enabler)[ :])"
)
MARKUP = re.compile(r"\*{2,}|_{2,}|(?<!\w)[*_](?=[\w“‘\"'(£])|(?<=[\w.,;:!?…)”’\"'])[*_](?!\w)|`|\\(?=[\W_]|$)|\|")
QUOTED = re.compile(r"\n[ \t]*>[> \t]*")
LINK = re.compile(r"!?\[([^\[\]]{0,2000})\]\([^)\n]{0,2000}\)")


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
        if block.kind == "judgement" and block.level:
            heading = ""  # the summary after the table of grades stands under no heading of its own
        if block.kind in ("furniture", "judgement"):
            continue
        if block.kind == "imprint":
            heading = ""
        if block.kind == "heading":
            heading = plain(document.text[block.start : block.end], document.format)
            continue
        whole = block.kind in ("table_row", "title")
        spans = [(block.start, block.end)] if whole else list(split(document.text, block.start, block.end))
        for start, end in spans:
            text = plain(document.text[start:end], document.format)
            if re.search(r"[^\W_]", text):
                listed = block.kind == "list_item"
                found.append(Sentence(text, heading, document.page(start), block.number, listed, start, end))
                if block.kind == "title":
                    heading = text
    return found


def split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The spans of the sentences in `text[start:end]`, white space around them left out."""
    begin = start
    links = deque(link.span() for link in LINK.finditer(text, start, end))
    for match in BOUNDARY.finditer(text, start, end):
        while links and links[0][1] <= match.start(1):
            links.popleft()
        if links and links[0][0] < match.start():
            continue  # within a link
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
    if text[match.start() : match.start(1)].rstrip("*_") != ".":
        return False
    before = text[max(begin, match.start() - 100) : match.start()]
    if not match.group(1) and re.search(r"[./@]\S*$", before):
        return True  # an address; a blank is missing after other full stops ("was late.This")
    word = re.search(r"[\w.’'-]*$", before)
    last = word.group().lower().lstrip("'’") if word else ""
    following = text[match.end() : match.end() + 2]
    if re.fullmatch(r"(?:[a-z]\.)*[a-z]", last):
        if COUNTED.search(before):
            return False
        if TITLED.search(before):
            return True
        if last in ("i", "a") and begin + 1 != match.start() and not re.match(r"[A-Z]\.", following):
            return False  # "... than I.", "plan A."
        # initials ("J. Smith") and "p.m.": a clock time may end a sentence, a name's initial does not
        return not (last in ("p.m", "a.m") and re.match(r"[A-Z]", following))
    if last in ("no", "nos", "p", "pp", "para", "paras", "ref", "v", "mar", "jun", "sep", "vol", "fig", "ext"):
        return bool(re.match(r"\d", following))
    if re.fullmatch(r"\d{1,3}", last) and before.strip("*_") == last:
        return True  # a number that opens the sentence is a paragraph's
    if last in ("miss", "sir", "hon", "rev") and word is not None and word.group().islower():
        return False  # "the people they miss."
    return last in ABBREVIATIONS and last not in ENDS_ANYWAY


def plain(text: str, form: str = "text") -> str:
    """One line of text as a reader sees it; Markdown's inline marks are taken out."""
    if form == "markdown":
        text = QUOTED.sub("\n", LINK.sub(r"\1", text))
        text = MARKUP.sub(lambda m: " " if m.group() == "|" else "", text)
    return " ".join(text.replace("\u00ad", "").split())


def encodable(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def fingerprint(text: str) -> str:
    """SHA-256 (hexadecimal) of the lower-cased letters and digits of a sentence: the same through
    changes of white space, quotes and hyphens, and with or without the targets of Markdown's links.
    It stands for text that may not be passed on."""
    letters = re.findall(r"[^\W_]", LINK.sub(r"\1", text).lower())
    return hashlib.sha256("".join(letters).encode()).hexdigest()
