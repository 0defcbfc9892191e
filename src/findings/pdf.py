"""A PDF file → its lines of text with page, size, weight and position (pypdfium2).

Layout only: what the lines mean is decided in `documents`.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
from pypdfium2 import raw

from findings.errors import FindingsError

MAX_PAGES = 2000
"""More than any report has; a longer file is refused rather than worked on for hours."""

CELL_GAP = 1.6
"""A gap between two words wider than this many line heights parts columns or cells."""

WORD = re.compile(r"[^\W\d_]{2}|\d{3}")
BLANK = re.compile(r"(?<=\S)[ \t\u00a0]+(?=\S)")

HYPHEN = "\ufffe"
"""What pdfium writes for a hyphen that it takes for a line break's."""


@dataclass(frozen=True)
class Line:
    """One line of a page.

    Attributes:
        page: from 1.
        size: font size of the first letter, in points.
        bold: whether the first letter's font is bold.
        left, right: distance of the first and the last sign from the left edge, in points.
        top, bottom: of the first letter, from the bottom edge of the page, in points.
    """

    text: str
    page: int
    size: float
    bold: bool
    left: float
    right: float
    top: float
    bottom: float


def read_lines(path: Path) -> list[Line]:
    """All lines of the file in the order of its text.

    Raises:
        FindingsError: the file is encrypted, damaged, or longer than `MAX_PAGES`.
    """
    try:
        pdf = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        reason = str(error).lower()
        if "password" in reason or "security" in reason:
            raise FindingsError(
                f"{path}: the PDF is encrypted. Save a copy without a password and read that."
            ) from error
        raise FindingsError(f"{path}: not a readable PDF (damaged or cut short). Fetch the file again.") from error
    try:
        if len(pdf) > MAX_PAGES:
            raise FindingsError(f"{path}: {len(pdf)} pages are more than {MAX_PAGES}. Split the file.")
        return [line for index in range(len(pdf)) for line in _page_lines(pdf[index], index + 1)]
    except pdfium.PdfiumError as error:
        raise FindingsError(f"{path}: a page cannot be read (damaged file). Fetch the file again.") from error
    finally:
        pdf.close()


def _page_lines(page: pdfium.PdfPage, number: int) -> Iterator[Line]:
    textpage = page.get_textpage()
    text = textpage.get_text_range()
    last: Line | None = None
    drift = 0  # characters that the text has but the page's character index has not
    for match in re.finditer(r"[^\r\n]+", text):
        line = match.group().rstrip()
        if not line:
            continue
        # A paragraph's number or bullet may be set in another size than its text.
        letter = re.search(r"[^\W\d_]", line) or re.search(r"\w", line) or re.search(r"\S", line)
        assert letter is not None
        drift = _drift(textpage, match.start() + letter.start(), letter.group(), drift)
        for start, end in _cells(textpage, line, match.start() - drift):
            made = _line(textpage, line[start:end], match.start() + start - drift, number)
            raised = last is not None and made.size < 0.8 * last.size and last.bottom < made.bottom < last.top
            if not (raised and re.fullmatch(r"\d{1,2}", made.text)):  # a footnote's mark alone
                yield made
                last = made


MARK = re.compile(r"(?<=[^\W\d_]|[.,;:?!’”)])\d{1,2}(?![\w%])")
"""Digits that touch the word before them; a footnote's mark if they are set smaller."""


def _line(textpage: pdfium.PdfTextPage, text: str, index: int, number: int) -> Line:
    first = len(text) - len(text.lstrip())
    letter = re.search(r"[^\W\d_]", text) or re.search(r"\w", text)
    at = index + (letter.start() if letter else first)
    size, bold = _font(textpage, at)
    _, bottom, _, top = _box(textpage, at)
    left, right = _box(textpage, index + first)[0], _box(textpage, index + len(text.rstrip()) - 1)[2]
    for mark in reversed(list(MARK.finditer(text))):
        if _is_small(textpage, index + mark.start(), mark.group()):
            text = text[: mark.start()] + text[mark.end() :]
    return Line(text.strip(), number, size, bold, left, right, top, bottom)


def _is_small(textpage: pdfium.PdfTextPage, index: int, digits: str) -> bool:
    """Whether the digits at `index` are set smaller than what stands before them."""
    if not _is_at(textpage, index, digits[0]):
        return False
    return _font(textpage, index)[0] < 0.8 * _font(textpage, index - 1)[0]


def _cells(textpage: pdfium.PdfTextPage, line: str, index: int) -> Iterator[tuple[int, int]]:
    """The spans of a line between gaps that are wider than any between words: columns, cells of a table.
    What stands before the first gap is a cell only if it is more than a number or a bullet."""
    word = WORD.search(line)
    begin = 0
    for blank in BLANK.finditer(line, word.end()) if word else ():
        last, first = index + blank.start() - 1, index + blank.end()
        _, bottom, right, top = _box(textpage, last)
        left, low, _, high = _box(textpage, first)
        if left - right <= CELL_GAP * max(top - bottom, high - low):
            continue
        apart = _is_at(textpage, last, line[blank.start() - 1]) and _is_at(textpage, first, line[blank.end()])
        if apart and WORD.search(line, begin, blank.start()) and HYPHEN not in line[begin : blank.start()]:
            yield begin, blank.start()
            begin = blank.end()
    yield begin, len(line)


def _drift(textpage: pdfium.PdfTextPage, index: int, letter: str, drift: int) -> int:
    """How far the page's character index lags behind the text at `index`; the old value where unsure."""
    for step in (0, 1, 2, 3, -1, -2):
        if _is_at(textpage, index - drift - step, letter):
            return drift + step
    return drift


def _is_at(textpage: pdfium.PdfTextPage, index: int, letter: str) -> bool:
    return bool(raw.FPDFText_GetUnicode(textpage, index) == ord(letter))


def _font(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, bool]:
    size = raw.FPDFText_GetFontSize(textpage, index)
    matrix = raw.FS_MATRIX()  # some writers set everything in one point and scale it
    if raw.FPDFText_GetMatrix(textpage, index, matrix):
        size *= math.hypot(matrix.c, matrix.d)
    flags = ctypes.c_int()
    buffer = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(textpage, index, buffer, 128, flags)
    name = buffer.value.decode("utf-8", "replace").lower()
    bold = "bold" in name or "black" in name or raw.FPDFText_GetFontWeight(textpage, index) >= 600
    return round(float(size), 1), bold


def _box(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    # The loose box has the height of the font, not of the letter: lines of one font compare.
    box = raw.FS_RECTF()
    raw.FPDFText_GetLooseCharBox(textpage, index, box)
    return box.left, box.bottom, box.right, box.top
