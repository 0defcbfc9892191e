"""A PDF file → its lines of text with page, size, weight and position (pypdfium2).

Layout only: what the lines mean is decided in `documents`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
from pypdfium2 import raw

from findings.errors import FindingsError

MAX_PAGES = 2000
"""More than any report has; a longer file is refused rather than worked on for hours."""

HYPHEN = "\ufffe"
"""What pdfium writes for a hyphen that it takes for a line break's."""


@dataclass(frozen=True)
class Line:
    """One line of a page.

    Attributes:
        page: from 1.
        size: font size of the first letter, in points.
        bold: whether the first letter's font is bold.
        left: distance of the first letter from the left edge, in points.
        top, bottom: of the first letter, from the bottom edge of the page, in points.
    """

    text: str
    page: int
    size: float
    bold: bool
    left: float
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
    drift = 0  # characters that the text has but the page's character index has not
    for match in re.finditer(r"[^\r\n]+", text):
        line = match.group()
        first = re.search(r"\w", line) or re.search(r"\S", line)
        if first is None:
            continue
        index = match.start() + first.start()
        drift = _drift(textpage, index, first.group(), drift)
        size, bold = _font(textpage, index - drift)
        left, bottom, _, top = _box(textpage, index - drift)
        yield Line(line.strip(), number, size, bold, left, top, bottom)


def _drift(textpage: pdfium.PdfTextPage, index: int, letter: str, drift: int) -> int:
    """How far the page's character index lags behind the text at `index`; the old value where unsure."""
    for step in (0, 1, 2, 3, -1, -2):
        if raw.FPDFText_GetUnicode(textpage, index - drift - step) == ord(letter):
            return drift + step
    return drift


def _font(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, bool]:
    size = raw.FPDFText_GetFontSize(textpage, index)
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
