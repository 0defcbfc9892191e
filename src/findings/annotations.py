"""Labelled sentences: read them, check them against their documents and the taxonomy.

A corpus is a folder:

    documents.csv            document_id, file, kind, authority, published, split
    documents/<file>         the documents as a reader finds them
    annotations/<id>.csv     sentence_id, start, end, finding, themes, annotator, sentence
    passes/<name>/<id>.csv   sentence_id, finding, themes, annotator, reason (see `read_pass`)

`start` and `end` are the character span in the document's text, `themes` are separated by blanks,
the primary one first. The sentence stands in the row so that a change of labels can be reviewed
in a diff; it is checked against the span.
"""

from __future__ import annotations

import csv
import datetime
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from findings import documents
from findings.documents import Document
from findings.errors import FindingsError
from findings.files import make_folder
from findings.sentences import Sentence, fingerprint, sentences
from findings.taxonomy import MAX_THEMES, Taxonomy

KINDS = ("inspection_report", "visit_letter", "minutes", "news")
SPLITS = ("train", "validation", "test")
DOCUMENT_COLUMNS = ("document_id", "file", "kind", "authority", "published", "split")
PASS_COLUMNS = ("sentence_id", "finding", "themes", "annotator", "reason")
ANNOTATION_COLUMNS = ("sentence_id", "start", "end", "finding", "themes", "annotator", "sentence")


@dataclass(frozen=True)
class Violation:
    """Something in a corpus that is not as it must be; `place` is file:row, rows counted from 1."""

    place: str
    message: str

    def __str__(self) -> str:
        return " ".join(f"{self.place}: {self.message}".splitlines())


class InvalidCorpusError(FindingsError):
    """A corpus with violations; the message shows the first few."""

    def __init__(self, violations: list[Violation], rest: str = ": `findings data check` lists them all") -> None:
        self.violations = violations
        shown = [str(v) for v in violations[:5]]
        if len(violations) > len(shown):
            shown.append(f"... and {len(violations) - len(shown)} more{rest}.")
        super().__init__("\n".join(shown))


@dataclass(frozen=True)
class DocumentEntry:
    """A row of documents.csv. `published` is an ISO date or empty."""

    document_id: str
    path: Path
    kind: str
    authority: str
    published: str
    split: str
    place: str

    @cached_property
    def document(self) -> Document:
        return documents.read(self.path)

    @cached_property
    def sentences(self) -> list[Sentence]:
        return sentences(self.document)


@dataclass(frozen=True)
class Annotation:
    """A sentence's labels with who or what gave them."""

    sentence_id: str
    document_id: str
    start: int
    end: int
    finding: str
    themes: tuple[str, ...]
    annotator: str
    sentence: str
    place: str


class Labelled(Protocol):
    """What has labels: an annotation, with its text or without."""

    @property
    def sentence_id(self) -> str: ...
    @property
    def finding(self) -> str: ...
    @property
    def themes(self) -> tuple[str, ...]: ...
    @property
    def annotator(self) -> str: ...
    @property
    def place(self) -> str: ...


@dataclass(frozen=True)
class Vote:
    """What one pass over a sentence gave it; `reason` may be empty."""

    sentence_id: str
    document_id: str
    finding: str
    themes: tuple[str, ...]
    annotator: str
    reason: str
    place: str


@dataclass(frozen=True)
class Corpus:
    """A folder of documents with their annotations, as read; `check` says whether it is sound."""

    folder: Path
    documents: tuple[DocumentEntry, ...]
    annotations: tuple[Annotation, ...]


def read_corpus(folder: Path) -> Corpus:
    """Read a corpus folder.

    Raises:
        FindingsError: the folder or a file is missing, a column is missing, or a row is torn.
        InvalidCorpusError: an annotations file belongs to no document.
    """
    table = folder / "documents.csv"
    if not table.is_file():
        raise FindingsError(f"{table}: no such file. A corpus folder holds documents.csv, documents/ and annotations/.")
    entries = tuple(
        DocumentEntry(
            row["document_id"],
            folder / "documents" / row["file"],
            row["kind"],
            row["authority"],
            row["published"],
            row["split"],
            place,
        )
        for place, row in read_table(table, DOCUMENT_COLUMNS)
    )
    known = {entry.document_id for entry in entries}
    annotations: list[Annotation] = []
    orphans: list[Violation] = []
    for path in sorted((folder / "annotations").glob("*.csv")):
        if path.stem not in known:
            remedy = f"Add the document to {table.name} or remove the file."
            orphans.append(Violation(f"{path}:1", f"annotations without their document '{path.stem}'. {remedy}"))
            continue
        annotations.extend(_annotations(path))
    if orphans:
        raise InvalidCorpusError(orphans)
    return Corpus(folder, entries, tuple(annotations))


