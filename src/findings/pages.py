"""A `Reading` → its files: an HTML page, a workbook, CSV, JSON lines, Markdown, and what the document
says of itself as JSON.

Nothing in them is written by us but labels and counts: quotes are the document's own sentences.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import xlsxwriter
from jinja2 import Environment, PackageLoader, Template, select_autoescape
from markupsafe import Markup

from findings import __version__, parsed
from findings.about import JUDGEMENTS, UNREADABLE, About, Judgement
from findings.annotations import inert
from findings.errors import FindingsError
from findings.files import whole
from findings.markdown import escaped, table, visible
from findings.reading import MARKS, OTHER_MARK, UNSURE, Labelled, Reading
from findings.taxonomy import NONE, Taxonomy

QUOTED = 2
"""How many sentences of a theme and finding the summary quotes at most."""

NO_THEME = "no theme"
"""Stands for the sentences without a theme; no theme's id holds a blank."""

TINTS = 4
"""Shades of the matrix, beside the numbers."""

CELL_MAX = 32_767
"""Characters that a workbook's cell holds; longer text is cut there with a sign that it was."""

JUDGEMENT_TITLES = {
    "overall": "Overall effectiveness",
    "leaders": "Impact of leaders",
    "help_and_protection": "Help and protection",
    "children_in_care": "Children in care",
    "care_leavers": "Care leavers",
    "children_in_care_and_care_leavers": "Children in care and care leavers",
    "adoption": "Adoption",
}
TITLES = {
    "requires_improvement": "Requires improvement",
    "inspection_report": "Inspection report",
    "visit_letter": "Visit letter",
    "sif": "Single inspection framework",
    "ilacs_2018": "ILACS, from 2018",
    "ilacs_2023": "ILACS, from 2023",
    "ilacs_2026": "ILACS, from 2026",
}
"""Words for the ids that `about` gives; the others read well as they are."""


@dataclass(frozen=True)
class Row:
    """A row of the matrix: how many sentences of a theme have each finding.

    Attributes:
        theme: a theme's id, or `NO_THEME`.
        counts: in the order of the taxonomy's findings.
    """

    theme: str
    title: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Placed:
    """A sentence and its number in the document, from 1."""

    number: int
    labelled: Labelled


@dataclass(frozen=True)
class Section:
    """The sentences under one heading.

    Attributes:
        title: the heading where it is itself a sentence of the reading; else None.
    """

    heading: str
    title: Placed | None
    sentences: list[Placed] = field(default_factory=list)


@dataclass(frozen=True)
class Quotes:
    """The sentences of a theme that the model is most certain of, for each finding but `none`."""

    theme: str
    title: str
    sentences: list[Placed]


def write(reading: Reading, folder: Path, name: str, taxonomy: Taxonomy, day: date) -> list[Path]:
    """Write `<name>.html`, `.xlsx`, `.csv`, `.jsonl`, `.md` and, last, `.document.json`, each only when it is whole.

    Args:
        day: when the sentences were labelled.

    Raises:
        OSError: the folder cannot be written to.
    """
    written = []
    labelled_by = f"{reading.labelled_by} on {day.isoformat()}"
    for ending, render in FORMATS.items():
        path = folder / f"{name}.{ending}"
        with whole(path) as temporary:
            temporary.write_bytes(render(reading, taxonomy, labelled_by))
        written.append(path)
    return written


def is_written(folder: Path, name: str, path: Path, labelled_by: str) -> bool:
    """Whether the files of the document at `path`, labelled by that model, are all there, as this
    version of the software writes them."""
    try:
        made = json.loads((folder / f"{name}.document.json").read_text(encoding="utf-8"))
        same = (made["sha256"], made["labelled_by"], made["reader"]) == (parsed.sha256(path), labelled_by, reader())
    except (OSError, ValueError, KeyError, TypeError, FindingsError):
        return False
    return same and all((folder / f"{name}.{ending}").is_file() for ending in FORMATS)


@cache
def reader() -> str:
    """The version of the software and, abridged, of its code between a file and its sentences with labels."""
    names = (
        "sentences.py",
        "about.py",
        "reading.py",
        "pages.py",
        "markdown.py",
        "reading.html",
        "reading.css",
        "reading.js",
    )
    code = b"".join(resources.files("findings").joinpath(name).read_bytes() for name in names)
    return f"{__version__} {hashlib.sha256(parsed.version().encode() + code).hexdigest()[:12]}"


