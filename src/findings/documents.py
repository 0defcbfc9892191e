"""A file → `Document`: its text and the blocks in it (headings, paragraphs, list items).

PDF, Word, HTML, Markdown and plain text. The text of Markdown and plain-text documents is the
file's own, so that character spans can be checked against the file; the text of the others is
put together from their pages or elements, wrapped lines joined.
"""

from __future__ import annotations

import re
import zipfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

from findings import pdf
from findings.errors import FindingsError

BlockKind = Literal["heading", "title", "paragraph", "list_item", "table_row", "judgement", "imprint", "furniture"]

MAX_BYTES = 100 * 2**20
"""Files beyond this are refused, as are Word files that unpack to more."""

MAX_TEXT_BYTES = 10 * 2**20
"""The same for HTML, Markdown and plain text."""

DASHES = "-–—−"
BULLET = re.compile(rf"^(?:[•◦▪▫■□●○◼◾‣⁃∙·*\uf000-\uf0ff]|[{DASHES}+](?=\s)|o(?=\s{{1,3}}[A-Z]))\s*")
EMPHASIS = re.compile(r"\*\*|\*\S[^*]*(?<=\S)\*(?!\w)")
ORDERED = re.compile(r"(\d{1,3})[.)]\s+")
NUMBER = re.compile(r"^\(?(\d{1,3})(?:[.)]|\.\.)(?:\s*(?=[A-Z‘’“\"'(])|\s+(?=\d+(?:%|-|\s[a-z])))")
TABLE_HEAD = re.compile(r"^judgements?\W+grades?\W*$", re.I)
TABLE_CELL = re.compile(
    r"^(?:(?:the )?(?:overall effectiveness|(?:experiences and progress|impact of leaders)\b[^.]{0,90}))?[\s:]*"
    r"(?:outstanding|good|adequate|inadequate|requires improvement(?: to be good)?|to be good)?$",
    re.I,
)
GRADE_CELL = re.compile(
    r"(?=[A-Z])(?i:outstanding|good|adequate|inadequate|requires\s+improvement(?:\s+to\s+be\s+good)?|grade)"
)
WRAPPED_GRADE = "requires improvement to be good".split()
LETTERED = re.compile(r"^\(?(?:[ivx]{1,4}|[a-z])[.)]\s+(?=\w)")
NO_TITLE = re.compile(r"[.!?,;\"”’]$")
GRADE = re.compile(
    r"^(?=.{0,160}$)(?:.*\b(?:judgement|effectiveness|impact|progress|leavers|permanence|performance|protection|"
    r"governance|care|practice|services?|board)\b.*)[\s|:*]+"
    r"(?:grade|outstanding|good|adequate|inadequate|requires improvement(?: to be good)?)[\s|*]*$",
    re.I | re.S,
)
IMPRINT = re.compile(
    r"(?:the )?office for standards in education|any complaints about the inspection|© crown copyright|"
    r"you may (?:reuse|copy)|if you would like a copy",
    re.I,
)
SENTENCE_END = re.compile(r"[.!?:;…][\"'”’)\]]*$")