def corpus_of(folder: Path) -> Path | None:
    """The corpus folder that a folder of annotations or of a pass lies in, or None."""
    return next((above for above in folder.absolute().parents[:2] if (above / "documents.csv").is_file()), None)


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with their numbers, from 1, the row that names the columns; blank lines
    are counted and left out.

    Raises:
        FindingsError: the file cannot be read, or a row is torn.
    """
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            width = 0
            for number, values in enumerate(csv.reader(file, strict=True), 1):
                width = width or len(values)
                if values and len(values) != width:
                    raise FindingsError(f"{path}:{number}: a torn row. Give it {width} columns.")
                if values:
                    yield number, values
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}. Check that it is a file that you may read.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        where = f"from row {number + 1} on"
        raise FindingsError(f"{path}: not a UTF-8 CSV file {where} ({error}). Save it as one.") from error


def read_table(path: Path, columns: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, each with its place (file:row), which must have these columns, perhaps more.

    Raises:
        FindingsError: the file cannot be read, a column is missing, or a row is torn, or blank before others.
    """
    rows = csv_rows(path)
    last, names = next(rows, (1, []))
    if missing := [column for column in columns if column not in names]:
        raise FindingsError(f"{path}:1: no column '{missing[0]}'. The first line names: {', '.join(columns)}.")
    for number, values in rows:
        if number != last + 1:  # a row may have stood there
            raise FindingsError(f"{path}:{last + 1}: a blank row. Restore what it held, or remove it.")
        if any("\0" in value for value in values):
            raise FindingsError(f"{path}:{number}: a torn row (NUL bytes). Restore the file from a copy.")
        last = number
        yield f"{path}:{number}", dict(zip(names, values, strict=True))


def _annotations(path: Path) -> Iterator[Annotation]:
    for place, row in read_table(path, ANNOTATION_COLUMNS):
        try:
            start, end = int(row["start"]), int(row["end"])
        except ValueError as error:
            raise FindingsError(f"{place}: start and end must be whole numbers.") from error
        yield Annotation(
            row["sentence_id"],
            path.stem,
            start,
            end,
            row["finding"],
            tuple(row["themes"].split()),
            row["annotator"],
            row["sentence"],
            place,
        )


def write_annotations(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write one document's annotations; an existing file is replaced only when all is written."""
    rows = (
        (a.sentence_id, a.start, a.end, a.finding, " ".join(a.themes), a.annotator, a.sentence) for a in annotations
    )
    write_table(path, ANNOTATION_COLUMNS, rows)


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file; an existing one is replaced only when all is written.

    Raises:
        FindingsError: the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            temporary = Path(folder) / path.name
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(columns)
                writer.writerows(rows)
            temporary.replace(path)
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror or error}. Nothing half-written is left.") from error