# What the files have in common --------------------------------------------------------------------


def matrix(reading: Reading, taxonomy: Taxonomy) -> list[Row]:
    """Sentences by theme and finding, the last row those without a theme. A sentence with several
    themes counts under each of them, so that the columns sum to more than there are sentences."""
    counts = Counter((theme, s.finding) for s in reading.sentences for theme in s.themes or [NO_THEME])
    titles = [*((label.id, label.title) for label in taxonomy.themes), (NO_THEME, "No theme")]
    return [Row(theme, title, tuple(counts[theme, f] for f in taxonomy.finding_ids)) for theme, title in titles]


def totals(reading: Reading, taxonomy: Taxonomy) -> tuple[int, ...]:
    """Sentences by finding, each counted once."""
    return tuple(reading.counts.get(finding, 0) for finding in taxonomy.finding_ids)


def strongest(reading: Reading, taxonomy: Taxonomy, most: int = QUOTED) -> list[Quotes]:
    """For each theme that has any: the sentences of highest probability, at most `most` a finding,
    findings in the taxonomy's order. A sentence is quoted once, under its primary theme; what is
    to be reviewed is not quoted."""
    quotes = []
    for theme in taxonomy.themes:
        chosen: list[Placed] = []
        for finding in taxonomy.finding_ids:
            fitting = [
                Placed(number, s)
                for number, s in enumerate(reading.sentences, 1)
                if finding == s.finding != NONE and s.themes[:1] == [theme.id] and not s.unsure
            ]
            chosen += sorted(fitting, key=lambda p: -p.labelled.finding_probability)[:most]
        if chosen:
            quotes.append(Quotes(theme.id, theme.title, chosen))
    return quotes


def sections(reading: Reading) -> list[Section]:
    """The sentences in the document's order under its headings. A heading that was also read as a
    sentence heads its section and is no longer the last sentence of the one before."""
    made: list[Section] = []
    placed = [Placed(number, s) for number, s in enumerate(reading.sentences, 1)]
    for heading, group in groupby(placed, key=lambda p: p.labelled.heading):
        before = made[-1].sentences if made else []
        titled = bool(before) and before[-1].labelled.sentence == heading and not before[-1].labelled.list_item
        title = before.pop() if titled else None
        made.append(Section(heading, title, list(group)))
    return [section for section in made if section.heading or section.sentences]


def particulars(about: About) -> dict[str, str]:
    """What a document says of itself apart from its judgements: name → value, as readers see it."""
    return {
        "Authority": about.authority,
        "Kind": _title(about.kind),
        "Framework": _title(about.framework),
        "Inspected": _period(about.inspection_start, about.inspection_end),
        "Published": _day(about.published),
        "Lead inspector": about.lead_inspector,
    }


def judgements(about: About) -> list[tuple[str, Judgement]]:
    """Title and judgement of what the document states, in the order in which readers expect it."""
    return [(JUDGEMENT_TITLES[key], about.judgements[key]) for key in JUDGEMENTS if key in about.judgements]


def _title(identifier: str) -> str:
    return TITLES.get(identifier, identifier if identifier == UNREADABLE else identifier.capitalize())


def _day(iso: str) -> str:
    try:
        day = date.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{day.day} {day:%B %Y}"


def _period(start: str, end: str) -> str:
    first, last = _day(start), _day(end)
    if first == last:
        return last
    same_month = UNREADABLE not in (start, end) and start[:7] == end[:7]
    return f"{first.split()[0] if same_month else first} to {last}"


def _sure(probability: float) -> str:
    """Never 100 %: no model is."""
    return "over 99%" if probability > 0.99 else f"{probability:.0%}"


def _mark(finding: str) -> str:
    return MARKS.get(finding, OTHER_MARK)


# HTML ---------------------------------------------------------------------------------------------