@dataclass(frozen=True)
class Block:
    """A piece of a document's text.

    Attributes:
        kind: `title` is a line of plain text that stands like a heading: it is read as a sentence
            and heads what follows; a `heading` only heads; a `judgement` is a row of the table of
            grades; the `imprint` at the end (who the publisher is, its addresses and licence) stands
            under no heading; `furniture` (running headers and footers, page numbers) is neither.
        start, end: character span in `Document.text`, without bullet or number.
        level: of a heading, from 1 (also of one that turned out to head a table of grades); 0 otherwise.
        number: the number printed before a paragraph, or None.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    number: int | None = None


@dataclass(frozen=True)
class Document:
    """One file, read.

    Attributes:
        name: the file's name without its folder.
        format: pdf, docx, html, markdown or text.
        page_starts: the offset in `text` at which each page begins; one page where there are none.
    """

    name: str
    format: str
    text: str
    blocks: tuple[Block, ...]
    page_starts: tuple[int, ...] = (0,)

    def page(self, offset: int) -> int:
        """The page, from 1, on which the character at `offset` stands."""
        return bisect_right(self.page_starts, offset)


def read(path: str | Path) -> Document:
    """Read a document; its content must be what its name's ending says.

    Raises:
        FindingsError: no such file, an ending that is not known, content that is something else,
            or no text in it. The message names the file and the remedy.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise FindingsError(
            f"{path}: cannot read '{path.suffix or 'no ending'}' files. Give one of {', '.join(READERS)}."
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}. Check the name and that you may read it.") from error
    if size == 0:
        raise FindingsError(f"{path}: the file is empty. Fetch it again.")
    most = MAX_BYTES if path.suffix.lower() in (".pdf", ".docx") else MAX_TEXT_BYTES
    if size > most:
        raise FindingsError(f"{path}: {size // 2**20} MiB are more than {most // 2**20} MiB. Split the file.")
    try:
        document = reader(path)
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror or error}. Check that you may read it.") from error
    except FindingsError:
        raise
    except RecursionError as error:
        raise FindingsError(f"{path}: nested too deeply to be a document.") from error
    except Exception as error:  # whatever a library makes of a damaged or hostile file, the others must go on
        kind = {".pdf": "PDF", ".docx": "Word document"}.get(path.suffix.lower(), "document")
        raise FindingsError(f"{path}: a damaged {kind}. Save or fetch the file again.") from error
    if not any(block.kind != "furniture" for block in document.blocks):
        raise FindingsError(f"{path}: no text in it. If it is a scan, run text recognition (OCR) on it first.")
    return document


# Putting a text together -------------------------------------------------------------------------


