"""Sentences to be labelled, with what a labeller must see of their surroundings, and the CSV file of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from findings import documents
from findings.annotations import Corpus, inert, read_table, write_table
from findings.documents import Document
from findings.errors import FindingsError
from findings.sentences import Sentence, fingerprint, sentences

COLUMNS = ("sentence_id", "document_id", "file", "start", "end", "fingerprint")
"""What a CSV file of tasks must have; the text is read from the documents again."""

SHOWN = ("page", "heading", "before", "sentence", "after", "list_item")
"""Further columns of it, for a reader."""


@dataclass(frozen=True)
class Task:
    """A sentence to be labelled.

    Attributes:
        file: the document.
        before, after: the sentences around it; empty at the document's ends.
        start, end: character span in the document's text.
    """

    sentence_id: str
    document_id: str
    file: Path
    page: int
    heading: str
    before: str
    sentence: str
    after: str
    list_item: bool
    start: int
    end: int

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.sentence)


@dataclass(frozen=True)
class _Source:
    """A document, read and cut into its sentences, in order."""

    document_id: str
    file: Path
    document: Document
    cut: list[Sentence]


def _source(file: Path, document_id: str) -> _Source:
    document = documents.read(file)
    return _Source(document_id, file, document, sentences(document))


def of_document(file: Path, document_id: str) -> list[Task]:
    """Every sentence of a document, numbered in its order.

    Raises:
        FindingsError: the file cannot be read.
    """
    source = _source(file, document_id)
    return [_task(source, f"{document_id}-{i:03}", s.start, s.end, s.text) for i, s in enumerate(source.cut, 1)]


def of_corpus(corpus: Corpus) -> list[Task]:
    """The annotated sentences of a corpus, and every sentence of its documents without annotations.

    Raises:
        FindingsError: a document cannot be read.
    """
    made: list[Task] = []
    for entry in corpus.documents:
        labelled = sorted((a for a in corpus.annotations if a.document_id == entry.document_id), key=lambda a: a.start)
        if labelled:
            source = _source(entry.path, entry.document_id)
            made.extend(_task(source, a.sentence_id, a.start, a.end, a.sentence) for a in labelled)
        else:
            made.extend(of_document(entry.path, entry.document_id))
    return made


def _task(source: _Source, sentence_id: str, start: int, end: int, text: str) -> Task:
    cut = source.cut
    own = bisect_right([s.start for s in cut], start) - 1
    before = bisect_right([s.end for s in cut], start) - 1
    after = bisect_right([s.start for s in cut], end - 1)
    return Task(
        sentence_id,
        source.document_id,
        source.file,
        source.document.page(start),
        cut[own].heading if own >= 0 else "",
        cut[before].text if before >= 0 else "",
        text,
        cut[after].text if after < len(cut) else "",
        own >= 0 and cut[own].list_item,
        start,
        end,
    )


# The CSV file -------------------------------------------------------------------------------------


def write(path: Path, tasks: Iterable[Task], extra: Mapping[str, Sequence[object]] | None = None) -> None:
    """Write tasks as CSV, with further columns beside them where given, one value a task.

    Raises:
        FindingsError: the file cannot be written.
    """
    more = extra or {}
    rows = (
        (
            *(t.sentence_id, t.document_id, t.file, t.start, t.end, t.fingerprint),
            *(column[i] for column in more.values()),
            *(inert(getattr(t, name)) for name in SHOWN),
        )
        for i, t in enumerate(tasks)
    )
    write_table(path, (*COLUMNS, *more, *SHOWN), rows)


def read(path: Path) -> list[Task]:
    """Read tasks that `write` wrote, in the file's order; their text comes from the documents.

    Raises:
        FindingsError: a row is torn, a document cannot be read, or its sentence is not there any more.
    """
    known: dict[Path, _Source] = {}
    return [_stored(place, row, known) for place, row in read_table(path, COLUMNS)]


def _stored(place: str, row: Mapping[str, str], known: dict[Path, _Source]) -> Task:
    file = Path(row["file"])
    if file not in known:
        try:
            known[file] = _source(file, row["document_id"])
        except FindingsError as error:
            raise FindingsError(f"{place}: {error}") from error
    source = known[file]
    found = next((s for s in source.cut if (str(s.start), str(s.end)) == (row["start"], row["end"])), None)
    if found is None or fingerprint(found.text) != row["fingerprint"]:
        raise FindingsError(f"{place}: {file} does not hold this sentence there. Pick the sentences anew.")
    return _task(source, row["sentence_id"], found.start, found.end, found.text)