def inert(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    starts = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
    return f"'{value}" if isinstance(value, str) and value.startswith(starts) else value


# Passes -------------------------------------------------------------------------------------------


def read_pass(folder: Path, taxonomy: Taxonomy) -> tuple[Vote, ...]:
    """The labels of one pass over sentences: <document_id>.csv with sentence_id, finding, themes and
    annotator, perhaps reason. Annotation files, which have more columns, are read as passes too.

    Raises:
        FindingsError: no such folder, nothing in it, a column is missing, or a row is torn.
        InvalidCorpusError: a label that the taxonomy does not have, or a sentence labelled twice.
    """
    if not folder.is_dir():
        raise FindingsError(f"{folder}: no such folder. A pass is a folder with one CSV file a document.")
    votes = tuple(
        Vote(
            row["sentence_id"],
            path.stem,
            row["finding"],
            tuple(row["themes"].split()),
            row["annotator"],
            row.get("reason", ""),
            place,
        )
        for path in sorted(folder.glob("*.csv"))
        for place, row in read_table(path, PASS_COLUMNS[:4])
    )
    if not votes:
        raise FindingsError(f"{folder}: no labels in it. A pass is a folder with one CSV file a document.")
    if violations := list(check_labels(votes, taxonomy)):
        raise InvalidCorpusError(violations, rest="")
    return votes


def write_pass(folder: Path, votes: Iterable[Vote]) -> list[Path]:
    """Write a pass, one file a document, each replaced only when it is whole.

    Raises:
        FindingsError: a file cannot be written.
    """
    by_document: dict[str, list[Vote]] = {}
    for vote in votes:
        by_document.setdefault(vote.document_id, []).append(vote)
    make_folder(folder)
    for document_id, given in by_document.items():
        rows = ((v.sentence_id, v.finding, " ".join(v.themes), v.annotator, v.reason) for v in given)
        write_table(folder / f"{document_id}.csv", PASS_COLUMNS, rows)
    return [folder / f"{document_id}.csv" for document_id in by_document]


# Checks -------------------------------------------------------------------------------------------


def check(corpus: Corpus, taxonomy: Taxonomy) -> list[Violation]:
    """Everything in the corpus that is not as it must be, near-duplicates aside (see `dataset`)."""
    found = list(_check_documents(corpus))
    if not corpus.annotations:
        found.append(Violation(str(corpus.folder), "the dataset is empty: no annotations. Add annotations/<id>.csv."))
    found.extend(check_labels(corpus.annotations, taxonomy))
    found.extend(check_spans(corpus))
    return found


def _check_documents(corpus: Corpus) -> Iterator[Violation]:
    ids: dict[str, str] = {}
    splits: dict[str, tuple[str, str]] = {}
    for entry in corpus.documents:
        if entry.document_id in ids:
            remedy = f"It is at {ids[entry.document_id]} too; give each its own."
            yield Violation(entry.place, f"document id '{entry.document_id}' is not unique. {remedy}")
        ids[entry.document_id] = entry.place
        if entry.kind not in KINDS:
            yield Violation(entry.place, f"unknown kind '{entry.kind}'. Use one of {', '.join(KINDS)}.")
        if entry.split not in SPLITS:
            yield Violation(entry.place, f"unknown split '{entry.split}'. Use one of {', '.join(SPLITS)}.")
        if not entry.authority.strip():
            yield Violation(entry.place, "no authority. Name the council: splits go by it.")
        split, place = splits.setdefault(entry.authority.strip().casefold(), (entry.split, entry.place))
        if split != entry.split:
            remedy = f"Move all its documents to one split ({place} says {split})."
            yield Violation(entry.place, f"authority '{entry.authority}' is in two splits. {remedy}")
        if entry.published and not is_date(entry.published):
            yield Violation(
                entry.place, f"published '{entry.published}' is no date. Write YYYY-MM-DD or leave it empty."
            )
        if not entry.path.resolve().is_relative_to((corpus.folder / "documents").resolve()):
            yield Violation(entry.place, f"file '{entry.path.name}' lies outside documents/. Move it there.")
        elif not entry.path.is_file():
            yield Violation(entry.place, f"file {entry.path} is missing. Put it there or remove the row.")


def is_date(text: str) -> bool:
    """Whether the text is a date as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text  # "2024-W10-2" is ISO too, and refused
    except ValueError:
        return False


def check_labels(annotations: Iterable[Labelled], taxonomy: Taxonomy) -> Iterator[Violation]:
    """Labels that the taxonomy does not know, too many themes, ids given twice, no annotator."""
    findings, themes = set(taxonomy.finding_ids), set(taxonomy.theme_ids)
    seen: dict[str, str] = {}
    for a in annotations:
        if a.sentence_id in seen:
            remedy = f"It is at {seen[a.sentence_id]} too; give each sentence its own."
            yield Violation(a.place, f"sentence id '{a.sentence_id}' is not unique. {remedy}")
        seen[a.sentence_id] = a.place
        if a.finding not in findings:
            yield Violation(a.place, f"unknown finding '{a.finding}'. Use one of {', '.join(taxonomy.finding_ids)}.")
        for theme in a.themes:
            if theme not in themes:
                yield Violation(a.place, f"unknown theme '{theme}'. Use one of {', '.join(taxonomy.theme_ids)}.")
        if len(a.themes) > MAX_THEMES or len(set(a.themes)) < len(a.themes):
            yield Violation(a.place, f"themes '{' '.join(a.themes)}': give at most {MAX_THEMES}, each once.")
        if not a.annotator:
            yield Violation(a.place, "no annotator. Say who or what gave the labels.")


def check_spans(corpus: Corpus) -> Iterator[Violation]:
    """Spans that are not their sentence's in the document, or that overlap."""
    entries = {entry.document_id: entry for entry in corpus.documents}
    ends: dict[str, tuple[int, str]] = {}
    for a in sorted(corpus.annotations, key=lambda a: (a.document_id, a.start)):
        entry = entries[a.document_id]
        if not entry.path.is_file():
            continue
        try:
            text = entry.document.text
        except FindingsError as error:
            yield Violation(entry.place, f"its file cannot be read: {error}")
            entries = {**entries, a.document_id: _without_file(entry)}
            continue
        if not 0 <= a.start < a.end <= len(text) or fingerprint(text[a.start : a.end]) != fingerprint(a.sentence):
            remedy = (
                f"Characters {a.start} to {a.end} of {entry.path.name} read otherwise; correct the span or the text."
            )
            yield Violation(a.place, f"the span does not match its sentence. {remedy}")
        end, place = ends.get(a.document_id, (0, ""))
        if place and a.start < end:
            yield Violation(a.place, f"the span overlaps that of {place}. Label each sentence once.")
        if not place or a.end > end:
            ends[a.document_id] = (a.end, a.place)


def _without_file(entry: DocumentEntry) -> DocumentEntry:
    missing = entry.path.with_name(entry.path.name + ".unreadable")
    return DocumentEntry(
        entry.document_id, missing, entry.kind, entry.authority, entry.published, entry.split, entry.place
    )