class _Builder:
    """Collects the text of a document block by block; pieces of one block may lie on several pages."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.blocks: list[Block] = []
        self.page_starts: list[int] = []

    def add(
        self, kind: BlockKind, pieces: Iterable[tuple[str, int]], *, level: int = 0, number: int | None = None
    ) -> None:
        """Append a block of (text, page) pieces; a piece is joined to the one before by a blank
        unless that ends in a joined hyphen."""
        start, first = self.length, True
        for text, page in pieces:
            if not text:
                continue
            glue = "" if first else (" " if not self.parts[-1].endswith("\u00ad") else "")
            if self.parts and self.parts[-1].endswith("\u00ad"):
                self.parts[-1] = self.parts[-1][:-1]
                self.length -= 1
            self._append(glue)
            while len(self.page_starts) < page:
                self.page_starts.append(self.length)
            self._append(text)
            first = False
        if not first:
            self.blocks.append(Block(kind, start, self.length, level, number))
            self._append("\n\n")

    def _append(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)

    def document(self, path: Path, form: str) -> Document:
        text = "".join(self.parts)
        return Document(path.name, form, text, tuple(self.blocks), tuple(self.page_starts or [0]))


# PDF ---------------------------------------------------------------------------------------------


def _read_pdf(path: Path) -> Document:
    with path.open("rb") as file:
        head = file.read(2048)
    if what := not_pdf(head):
        served = ": the publisher's site served an error page" if "HTML" in what else ""
        raise FindingsError(f"{path}: this is {what}{served}. Fetch the file again.")
    lines = list(_in_reading_order(pdf.read_lines(path)))
    builder = _Builder()
    if lines:
        _Layout(lines).build(builder)
    document = builder.document(path, "pdf")
    return replace(document, blocks=tuple(_imprint(document.text, _graded(document.text, list(document.blocks)))))


def not_pdf(head: bytes) -> str | None:
    """What a file that begins so is instead of a PDF, in a few words; None for a PDF."""
    if b"%PDF-" in head:
        return None
    return "an HTML page, not a PDF" if re.search(rb"<!doctype\s+html|<html|<head", head, re.I) else "not a PDF"


def _imprint(text: str, blocks: list[Block]) -> list[Block]:
    """Mark what follows the last section: from where the publisher introduces itself to the end."""
    last = max((n for n, block in enumerate(blocks) if block.kind == "heading"), default=-1)
    after = (n for n, b in enumerate(blocks) if n > last and IMPRINT.match(text[b.start : b.end]))
    first = next(after, len(blocks))
    ends = [block if block.kind == "furniture" else replace(block, kind="imprint") for block in blocks[first:]]
    return [*blocks[:first], *ends]


def _in_reading_order(lines: list[pdf.Line]) -> Iterator[pdf.Line]:
    """The lines of each page from top to bottom. Most are stored so; where some are not and the page
    has one column, they are sorted."""
    for _, page in groupby(lines, key=lambda line: line.page):
        stored = list(page)
        rises = any(line.bottom > last.top + 2 * (last.top - last.bottom) for last, line in pairwise(stored[2:]))
        # A raised mark stands a little higher than its line and must stay behind it.
        level = sorted(stored, key=lambda line: (-round(line.bottom + line.top) // 12, line.left)) if rises else []
        beside = sum(line.left > last.right and _is_level(last, line) for last, line in pairwise(level))
        yield from level if rises and beside < 0.2 * len(stored) else stored


def _is_level(line: pdf.Line, other: pdf.Line) -> bool:
    return min(line.top, other.top) - max(line.bottom, other.bottom) > 0.5 * min(
        line.top - line.bottom, other.top - other.bottom
    )


class _Layout:
    """The lines of a PDF → blocks, by size, weight, position and how the lines begin."""

    def __init__(self, lines: list[pdf.Line]) -> None:
        self.furniture = _running_lines(lines) | _contents(lines)
        self.lines = lines
        self.rows = _grade_rows([line for line in lines if line not in self.furniture])
        weight: Counter[float] = Counter()
        for line in lines:
            weight[line.size] += len(line.text)
        self.body = weight.most_common(1)[0][0]
        self.words = Counter(re.findall(r"\w+(?:-\w+)*", " ".join(line.text for line in lines).lower()))

    def build(self, builder: _Builder) -> None:
        group: list[pdf.Line] = []
        later: list[list[pdf.Line]] = []  # footnotes at the foot of a page that a paragraph runs over
        for line in self.lines:
            if line in self.furniture or (row := self.rows.get(line)) == ():
                continue
            if row is not None:
                self._add_all(builder, [group, *later])
                group, later = [], []
                self._add_row(builder, row)
                continue
            if group and self._is_note(line, group):
                if later and not re.match(r"\d", line.text):
                    later[-1].append(line)
                else:
                    later.append([line])
                continue
            if group and self._continues(group, line):
                group.append(line)
                continue
            self._add_all(builder, [group, *later])
            group, later = [line], []
        self._add_all(builder, [group, *later])
        for line in self.lines:
            if line in self.furniture:
                builder.blocks.append(Block("furniture", builder.length, builder.length))

    def _add_row(self, builder: _Builder, row: tuple[pdf.Line, ...]) -> None:
        """A row of a table of grades: its label's lines, then its grade's. Where a section's heading
        carries its grade beside it, the heading heads."""
        beside = self._is_heading(row[0]) and row[0].page > 1
        if beside:
            self._add(builder, [line for line in row if not _is_grade_part(line.text)])
        builder.add("judgement", [(self._unwrap(line.text, ""), line.page) for line in row], level=0 if beside else 1)

    def _add_all(self, builder: _Builder, groups: Iterable[list[pdf.Line]]) -> None:
        for group in groups:
            self._add(builder, group)

    def _is_heading(self, line: pdf.Line) -> bool:
        larger = line.size >= self.body + 1
        bold = line.bold and line.size >= self.body - 0.5
        return (larger or bold) and not BULLET.match(line.text) and len(line.text.split()) <= 20

    def _is_note(self, line: pdf.Line, group: list[pdf.Line]) -> bool:
        return line.size <= self.body - 1.5 and group[0].size >= self.body - 1 and not line.bold and line.top < 200

    def _continues(self, group: list[pdf.Line], line: pdf.Line) -> bool:
        last = group[-1]
        if _follows_in_row(last, line):
            return True
        heading = self._is_heading(group[0])
        if heading and last.text.endswith(",") and self._is_near(last, line) and abs(line.size - last.size) < 0.6:
            return True  # names after the lead inspector's may be set in another weight
        if heading != self._is_heading(line) or abs(line.size - last.size) > 0.6:
            return False
        if (BULLET.match(line.text) and not self._dash_inside(group, line)) or LETTERED.match(line.text):
            return False
        if (number := NUMBER.match(line.text)) and (
            heading or not self._mid_sentence(last) or _is_next(group[0].text, number.group(1))
        ):
            return False
        height = max(last.top - last.bottom, 1.0)
        if heading:
            return self._is_near(last, line) and not (last.text.endswith(".") or line.bold != last.bold)
        if line.page != last.page:
            hangs = len(group) > 1 and abs(group[1].left - line.left) < 8 and NUMBER.match(group[0].text)
            return self._mid_sentence(last) or line.text[0].islower() or bool(hangs)
        gap = last.bottom - line.top
        if self._mid_sentence(last) and line.text[0].islower():
            return gap > -3 * height
        return (
            -0.5 * height < gap < (1.5 if self._mid_sentence(last) else 0.75) * height
            and (line.left - group[0].left) < 120
        )

    def _is_near(self, last: pdf.Line, line: pdf.Line) -> bool:
        height = max(last.top - last.bottom, 1.0)
        return line.page == last.page and 0 <= last.bottom - line.top + height < 1.9 * height

    def _dash_inside(self, group: list[pdf.Line], line: pdf.Line) -> bool:
        """Whether a line that begins with a dash goes on with the sentence of the line before."""
        last = group[-1]
        dash = line.text[0] in DASHES and not group[0].text.startswith(line.text[0])
        hangs = abs(line.left - last.left) < 2 or (last is group[0] and bool(NUMBER.match(last.text)))
        return dash and hangs and self._mid_sentence(last) and self._is_near(last, line)

    def _mid_sentence(self, line: pdf.Line) -> bool:
        return not SENTENCE_END.search(line.text)

    def _add(self, builder: _Builder, group: list[pdf.Line]) -> None:
        if not group:
            return
        kind: BlockKind = "paragraph"
        first, number, level = group[0].text, None, 0
        if self._is_heading(group[0]):
            kind, level = "heading", 1 if group[0].size >= self.body + 6 else 2
        elif mark := BULLET.match(first) or LETTERED.match(first):
            kind, first = "list_item", first[mark.end() :]
        elif mark := NUMBER.match(first):
            number, first = int(mark.group(1)), first[mark.end() :]
        texts = [first, *(line.text for line in group[1:])]
        pieces = [
            (self._unwrap(text, following), line.page)
            for text, following, line in zip(texts, [*texts[1:], ""], group, strict=True)
        ]
        builder.add(kind, pieces, level=level, number=number)

    def _unwrap(self, text: str, following: str) -> str:
        """End a line that a hyphen wraps with a soft hyphen as the sign to join: the hyphen is kept
        unless the word stands in the document without it (reports seldom break words)."""
        text = re.sub(rf"(\w*)[\u0002{pdf.HYPHEN}](\w*)", self._hyphen, text)
        text = re.sub(r"[\u0000-\u001f\uffff]", "", text)
        head, tail = re.search(r"(\w+(?:-\w+)*)[-‐‑]$", text), re.match(r"\w+", following)
        if not head or not tail or not following[0].islower():
            return text
        joined = (head.group(1) + tail.group()).lower()
        return (text[:-1] if self.words[joined] else text) + "\u00ad"

    def _hyphen(self, match: re.Match[str]) -> str:
        """pdfium joins a word over a line break itself, with a sign of its own for the hyphen."""
        before, after = match.groups()
        return before + after if self.words[(before + after).lower()] else f"{before}-{after}"


def _graded(text: str, blocks: list[Block]) -> list[Block]:
    """Mark the lines of the table of grades on a report's first page, which a PDF shows as loose
    lines: those after 'Judgement Grade', and lines outside headings that end on a grade."""
    inside, made = False, []
    for block in blocks:
        line = " ".join(text[block.start : block.end].split())
        if TABLE_HEAD.match(line):
            inside = True
        elif block.kind != "furniture":
            inside = inside and bool(TABLE_CELL.match(line))
        alone = block.kind == "paragraph" and bool(GRADE.match(line)) and len(line) <= 100
        judged = block.kind != "furniture" and (inside or alone)
        made.append(replace(block, kind="judgement") if judged else block)
    return made


def _running_lines(lines: list[pdf.Line]) -> set[pdf.Line]:
    """Headers and footers: lines at the edge of their page that recur, digits aside, on several
    pages, and bare page numbers there."""
    pages: dict[int, list[pdf.Line]] = {}
    for line in lines:
        pages.setdefault(line.page, []).append(line)
    edges = []
    for page in pages.values():
        ordered = sorted(page, key=lambda line: -line.top)
        edges.append([*ordered[:3], *ordered[3:][-3:]])
    places: dict[str, list[pdf.Line]] = {}
    for line in {line for edge in edges for line in edge}:
        places.setdefault(_masked(line), []).append(line)
    often = max(2, min(3, len(pages)))
    smallest = Counter(line.size for line in lines).most_common(1)[0][0] - 1
    running = set()
    for line in {line for edge in edges for line in edge}:
        alike = places[_masked(line)]
        same_place = {other.page for other in alike if abs(other.top - line.top) < 6}
        recurs = len(same_place) >= often or (len({other.page for other in alike}) >= often and line.size < smallest)
        number = re.fullmatch(r"(?:page\s*)?\d{1,3}(?:\s*of\s*\d{1,3})?", line.text, re.I)
        if number or (recurs and not BULLET.match(line.text)):
            running.add(line)
    return running


def _is_next(text: str, number: str) -> bool:
    """Whether `number` comes after the one that `text` begins with."""
    before = NUMBER.match(text)
    return before is not None and int(number) == int(before.group(1)) + 1


def _follows_in_row(last: pdf.Line, line: pdf.Line) -> bool:
    """Whether `line` goes on in the row of `last`, as where a footnote's mark has parted the two."""
    height = last.top - last.bottom
    return (
        line.page == last.page
        and _is_level(last, line)
        and -0.3 * height < line.left - last.right < pdf.CELL_GAP * height
    )


