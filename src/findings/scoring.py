"""A pile of sentences through a model → a folder of Parquet parts, which goes on where it was stopped.

Each part is written under another name and renamed when it is whole, so that a part that is there is
right; `_scoring.json` says of what pile and by which model, `_SUCCESS` that all parts are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from findings import piles
from findings.errors import FindingsError
from findings.files import claimed, make_folder, whole
from findings.models import Model, theme_lists
from findings.piles import Pile

PART = 4 * piles.ROWS
"""Rows of a part; its row groups have `piles.ROWS`."""

STATE, SUCCESS, LOCK = "_scoring.json", "_SUCCESS", "_lock"

MAX_CHARACTERS = 20_000
"""More is no sentence."""

BLANKS = " \t\r\n"

EMPTY, TOO_LONG = "no sentence", f"longer than {MAX_CHARACTERS} characters"

_PROBABILITIES = pa.map_(pa.string(), pa.float64())
ANSWER = pa.schema(
    {
        "finding": pa.string(),
        "finding_probability": pa.float64(),
        "finding_probabilities": _PROBABILITIES,
        "themes": pa.list_(pa.string()),
        "theme_probabilities": _PROBABILITIES,
        "labelled_by": pa.string(),
        "note": pa.string(),
    }
)
"""What scoring adds to a pile's columns. A row that cannot be scored has a note why, and no labels."""


@dataclass(frozen=True)
class Outcome:
    """What a scoring came to.

    Attributes:
        before: rows that were there when it began.
        notes: how many rows could not be scored.
    """

    rows: int
    before: int
    notes: int


def score(pile: Pile, model: Model, labelled_by: str, out: Path, tell: Callable[[int], object] = abs) -> Outcome:
    """Score a pile into the folder `out`; `tell` is told how many rows are done. Stopped, even by
    force, and called again with the same, it goes on with the first part that is not there.

    Raises:
        FindingsError: `out` holds something else or cannot be written, or the pile is damaged.
    """
    check_columns(pile.columns.names, str(pile.path))
    make_folder(out)
    schema = pa.schema([*pile.schema, *ANSWER])
    with claimed(out / LOCK, f"{out}: another scoring is writing there. Wait for it, or give another --out."):
        _begin(out, {"pile": pile.fingerprint, "rows": pile.rows, "labelled_by": labelled_by, "rows_a_part": PART})
        parts = max(1, -(-pile.rows // PART))
        there = _there(out, pile.rows, parts)
        done = before = min(there * PART, pile.rows)
        tell(done)
        source = piles.tables(pile, done)
        for number in range(there, parts):
            with _writing(out / _name(number), schema) as writer:
                for table in islice(source, PART // piles.ROWS):
                    writer.write_table(scored(table, model, labelled_by))
                    done += table.num_rows
                    tell(done)
        _written(out / SUCCESS, "")
        notes = ds.dataset(out, format="parquet").count_rows(filter=ds.field("note").is_valid())
    return Outcome(pile.rows, before, notes)


def check_columns(names: list[str], where: str) -> None:
    """Refuse a pile that has a column which scoring adds."""
    taken = {name.casefold() for name in ANSWER.names}
    if clash := next((name for name in names if name.casefold() in taken), None):
        raise FindingsError(f"{where}: it has a column '{clash}', which scoring adds. Rename it or leave it out.")


def scored(table: pa.Table, model: Model, labelled_by: str) -> pa.Table:
    """A table with the columns of `ANSWER` beside its own."""
    sentences = table["sentence"].to_pylist()
    notes = [note(sentence) for sentence in sentences]
    headings = table["heading"].to_pylist() if "heading" in table.column_names else [None] * len(sentences)
    good = [row for row, why in enumerate(notes) if why is None]
    answers = _answers(model, [sentences[row] for row in good], [headings[row] for row in good])
    place: list[int | None] = [None] * len(sentences)
    for position, row in enumerate(good):
        place[row] = position
    spread = answers.take(pa.array(place, pa.int64()))
    added = [*spread.columns, pa.array([labelled_by] * len(sentences), pa.string()), pa.array(notes, pa.string())]
    return pa.Table.from_arrays([*table.columns, *added], schema=pa.schema([*table.schema, *ANSWER]))


def note(sentence: str | None) -> str | None:
    """Why a sentence cannot be scored, or None. (`spark` has the same rule.)"""
    if sentence is None or not sentence.strip(BLANKS):
        return EMPTY
    return TOO_LONG if len(sentence) > MAX_CHARACTERS else None


def _answers(model: Model, sentences: list[str], headings: list[str | None]) -> pa.Table:
    predictions = model.predict(sentences, headings)
    findings, themes = model.taxonomy.finding_ids, model.taxonomy.theme_ids
    best = predictions.finding_probabilities.max(axis=1) if sentences else np.zeros(0)
    return pa.Table.from_arrays(
        [
            pa.array([findings[i] for i in predictions.findings] if sentences else [], pa.string()),
            pa.array(best, pa.float64()),
            _maps(findings, predictions.finding_probabilities),
            pa.array(theme_lists(predictions, model.taxonomy), pa.list_(pa.string())),
            _maps(themes, predictions.theme_probabilities),
        ],
        names=ANSWER.names[:5],
    )


def _maps(labels: list[str], probabilities: Any) -> pa.MapArray:
    """(n, labels) probabilities → n maps, with the digits of `serving.answer`."""
    rows, width = probabilities.shape
    offsets = pa.array(np.arange(0, rows * width + 1, width), pa.int32())
    return pa.MapArray.from_arrays(offsets, pa.array(labels * rows, pa.string()), np.round(probabilities, 6).ravel())


# The folder ---------------------------------------------------------------------------------------


def _name(number: int) -> str:
    return f"part-{number:05}.parquet"


def _begin(out: Path, state: dict[str, Any]) -> None:
    """Say what the folder is for, or check that it is for the same."""
    path = out / STATE
    if not path.exists():
        if strange := next((p.name for p in sorted(out.iterdir()) if p.name not in (LOCK, f".{STATE}.tmp")), None):
            raise FindingsError(f"{out}: it holds '{strange}', which is of no scoring. Give another --out.")
        _written(path, json.dumps(state, indent=1))
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FindingsError(f"{path}: it cannot be read. Delete the folder, or give another --out.") from error
    for key, what in (
        ("pile", "of another pile"),
        ("labelled_by", "by another model"),
        ("rows_a_part", "in other parts"),
    ):
        if not isinstance(before, dict) or before.get(key) != state[key]:
            raise FindingsError(f"{out}: it holds scores {what}. Delete the folder, or give another --out.")
    for torn in out.glob(".*.tmp"):
        torn.unlink(missing_ok=True)


def _there(out: Path, rows: int, parts: int) -> int:
    """How many parts, from the first, are there and whole."""
    for number in range(parts):
        try:
            found = pq.read_metadata(out / _name(number)).num_rows
        except (OSError, pa.ArrowException):
            return number
        if found != min(PART, rows - number * PART):
            return number
    return parts


@contextmanager
def _writing(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet file that gets its name when it is whole."""
    try:
        with whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            yield writer
    except OSError as error:
        raise _full(path.parent, error) from error


def _written(path: Path, text: str) -> None:
    try:
        with whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _full(path.parent, error) from error


def _full(out: Path, error: OSError) -> FindingsError:
    reason = os.strerror(error.errno) if error.errno else "it cannot be written"
    return FindingsError(f"{out}: {reason}. Put that right; what is scored is kept, and the same command goes on.")
