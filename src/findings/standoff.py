"""Stand-off annotations: labels of sentences whose text is not passed on, and how the text is found again.

A folder:

    reports.csv        source_file_id, kind, authority, urn, published, split, sha256 (of the PDF file)
    annotations.csv    sentence_id, source_file_id, page, letters, sha256, list_item, finding, themes, annotator

`letters` is how many letters and digits the sentence has and `sha256` its fingerprint (see
`sentences.fingerprint`): with both, it is found in the report's text however that is cut.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from findings import annotations as corpora
from findings import parsed
from findings import reports as files
from findings.annotations import KINDS, SPLITS, Violation
from findings.documents import Document
from findings.errors import FindingsError
from findings.reports import Report
from findings.sentences import Sentence, fingerprint, plain
from findings.taxonomy import Taxonomy

REPORT_COLUMNS = ("source_file_id", "kind", "authority", "urn", "published", "split", "sha256")
MARK_COLUMNS = (
    "sentence_id", "source_file_id", "page", "letters", "sha256", "list_item", "finding", "themes", "annotator",
)  # fmt: skip

SHARES = (("train", 80), ("validation", 10), ("test", 10))
"""Of a hundred authorities, how many go into each split."""


@dataclass(frozen=True)
class Mark:
    """A sentence's labels, its place and its fingerprint, without its text.

    Attributes:
        page: from 1, as whoever annotated it saw it.
        letters: how many letters and digits the sentence has.
        sha256: the sentence's `fingerprint`.
    """

    sentence_id: str
    source_file_id: str
    page: int
    letters: int
    sha256: str
    list_item: bool
    finding: str
    themes: tuple[str, ...]
    annotator: str
    place: str = ""


@dataclass(frozen=True)
class Standoff:
    """A folder of stand-off annotations, as read; `check` says whether it is sound."""

    folder: Path
    reports: tuple[Report, ...]
    marks: tuple[Mark, ...]


def default_folder() -> Path:
    """The stand-off annotations that ship."""
    return Path(str(resources.files("findings.data"))) / "ofsted"


def reports_folder(folder: Path) -> Path:
    """Where the reports of a folder of stand-off annotations are kept, if nothing else is said."""
    return (files.home("ofsted") if folder == default_folder() else folder) / "reports"


def read(folder: Path) -> Standoff:
    """Read a folder of stand-off annotations.

    Raises:
        FindingsError: a table is missing, lacks a column, or has a torn row; names file and row.
    """
    for name in ("reports.csv", "annotations.csv"):
        if not (folder / name).is_file():
            remedy = (
                "Stand-off annotations are reports.csv and annotations.csv; `findings annotate standoff` makes them."
            )
            raise FindingsError(f"{folder / name}: no such file. {remedy}")
    reports = [
        Report(**{column: row[column].strip() for column in REPORT_COLUMNS}, place=place)
        for place, row in corpora.read_table(folder / "reports.csv", REPORT_COLUMNS)
    ]
    marks = [_mark(place, row) for place, row in corpora.read_table(folder / "annotations.csv", MARK_COLUMNS)]
    return Standoff(folder, tuple(reports), tuple(marks))


def _mark(place: str, row: Mapping[str, str]) -> Mark:
    if not row["page"].isdecimal() or not row["letters"].isdecimal():
        raise FindingsError(f"{place}: page and letters must be whole numbers.")
    if row["list_item"] not in ("true", "false"):
        raise FindingsError(f"{place}: list_item must be true or false.")
    return Mark(
        row["sentence_id"],
        row["source_file_id"],
        int(row["page"]),
        int(row["letters"]),
        row["sha256"],
        row["list_item"] == "true",
        row["finding"],
        tuple(row["themes"].split()),
        row["annotator"],
        place,
    )


def write(standoff: Standoff) -> None:
    """Write both tables; an existing one is replaced only when all of it is written.

    Raises:
        FindingsError: the folder cannot be written.
    """
    try:
        standoff.folder.mkdir(parents=True, exist_ok=True)
        reports = [[getattr(report, column) for column in REPORT_COLUMNS] for report in standoff.reports]
        marks = [
            (m.sentence_id, m.source_file_id, m.page, m.letters, m.sha256, str(m.list_item).lower(), m.finding,
             " ".join(m.themes), m.annotator)
            for m in standoff.marks
        ]  # fmt: skip
        corpora.write_table(standoff.folder / "annotations.csv", MARK_COLUMNS, marks)
        corpora.write_table(standoff.folder / "reports.csv", REPORT_COLUMNS, reports)
    except OSError as error:
        raise FindingsError(f"{standoff.folder}: {error.strerror}. Give another folder, or make room there.") from error


def check(standoff: Standoff, taxonomy: Taxonomy) -> list[Violation]:
    """Everything in the two tables that is not as it must be."""
    found = [*check_reports(standoff.reports), *corpora.check_labels(standoff.marks, taxonomy)]
    known = {report.source_file_id for report in standoff.reports}
    for mark in standoff.marks:
        if mark.source_file_id not in known:
            remedy = "Add it to reports.csv or remove the row."
            found.append(Violation(mark.place, f"report '{mark.source_file_id}' is not in reports.csv. {remedy}"))
        if not re.fullmatch("[0-9a-f]{64}", mark.sha256):
            found.append(Violation(mark.place, "sha256 is no SHA-256. Give the sentence's fingerprint, 64 digits."))
        if mark.page < 1 or mark.letters < 1:
            found.append(Violation(mark.place, "page and letters count from 1. Give what the sentence has."))
    if not standoff.marks:
        found.append(
            Violation(str(standoff.folder / "annotations.csv"), "no annotations. Add a row for each sentence.")
        )
    return found


def check_reports(reports: Iterable[Report]) -> list[Violation]:
    """Everything in reports.csv that is not as it must be."""
    return list(_check_reports(reports))


def _check_reports(reports: Iterable[Report]) -> Iterator[Violation]:
    ids: dict[str, str] = {}
    splits: dict[str, str] = {}
    for report in reports:
        name, split = report.source_file_id, report.split
        if not files.ID.fullmatch(name):
            yield Violation(report.place, f"source file id '{name}' must be letters and digits. Correct it.")
        if name in ids:
            yield Violation(report.place, f"report '{name}' is not unique. It is at {ids[name]} too; keep one row.")
        ids[name] = report.place
        if report.kind not in KINDS:
            yield Violation(report.place, f"unknown kind '{report.kind}'. Use one of {', '.join(KINDS)}.")
        if split not in SPLITS:
            yield Violation(report.place, f"unknown split '{split}'. Use one of {', '.join(SPLITS)}.")
        if not report.authority:
            yield Violation(report.place, "no authority. Name the council: splits go by it.")
        if splits.setdefault(report.authority.casefold(), split) != split:
            yield Violation(report.place, f"authority '{report.authority}' is in two splits. Move it to one of them.")
        if report.published and not corpora.is_date(report.published):
            remedy = "Write YYYY-MM-DD or leave it empty."
            yield Violation(report.place, f"published '{report.published}' is no date. {remedy}")
        if report.sha256 and not re.fullmatch("[0-9a-f]{64}", report.sha256):
            yield Violation(
                report.place, "sha256 is no SHA-256. Give that of the PDF file, 64 digits, or leave it empty."
            )


# Making them from annotated text ------------------------------------------------------------------


def split_of(authority: str) -> str:
    """The split that an authority's name puts it in: the same whatever else is in the dataset, so
    that annotations added later move no authority from one split to another."""
    number = int(hashlib.sha256(f"findings {authority.casefold()}".encode()).hexdigest(), 16) % 100
    for split, share in SHARES:
        if number < share:
            return split
        number -= share
    raise AssertionError("the shares are a hundred together")


def make(path: Path, folder: Path, *, annotator: str, pdfs: Path | None = None) -> Standoff:
    """Stand-off annotations of annotated sentences, to be written to `folder`.

    Args:
        path: JSON lines, each with `id` (or `sentence_id`), `source_file_id`, `authority` (or
            `local_authority`), `page`, `sentence`, `finding`; perhaps `themes`, `list_item`,
            `published`, `urn`, `kind`, `annotator`.
        annotator: who or what gave the labels of rows that do not say.
        pdfs: a folder of the annotated PDFs, whose SHA-256 is then noted (see `reports.identify`);
            its `index.csv` may also give each report's `urn`.

    Raises:
        FindingsError: a line is torn or lacks something, or the PDFs cannot be read.
    """
    reports: dict[str, Report] = {}
    marks: list[Mark] = []
    for place, row in _json_lines(path):
        try:
            mark, report = _standoff_row(row, annotator, place)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            missing = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise FindingsError(f"{place}: not an annotated sentence ({missing}). Correct the line.") from error
        first = reports.setdefault(report.source_file_id, report)
        if replace(first, place="") != replace(report, place=""):
            raise FindingsError(f"{place}: says other things of report {first} than {first.place}. Correct one.")
        marks.append(mark)
    digests: dict[str, str] = {}
    urns: dict[str, str] = {}
    if pdfs is not None:
        urns = {line["source_file_id"]: line.get("urn", "") for line in files.read_index(pdfs)}
        for file, known in files.identify(pdfs, list(reports.values())).items():
            if known is not None and files.damage(file) is None:
                digests.setdefault(known.source_file_id, parsed.sha256(file))
    noted = [
        replace(r, sha256=digests.get(name, ""), urn=r.urn or urns.get(name, ""), place="")
        for name, r in sorted(reports.items(), key=lambda item: (item[1].authority, item[1].published, item[0]))
    ]
    order = {report.source_file_id: number for number, report in enumerate(noted)}
    marks.sort(key=lambda mark: (order[mark.source_file_id], mark.page))
    return Standoff(folder, tuple(noted), tuple(marks))


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield f"{path}:{number}", json.loads(line)
                    except ValueError as error:
                        raise FindingsError(f"{path}:{number}: a torn line ({error}). Correct or remove it.") from error
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}. Check that it is a file that you may read.") from error
    except UnicodeDecodeError as error:
        raise FindingsError(f"{path}: not UTF-8 text ({error.reason}). Save it as such.") from error


def _standoff_row(row: Any, annotator: str, place: str) -> tuple[Mark, Report]:
    source, sentence = str(row["source_file_id"]), row["sentence"]
    authority = row.get("authority") or row["local_authority"]
    themes = row.get("themes") or ()
    mark = Mark(
        str(row.get("sentence_id") or row["id"]),
        source,
        int(row["page"]),
        count_letters(sentence),
        fingerprint(sentence),
        bool(row.get("list_item", False)),
        str(row["finding"]),
        tuple(themes.split() if isinstance(themes, str) else map(str, themes)),
        str(row.get("annotator") or annotator),
        place,
    )
    kind, published, urn = (str(row.get(name) or "") for name in ("kind", "published", "urn"))
    report = Report(source, kind or KINDS[0], authority, urn, published, split_of(authority), "", place)
    return mark, report


def count_letters(text: str) -> int:
    """How many letters and digits `sentences.fingerprint` sees in a text."""
    return len(re.findall(r"[^\W_]", text.lower()))


# Finding the sentences again ----------------------------------------------------------------------


def locate(document: Document, cut: Sequence[Sentence], marks: Sequence[Mark]) -> dict[str, Sentence]:
    """Where the marks of a report stand in it: sentence id → sentence; what is not found is left out.

    A mark is one of the document's sentences, else any run of words of its text with the same
    letters: whoever annotated may have cut the text in other places. Of several such places it is
    the one nearest to the mark's page that no other mark has.
    """
    own: dict[str, list[Sentence]] = {}
    for sentence in cut:
        own.setdefault(fingerprint(sentence.text), []).append(sentence)
    letters: tuple[str, list[int]] | None = None
    found: dict[str, Sentence] = {}
    for digest in dict.fromkeys(mark.sha256 for mark in marks):
        same = sorted((mark for mark in marks if mark.sha256 == digest), key=lambda mark: mark.page)
        places = list(own.get(digest, ()))
        if len(places) < len(same):
            letters = letters or _letters(document.text)
            spans = (_span(document, cut, *span) for span in _runs(document.text, *letters, same[0]))
            places += [span for span in spans if all(span.end <= s.start or s.end <= span.start for s in places)]
        for mark in same:
            if places:
                nearest = min(places, key=lambda sentence: (abs(sentence.page - mark.page), sentence.start))
                places.remove(nearest)
                found[mark.sentence_id] = nearest
    return found


def _letters(text: str) -> tuple[str, list[int]]:
    """The lower-cased letters and digits of a text, and the offset in it of each."""
    pairs = [(sign, offset) for offset, char in enumerate(text) for sign in char.lower() if sign.isalnum()]
    return "".join(sign for sign, _ in pairs), [offset for _, offset in pairs]


def _runs(text: str, letters: str, offsets: Sequence[int], mark: Mark) -> Iterator[tuple[int, int]]:
    """Spans of the text that begin with a word and have the mark's letters."""
    for first in range(len(letters) - mark.letters + 1):
        start = offsets[first]
        if start and text[start - 1].isalnum():
            continue
        run = letters[first : first + mark.letters]
        if hashlib.sha256(run.encode()).hexdigest() == mark.sha256:
            yield start, offsets[first + mark.letters - 1] + 1


def _span(document: Document, cut: Sequence[Sentence], start: int, end: int) -> Sentence:
    """A span of the text, with the signs around it that belong to it, as a sentence."""
    text = document.text
    start -= len(text[:start]) - len(text[:start].rstrip("([\"'“‘£"))
    end += len(text[end:]) - len(re.sub(r"^[^\w\s]+", "", text[end:]))
    near = next((s for s in cut if s.start < end and start < s.end), None)
    heading, number, listed = (near.heading, near.paragraph, near.list_item) if near else ("", None, False)
    return Sentence(plain(text[start:end], document.format), heading, document.page(start), number, listed, start, end)