def _contents(lines: list[pdf.Line]) -> set[pdf.Line]:
    """The lines of a table of contents: from its title to the last line on its page that ends on a page's number."""
    for index, line in enumerate(lines):
        if re.fullmatch(r"(?:table of )?contents", line.text, re.I):
            page = [other for other in lines[index:] if other.page == line.page]
            ends = [n for n, other in enumerate(page) if re.search(r"(?:^|[\s.…])\d{1,3}$", other.text)]
            return set(page[: ends[-1] + 1]) if len(ends) >= 3 else set()
    return set()


def _grade_rows(lines: list[pdf.Line]) -> dict[pdf.Line, tuple[pdf.Line, ...]]:
    """The rows of tables of grades: the first line of each row → the lines of its label and then of its
    grade, the row's other lines → nothing. A grade stands in a column of its own, right of its label."""
    rows: dict[pdf.Line, tuple[pdf.Line, ...]] = {}
    for page in sorted({line.page for line in lines}):
        here = [line for line in lines if line.page == page]
        cells = _grade_cells(here)
        taken = {line for cell in cells for line in cell}
        labels = [line for line in here if line not in taken]
        for cell in cells:
            label = _row_label(cell, labels)
            if label and not rows.keys() & set(label):
                row = (*label, *cell)
                first = min(row, key=lines.index)
                rows.update(dict.fromkeys(row, ()))
                rows[first] = row
    return rows