def _html(reading: Reading, taxonomy: Taxonomy, labelled_by: str) -> bytes:
    rows, sums = matrix(reading, taxonomy), totals(reading, taxonomy)
    page = _template().render(
        reading=reading,
        about=reading.about,
        judgements=judgements(reading.about),
        particulars=particulars(reading.about),
        taxonomy=taxonomy,
        titles={label.id: label.title for label in (*taxonomy.findings, *taxonomy.themes)},
        theme_numbers={theme: number for number, theme in enumerate([*taxonomy.theme_ids, NO_THEME])},
        rows=rows,
        totals=sums,
        tints=_tints(rows),
        quotes=strongest(reading, taxonomy),
        sections=sections(reading),
        to_review=sum(s.unsure for s in reading.sentences),
        labelled_by=labelled_by,
    )
    return page.encode("utf-8")


def _tints(rows: list[Row]) -> list[list[int]]:
    """For each cell its shade, 0 to `TINTS`: its share of the largest number in its column."""
    most = [max(column) or 1 for column in zip(*(row.counts for row in rows), strict=True)]
    return [[-(-TINTS * n // m) for n, m in zip(row.counts, most, strict=True)] for row in rows]


def templates() -> Environment:
    """Templates of pages: what is put in is escaped, and shown where it would be hidden."""
    return Environment(
        loader=PackageLoader("findings", "."),
        autoescape=select_autoescape(["html"]),
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _template() -> Template:
    """The page, compiled once. Style and script stand in files of their own; the page allows just
    these two by their hashes, so that nothing which slipped in from a document could run."""
    environment = templates()
    environment.globals |= {
        "mark": _mark,
        "sure": _sure,
        "title": _title,
        "marks": MARKS,
        "unreadable": UNREADABLE,
        "unsure": UNSURE,
        "none": NONE,
    }
    for name in ("css", "js"):
        text = resources.files("findings").joinpath(f"reading.{name}").read_text(encoding="utf-8")
        environment.globals |= {name: Markup(text), f"{name}_hash": Markup(csp_hash(text))}
    return environment.get_template("reading.html")


def finalize(value: Any) -> Any:
    """Applied to all that the template puts out, so that no text can be forgotten."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


# Workbook -----------------------------------------------------------------------------------------

WIDTHS = {
    "number": 8,
    "page": 6,
    "paragraph": 10,
    "heading": 28,
    "finding": 16,
    "probability": 11,
    "to review": 10,
    "themes": 26,
    "sentence": 90,
}
"""Columns of the sheet of sentences and their widths in characters."""


Cells = list[str | float | None]


def _xlsx(reading: Reading, taxonomy: Taxonomy, labelled_by: str) -> bytes:
    out = io.BytesIO()
    findings = {label.title: 16 for label in taxonomy.findings}
    counts: list[Cells] = [[r.title, *r.counts, r.total] for r in matrix(reading, taxonomy)]
    counts.append(["All sentences", *totals(reading, taxonomy), len(reading.sentences)])
    with xlsxwriter.Workbook(out, {"in_memory": True}) as workbook:
        sheet = _sheet(workbook, "sentences", WIDTHS, _sentence_rows(reading, taxonomy))
        sheet.autofilter(0, 0, len(reading.sentences), len(WIDTHS) - 1)
        _sheet(workbook, "matrix", {"theme": 26} | findings | {"all": 10}, counts)
        _sheet(workbook, "judgements", {"what": 34, "value": 50, "page": 6}, _about_rows(reading, labelled_by))
    return out.getvalue()


def _sheet(workbook: xlsxwriter.Workbook, name: str, columns: dict[str, int], rows: list[Cells]) -> Any:
    """Add a sheet with a bold header that stays in view. Text is written as text, whatever it looks
    like, and numbers as numbers."""
    sheet = workbook.add_worksheet(name)
    header = workbook.add_format({"bold": True, "bottom": 1})
    body = workbook.add_format({"text_wrap": True, "valign": "top"})
    for column, (title, width) in enumerate(columns.items()):
        sheet.set_column(column, column, width)
        sheet.write_string(0, column, title, header)
    sheet.freeze_panes(1, 0)
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row):
            if isinstance(value, str):
                sheet.write_string(number, column, _cell(value), body)
            elif value is not None:
                sheet.write_number(number, column, value, body)
    return sheet


def _cell(text: str) -> str:
    text = visible(text)
    return text if len(text) <= CELL_MAX else text[: CELL_MAX - 1] + "…"


def _sentence_rows(reading: Reading, taxonomy: Taxonomy) -> list[Cells]:
    return [
        [
            number,
            s.page,
            s.paragraph,
            s.heading,
            taxonomy.title(s.finding),
            s.finding_probability,
            "yes" if s.unsure else "no",
            "; ".join(map(taxonomy.title, s.themes)),
            s.sentence,
        ]
        for number, s in enumerate(reading.sentences, 1)
    ]


def _about_rows(reading: Reading, labelled_by: str) -> list[Cells]:
    graded: list[Cells] = [[title, _title(j.grade), j.page] for title, j in judgements(reading.about)]
    facts: list[Cells] = [[name, value, None] for name, value in particulars(reading.about).items()]
    return [*graded, *facts, ["Document", reading.name, None], ["Labelled by", labelled_by, None]]


# CSV, JSON ----------------------------------------------------------------------------------------


def _csv(reading: Reading, taxonomy: Taxonomy, labelled_by: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns = ["page", "paragraph", "heading", "finding", "finding_probability", "themes", "list_item", "sentence"]
    writer.writerow(["document", *columns])
    for s in reading.sentences:
        row = asdict(s) | {"themes": " ".join(s.themes)}
        writer.writerow([inert(reading.name), *(inert(row[c]) for c in columns)])
    return out.getvalue().encode("utf-8", "replace")


def _json_lines(reading: Reading, taxonomy: Taxonomy, labelled_by: str) -> bytes:
    return b"".join(_json({"document": reading.name, **asdict(s)}) for s in reading.sentences)


def _document_json(reading: Reading, taxonomy: Taxonomy, labelled_by: str) -> bytes:
    graded = {key: asdict(judgement) for key, judgement in reading.about.judgements.items()}
    made = {"document": reading.name, "sha256": reading.sha256, "labelled_by": reading.labelled_by, "reader": reader()}
    return _json(vars(reading.about) | {"judgements": graded} | made, indent=2)


def _json(value: object, indent: int | None = None) -> bytes:
    """A lone surrogate, which UTF-8 cannot hold, is written as JSON's own escape."""
    return (json.dumps(value, ensure_ascii=False, indent=indent) + "\n").encode("utf-8", "backslashreplace")


# Markdown -----------------------------------------------------------------------------------------


def _markdown(reading: Reading, taxonomy: Taxonomy, labelled_by: str) -> bytes:
    about = reading.about
    title = reading.name if about.authority == UNREADABLE else about.authority
    facts = {"Document": reading.name, **particulars(about), "Labelled by": labelled_by}
    lines = [f"# {escaped(title)}", "", *(f"- {key}: {escaped(value)}" for key, value in facts.items())]
    lines += ["", "## Judgements", ""]
    graded = [[title, _title(j.grade), str(j.page)] for title, j in judgements(about)]
    lines += table(["Judgement", "Grade", "Page"], graded) if graded else ["None read."]
    counts = [[r.title, *map(str, r.counts), str(r.total)] for r in matrix(reading, taxonomy)]
    counts.append(["All sentences", *map(str, totals(reading, taxonomy)), str(len(reading.sentences))])
    heads = [f"{_mark(label.id)} {label.title}" for label in taxonomy.findings]
    lines += ["", "## Themes and findings", "", *table(["Theme", *heads, "All"], counts), "", "## Sentences"]
    for section in sections(reading):
        placed = [*([section.title] if section.title else []), *section.sentences]
        lines += ["", f"### {escaped(section.heading)}", ""] if section.heading else [""]
        lines += [_item(p.labelled, taxonomy) for p in placed]
    return ("\n".join(lines) + "\n").encode("utf-8")


def _item(s: Labelled, taxonomy: Taxonomy) -> str:
    place = f"page {s.page}" + (f", paragraph {s.paragraph}" if s.paragraph is not None else "")
    label = f"{taxonomy.title(s.finding)}, {_sure(s.finding_probability)}"
    notes = [label, ", ".join(map(taxonomy.title, s.themes)), place, "to review" if s.unsure else ""]
    return f"- {_mark(s.finding)} {escaped(s.sentence)} *({escaped('; '.join(filter(None, notes)))})*"


FORMATS: dict[str, Callable[[Reading, Taxonomy, str], bytes]] = {
    "html": _html,
    "xlsx": _xlsx,
    "csv": _csv,
    "jsonl": _json_lines,
    "md": _markdown,
    "document.json": _document_json,
}
