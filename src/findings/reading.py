"""A document through the champion → a `Reading`: what it says of itself, and its sentences with labels.

`pages` writes a reading's files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from findings import documents, parsed
from findings.about import About, about
from findings.documents import Document
from findings.models import Model, Predictions, theme_lists
from findings.sentences import Sentence, sentences
from findings.taxonomy import Taxonomy

UNSURE = 0.6
"""Below this probability a finding is marked for a person to check."""

MARKS = {"strength": "✓", "concern": "!", "recommendation": "→", "none": "–"}
"""Signs beside the colours, which alone would not reach everyone."""

OTHER_MARK = "•"
"""The sign of a finding that another taxonomy brings."""


@dataclass(frozen=True)
class Labelled:
    """A sentence of a document with its labels; places as in `sentences.Sentence`."""

    sentence: str
    finding: str
    finding_probability: float
    themes: list[str]
    heading: str
    page: int
    paragraph: int | None
    list_item: bool
    start: int
    end: int

    @property
    def unsure(self) -> bool:
        return self.finding_probability < UNSURE


@dataclass(frozen=True)
class Reading:
    """A document, read.

    Attributes:
        name: the file's name without its folder.
        sha256: of the file's content.
        pages: their number; 1 where the format has none.
        labelled_by: the model's version.
        about: what the document says of itself.
    """

    name: str
    sha256: str
    pages: int
    labelled_by: str
    about: About
    sentences: list[Labelled]

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(s.finding for s in self.sentences))


def read(path: Path, model: Model, labelled_by: str) -> Reading:
    """Read one document and label its sentences.

    Raises:
        FindingsError: the file cannot be read; the message names it and the remedy.
    """
    return label(parsed.read(path), parsed.sha256(path), model, labelled_by)


def label(document: Document, sha256: str, model: Model, labelled_by: str) -> Reading:
    """Label the sentences of a document."""
    found = sentences(document)
    predictions = model.predict([s.text for s in found], [s.heading for s in found])
    labelled = join(found, predictions, model.taxonomy)
    return Reading(document.name, sha256, len(document.page_starts), labelled_by, about(document), labelled)


def join(found: Sequence[Sentence], predictions: Predictions, taxonomy: Taxonomy) -> list[Labelled]:
    """Sentences and the predictions for them → labelled sentences."""
    probabilities = predictions.finding_probabilities
    return [
        Labelled(
            s.text,
            taxonomy.finding_ids[best],
            round(float(probabilities[i, best]), 4),
            themes,
            s.heading,
            s.page,
            s.paragraph,
            s.list_item,
            s.start,
            s.end,
        )
        for i, (s, best, themes) in enumerate(
            zip(found, predictions.findings, theme_lists(predictions, taxonomy), strict=True)
        )
    ]


def files(paths: Iterable[Path], out: Path) -> tuple[list[Path], list[str]]:
    """The files named, and those of a known ending in the folders named, each once; and a message
    for each path that is not there or holds no document. What lies in `out` is left aside."""
    found: list[Path] = []
    missing: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in documents.READERS)
            inside = [p for p in inside if not p.resolve().is_relative_to(out.resolve())]
            if not inside:
                missing.append(f"{path}: no document in this folder. It reads {', '.join(documents.READERS)}.")
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            missing.append(f"{path}: no such file or folder. Check the name.")
    return list(dict.fromkeys(found)), missing


def names(paths: list[Path]) -> dict[Path, str]:
    """A name for the results of each file: its own without ending, or whole, or numbered, so that
    no two are the same, even where upper and lower case are not told apart."""
    stems = Counter(path.stem.casefold() for path in paths)
    made: dict[Path, str] = {}
    used: set[str] = set()
    for path in paths:
        name = (path.stem if stems[path.stem.casefold()] == 1 else path.name)[:100]
        tries = (f"{name}-{number}" for number in count(2))
        while name.casefold() in used:
            name = next(tries)
        used.add(name.casefold())
        made[path] = name
    return made