def _grade_cells(lines: list[pdf.Line]) -> list[tuple[pdf.Line, ...]]:
    """Lines that hold nothing but a grade, each with those that a wrapped grade goes on in."""
    parts = [line for line in lines if _is_grade_part(line.text)]
    cells: list[tuple[pdf.Line, ...]] = []
    for line in sorted(parts, key=lambda line: (round(line.left), -line.top)):
        last = cells[-1] if cells else ()
        together = " ".join([*(part.text for part in last), line.text])
        near = (
            last and abs(last[-1].left - line.left) < 3 and last[-1].bottom - line.top < last[-1].top - last[-1].bottom
        )
        if near and _is_grade_part(together):
            cells[-1] = (*last, line)
        else:
            cells.append((line,))
    return [cell for cell in cells if GRADE_CELL.fullmatch(" ".join(line.text for line in cell))]


def _is_grade_part(text: str) -> bool:
    """Whether the text is a grade, or words of one that is wrapped."""
    words = text.lower().split()
    starts = range(len(WRAPPED_GRADE) - len(words) + 1)
    return bool(GRADE_CELL.fullmatch(text)) or any(WRAPPED_GRADE[at : at + len(words)] == words for at in starts)


def _row_label(cell: tuple[pdf.Line, ...], lines: list[pdf.Line]) -> list[pdf.Line]:
    """The lines left of a grade, level with it or wrapped about it; none where it stands alone."""
    top, bottom = cell[0].top, cell[-1].bottom
    left = [line for line in lines if line.right <= cell[0].left + 5]
    label = [line for line in left if line.bottom < top and line.top > bottom]
    for line in sorted(left, key=lambda line: -line.top) * 2:  # what wraps above and below it
        height = line.top - line.bottom
        touches = any(-0.1 < other.bottom - line.top < 0.5 * height or -0.1 < line.bottom - other.top < 0.5 * height
                      for other in label)  # fmt: skip
        if touches and line not in label:
            label.append(line)
    return sorted(label, key=lambda line: -line.top)


