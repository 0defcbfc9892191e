"""A document through the champion → its sentences with labels, as JSON lines, CSV and an HTML page."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import count, groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from findings import documents
from findings.evaluation import theme_lists
from findings.models import Model
from findings.sentences import sentences
from findings.taxonomy import NONE

UNSURE = 0.6
"""Below this probability a finding is marked for a person to check."""


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
    """A document, read."""

    name: str
    pages: int
    sentences: list[Labelled]

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(s.finding for s in self.sentences))


def read(path: Path, model: Model) -> Reading:
    """Read one document and label its sentences.

    Raises:
        FindingsError: the file cannot be read; the message names it and the remedy.
    """
    document = documents.read(path)
    found = sentences(document)
    predictions = model.predict([s.text for s in found], [s.heading for s in found])
    probabilities = predictions.finding_probabilities
    labelled = [
        Labelled(
            s.text,
            model.taxonomy.finding_ids[best],
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
            zip(found, predictions.findings, theme_lists(predictions, model.taxonomy), strict=True)
        )
    ]
    return Reading(document.name, len(document.page_starts), labelled)


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


def write(reading: Reading, folder: Path, name: str, model: Model) -> list[Path]:
    """Write `<name>.jsonl`, `<name>.csv` and `<name>.html`, each only when it is whole."""
    written = []
    for ending, render in FORMATS.items():
        path = folder / f"{name}.{ending}"
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_text(render(reading, model), encoding="utf-8", newline="")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        written.append(path)
    return written


def _json_lines(reading: Reading, model: Model) -> str:
    return "".join(
        json.dumps({"document": reading.name, **asdict(s)}, ensure_ascii=False) + "\n" for s in reading.sentences
    )


def _csv(reading: Reading, model: Model) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns = ["page", "paragraph", "heading", "finding", "finding_probability", "themes", "list_item", "sentence"]
    writer.writerow(["document", *columns])
    for s in reading.sentences:
        row = asdict(s) | {"themes": " ".join(s.themes)}
        writer.writerow([_inert(reading.name), *(_inert(row[c]) for c in columns)])
    return out.getvalue()


def _inert(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _html(reading: Reading, model: Model) -> str:
    environment = Environment(loader=PackageLoader("findings", "."), autoescape=select_autoescape(["html"]))
    page = environment.get_template("reading.html")
    return page.render(
        reading=reading,
        taxonomy=model.taxonomy,
        title=model.taxonomy.title,
        none=NONE,
        sections=list(_sections(reading)),
        marks=MARKS,
        unsure=UNSURE,
    )


def _sections(reading: Reading) -> Iterator[tuple[str, list[Labelled]]]:
    for heading, group in groupby(reading.sentences, key=lambda s: s.heading):
        yield heading, list(group)


MARKS = {"strength": "✓", "concern": "!", "recommendation": "→", "none": "·"}
"""Signs beside the colours, which alone would not reach everyone."""

FORMATS: dict[str, Callable[[Reading, Model], str]] = {"jsonl": _json_lines, "csv": _csv, "html": _html}