def _masked(line: pdf.Line) -> str:
    return re.sub(r"\W+", " ", re.sub(r"\d+(?:st|nd|rd|th)?", "", line.text.lower())).strip()


# Word --------------------------------------------------------------------------------------------


WORD_TEXT = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}t"


def _read_docx(path: Path) -> Document:
    import docx
    from docx.table import Table

    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise FindingsError(f"{path}: not a Word document (.docx), or damaged. Save it again from Word.") from error
    if unpacked > MAX_BYTES:
        raise FindingsError(f"{path}: unpacks to more than {MAX_BYTES // 2**20} MiB. It is not read.")
    if "word/document.xml" not in names:
        raise FindingsError(f"{path}: a zip file, but no Word document. Save it as .docx from Word.")
    word = docx.Document(str(path))
    builder = _Builder()
    for element in _word_elements(word.element.body, word):
        if isinstance(element, Table):
            for row in element.rows:
                # The cells as they are in the file: `row.cells` repeats one for every column it spans.
                cells = ["".join(t.text or "" for t in tc.iter(WORD_TEXT)) for tc in row._tr.tc_lst]
                _add_row(builder, " ".join(" ".join(cells).split()))
            continue
        text = " ".join(element.text.split())
        style = (element.style.name if element.style is not None else "") or ""
        properties = element._p.pPr
        listed = style.startswith("List") or (properties is not None and properties.numPr is not None)
        if level := re.match(r"(?:Heading (\d)|Title)", style):
            builder.add("heading", [(text, 1)], level=int(level.group(1) or 1))
        else:
            _add_text(builder, text, listed=listed)
    return builder.document(path, "docx")


def _word_elements(parent: Any, owner: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those within content controls too, which python-docx passes over."""
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    for child in parent.iterchildren():
        name = child.tag.rpartition("}")[2]
        if name == "p":
            yield Paragraph(child, owner)
        elif name == "tbl":
            yield Table(child, owner)
        elif name in ("sdt", "sdtContent", "customXml"):
            yield from _word_elements(child, owner)


def _add_row(builder: _Builder, text: str) -> None:
    builder.add("judgement" if GRADE.match(text) else "table_row", [(text, 1)])


def _add_text(builder: _Builder, text: str, *, listed: bool = False) -> None:
    """Add a paragraph whose own first characters may be a bullet or a number."""
    if mark := BULLET.match(text) or LETTERED.match(text):
        builder.add("list_item", [(text[mark.end() :], 1)])
    elif mark := NUMBER.match(text):
        kind: BlockKind = "list_item" if listed else "paragraph"
        builder.add(kind, [(text[mark.end() :], 1)], number=int(mark.group(1)))
    else:
        builder.add("list_item" if listed else "paragraph", [(text, 1)])


# HTML --------------------------------------------------------------------------------------------

HIDDEN = ["script", "style", "noscript", "template", "svg", "head", "iframe", "object"]
HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
HTML_BLOCKS = [*HEADINGS, "p", "li", "tr", "dt", "dd", "blockquote", "figcaption", "caption", "pre", "div",
               "section", "article", "main", "header", "footer", "nav", "aside", "ul", "ol", "table", "td", "th",
               "tbody", "thead", "form", "body", "address"]  # fmt: skip


def _read_html(path: Path) -> Document:
    from bs4 import BeautifulSoup
    from bs4.element import Comment, NavigableString, Tag

    data = path.read_bytes()
    _refuse_other(path, data)
    soup = BeautifulSoup(data, "lxml")
    for hidden in soup(HIDDEN):
        hidden.decompose()
    builder = _Builder()

    def flush(pending: list[str], owner: Tag) -> None:
        text = " ".join("".join(pending).split())
        pending.clear()
        if not text:
            return
        if owner.name == "nav" or owner.find_parent("nav") is not None:
            builder.add("furniture", [(text, 1)])
        elif owner.name in HEADINGS:
            builder.add("heading", [(text, 1)], level=int(owner.name[1]))
        elif owner.name in ("td", "th", "tr"):
            _add_row(builder, text)
        else:
            _add_text(builder, text, listed=owner.name == "li" or owner.find_parent("li") is not None)

    def walk(owner: Tag) -> None:
        if owner.name == "tr" and owner.find("table") is None:
            flush([" ".join(owner.stripped_strings)], owner)
            return
        pending: list[str] = []
        for child in owner.children:
            if isinstance(child, Tag) and (child.name in HTML_BLOCKS or child.find(HTML_BLOCKS)):
                flush(pending, owner)
                walk(child)
            elif isinstance(child, Tag):
                pending.append("\n" if child.name == "br" else child.get_text())
            elif isinstance(child, NavigableString) and not isinstance(child, Comment):
                pending.append(str(child))
        flush(pending, owner)

    if soup.body is not None:
        walk(soup.body)
    return builder.document(path, "html")


# Markdown and plain text -------------------------------------------------------------------------


def _refuse_other(path: Path, data: bytes, *, text: bool = False) -> None:
    """Raise for a PDF or Word document under another's ending and, with `text`, for NUL bytes."""
    if data.startswith((b"%PDF-", b"PK\x03\x04")) or (text and b"\0" in data[:4096] and not data.startswith(WIDE)):
        raise FindingsError(f"{path}: not a text file. If it is a PDF or Word document, give it that ending.")


WIDE = (b"\xff\xfe", b"\xfe\xff")
"""How text begins that Windows calls Unicode (UTF-16)."""


def _file_text(path: Path) -> str:
    data = path.read_bytes()
    _refuse_other(path, data, text=True)
    try:
        text = data.decode("utf-16" if data.startswith(WIDE) else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_markdown(path: Path) -> Document:
    from markdown_it import MarkdownIt

    text = _file_text(path)
    starts = _line_starts(text)
    blocks: list[Block] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    context: list[str] = []
    for token in tokens:
        if token.nesting == 1:
            context.append(token.type)
        elif token.nesting == -1:
            context.pop()
        if token.map is None:
            continue
        start, end = starts[token.map[0]], starts[token.map[1]]
        if token.type == "heading_open":
            blocks.append(_trimmed(text, "heading", start, end, level=int(token.tag[1])))
        elif token.type == "tr_open":
            row = _trimmed(text, "table_row", start, end)
            blocks.append(replace(row, kind="judgement") if GRADE.match(text[row.start : row.end]) else row)
        elif token.type in ("fence", "code_block", "html_block"):
            if not token.content.lstrip().startswith("<!--"):
                blocks.append(_trimmed(text, "paragraph", start, end))
        elif token.type == "paragraph_open":
            inside = next((c for c in reversed(context) if c.endswith("_list_open")), "")
            blocks.extend(_soft_blocks(text, start, end, inside))
    blocks = [block for block in blocks if block.end > block.start]
    return Document(path.name, "markdown", text, tuple(_numbered_lists(text, blocks)))


def _soft_blocks(text: str, start: int, end: int, inside: str) -> Iterator[Block]:
    """A Markdown paragraph → one block, or several where its lines end in a hard break."""
    kind: BlockKind = "list_item" if inside == "bullet_list_open" else "paragraph"
    ordered = inside == "ordered_list_open"
    offset = start
    for part in re.split(r"(?<=  \n)|(?<=\\\n)", text[start:end]):
        yield _trimmed(text, kind, offset, offset + len(part), ordered=ordered)
        offset += len(part)


def _read_text(path: Path) -> Document:
    text = _file_text(path)
    blocks: list[Block] = []
    offset, before = 0, ""
    lines = text.splitlines(keepends=True)
    hard_wrapped = max(map(len, lines), default=0) <= 100
    for line in lines:
        bare = line.strip()
        if not re.search(r"[^\W_]", bare):
            bare = ""  # blank, or a line drawn under a title or between parts
        if blocks and before and bare and _is_wrap(before, bare, hard_wrapped):
            blocks[-1] = Block(blocks[-1].kind, blocks[-1].start, offset + len(line.rstrip()), 0, blocks[-1].number)
        elif bare:
            block = _trimmed(text, "paragraph", offset, offset + len(line))
            if block.end > block.start:
                blocks.append(block)
        before = bare
        offset += len(line)
    return Document(path.name, "text", text, tuple(_titles(text, _numbered_lists(text, blocks))))


def _is_wrap(before: str, line: str, hard_wrapped: bool) -> bool:
    """Whether `line` goes on with the paragraph of the line before it."""
    if BULLET.match(line) or NUMBER.match(line) or LETTERED.match(line):
        return False
    return (hard_wrapped and len(before) >= 60) or (line[0].islower() and not SENTENCE_END.search(before))


def _titles(text: str, blocks: Iterable[Block]) -> list[Block]:
    """Mark short lines without a full stop that stand above a paragraph or a list as titles."""
    blocks = list(blocks)
    for index, (block, following) in enumerate(pairwise(blocks)):
        line, after = text[block.start : block.end], text[following.start : following.end]
        heads = following.kind == "list_item" or len(after.split()) >= 12
        longest = 10 if re.search(r"[.!?]\s", line) else 14
        if block.kind == "paragraph" and heads and len(line.split()) <= longest and not NO_TITLE.search(line):
            blocks[index] = Block("title", block.start, block.end, 2)
    return blocks


def _numbered_lists(text: str, blocks: list[Block]) -> list[Block]:
    """Numbered blocks of one short sentence each are a list; longer ones are numbered paragraphs."""
    made = list(blocks)
    run: list[int] = []
    for index in range(len(blocks) + 1):
        if index < len(blocks) and blocks[index].number is not None:
            run.append(index)
            continue
        if len(run) > 1 and all("\n" not in text[made[i].start : made[i].end] for i in run):
            single = [not re.search(r"[.!?]\s+\S", text[made[i].start : made[i].end]) for i in run]
            if all(single):
                for i in run:
                    made[i] = Block("list_item", made[i].start, made[i].end, 0, made[i].number)
        run = []
    return made


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in re.findall(r".*\n|.+", text):  # not splitlines: Markdown's lines end at nothing else
        starts.append(starts[-1] + len(line))
    return [*starts, starts[-1]]


def _trimmed(text: str, kind: BlockKind, start: int, end: int, *, level: int = 0, ordered: bool = False) -> Block:
    """A block without the white space, quote marks, bullets, numbers or `#` around its text."""
    number = None
    piece = text[start:end]
    if kind == "heading":
        piece = re.sub(r"(?:\s+#+)?\s*$|\n[=-]+\s*$", "", piece)
        lead = re.match(r"[\s>]*#*\s*", piece)
    elif kind == "table_row":
        piece = piece.rstrip().rstrip("|")
        lead = re.match(r"\s*\|?\s*", piece)
    else:
        lead = re.match(r"[\s>]*", piece)
    cut = lead.end() if lead else 0
    if kind in ("paragraph", "list_item"):
        if mark := (ORDERED if ordered else NUMBER).match(piece[cut:]):
            number = int(mark.group(1))
            cut += mark.end()
        elif (mark := BULLET.match(piece[cut:]) or LETTERED.match(piece[cut:])) and not EMPHASIS.match(piece[cut:]):
            kind, cut = "list_item", cut + mark.end()
    return Block(kind, start + cut, start + max(cut, len(piece.rstrip())), level, number)


READERS: dict[str, Callable[[Path], Document]] = {
    ".pdf": _read_pdf,
    ".docx": _read_docx,
    ".html": _read_html,
    ".htm": _read_html,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".txt": _read_text,
}
"""The reader of each file ending."""
