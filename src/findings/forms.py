"""The forms of a request and of its answer: MLflow's JSON forms and CSV → sentences and headings, and
predictions → rows. Nothing here needs a data frame.

What a client got wrong is one sentence with its status; it repeats nothing of what was sent but short names.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from findings.errors import Refused
from findings.models import Model, Predictions, theme_lists

COLUMNS = ("finding", "finding_probability", "finding_probabilities", "themes", "theme_probabilities")
"""Of an answer, one row a sentence in order."""

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
MAX_ROWS = 2_000
MAX_CHARACTERS = 50_000
"""Of one sentence or heading: some thirty pages of print."""


@dataclass(frozen=True)
class Rows:
    """What a request asks about; a missing heading is an empty one."""

    sentences: list[str]
    headings: list[str]


def read(body: bytes, content_type: str | None, max_rows: int = MAX_ROWS) -> Rows:
    """The rows in the body of a request.

    Raises:
        Refused: a content type other than JSON or CSV in UTF-8, not one of MLflow's forms, a row
            without a sentence or with something else than text, or too much of it.
    """
    kind = kind_of(content_type)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(400, f"The body is not UTF-8 (byte {error.start + 1}). Send text in UTF-8.") from error
    found = rows(_csv(text, max_rows) if kind == "text/csv" else _json(text, max_rows))
    _limit(len(found.sentences), max_rows)
    for name, column in (("sentence", found.sentences), ("heading", found.headings)):
        for row, value in enumerate(column, 1):
            if len(value) > MAX_CHARACTERS:
                raise Refused(413, f"row {row}: the {name} is longer than {MAX_CHARACTERS:,} characters. Split it.")
    return found


def kind_of(content_type: str | None) -> str:
    """application/json or text/csv.

    Raises:
        Refused: something else, or another encoding than UTF-8.
    """
    kind, *parameters = [part.strip().lower() for part in (content_type or "").split(";")]
    if kind not in ("application/json", "text/csv"):
        raise Refused(415, "Say with the header Content-Type what the body is: application/json or text/csv.")
    for parameter in filter(None, parameters):
        name, _, value = parameter.partition("=")
        if name.strip() != "charset" or value.strip().strip('"') not in ("utf-8", "utf8"):
            raise Refused(415, f"Send {kind} in UTF-8, with no other parameter of the content type than charset=utf-8.")
    return kind


# JSON ---------------------------------------------------------------------------------------------


def _json(text: str, max_rows: int) -> dict[str, list[Any]]:
    data = parse(text)
    given = [form for form in FORMS if isinstance(data, dict) and form in data]
    if len(given) != 1:
        raise Refused(400, f"Send an object with exactly one of {', '.join(FORMS)}.")
    if not isinstance(data.get("params"), dict | None):
        raise Refused(400, "params must be an object; this model has none, so leave it out.")
    value = data[given[0]]
    if given[0] == "dataframe_split":
        return _split(value, max_rows)
    if given[0] == "dataframe_records" and not (isinstance(value, list) and all(isinstance(r, dict) for r in value)):
        raise Refused(400, "dataframe_records must be a list of objects with 'sentence'.")
    return columns(value)


def parse(text: str) -> Any:
    """JSON → its value. Numbers become floats, however long they are: no model here takes any.

    Raises:
        Refused: not JSON, nested too deeply, or an object that names a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=float)
    except RecursionError as error:
        raise Refused(400, "The JSON is nested too deeply.") from error
    except ValueError as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Refused(400, f"The body is not valid JSON{place}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Refused(400, "An object in the JSON names the same key twice.")
    return made


def columns(value: Any) -> dict[str, list[Any]]:
    """Strings, objects, or an object of lists → columns by name.

    Raises:
        Refused: something else.
    """
    if isinstance(value, str):
        return {"sentence": [value]}
    if isinstance(value, list | tuple):
        return _columns_of_rows(value)
    if isinstance(value, Mapping):
        return {str(name): list(v) if isinstance(v, list | tuple) else [v] for name, v in value.items()}
    raise Refused(400, "expected sentences: a list of strings, or rows with 'sentence' and perhaps 'heading'.")


def _columns_of_rows(given: Sequence[Any]) -> dict[str, list[Any]]:
    if not given or not isinstance(given[0], Mapping):
        return {"sentence": list(given)}
    if not any(isinstance(row, Mapping) and "sentence" in row for row in given):
        return {}
    for number, row in enumerate(given, 1):
        if not isinstance(row, Mapping):
            raise Refused(400, f"row {number}: not an object with 'sentence', as the first row is.")
    return {"sentence": [r.get("sentence") for r in given], "heading": [r.get("heading") for r in given]}


def _split(value: Any, max_rows: int) -> dict[str, list[Any]]:
    names, data = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
    if not isinstance(names, list) or not isinstance(data, list):
        raise Refused(400, "dataframe_split must be an object with the lists 'columns' and 'data'.")
    return _table(names, data, "dataframe_split", max_rows)


def _table(names: list[Any], data: list[Any], what: str, max_rows: int) -> dict[str, list[Any]]:
    """A header and rows → the columns that a model takes."""
    _limit(len(data), max_rows)
    if any(names.count(name) > 1 for name in ("sentence", "heading")):
        raise Refused(400, f"{what} names a column twice.")
    for number, row in enumerate(data, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refused(400, f"row {number}: {what} has {len(names)} columns, the row has another number.")
    places = {name: names.index(name) for name in ("sentence", "heading") if name in names}
    return {name: [row[place] for row in data] for name, place in places.items()}


# CSV ----------------------------------------------------------------------------------------------


def _csv(text: str, max_rows: int) -> dict[str, list[Any]]:
    """As pandas writes a data frame: a header, then rows; other columns than ours are passed over."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    data: list[list[str]] = []
    try:
        names = next(lines, [])
        for line in lines:
            if line:  # a blank line is no row
                data.append(line)
                _limit(len(data), max_rows)
    except csv.Error as error:
        raise Refused(400, f"line {lines.line_num}: not valid CSV.") from error
    return _table(names, data, "the header", max_rows)


# Rows ---------------------------------------------------------------------------------------------


def rows(found: Mapping[str, list[Any]]) -> Rows:
    """Columns by name → sentences and headings, each of them checked.

    Raises:
        Refused: no column `sentence`, a sentence that is null, or something else than text.
    """
    if "sentence" not in found:
        raise Refused(400, "there is no column 'sentence'. Send 'sentence' and, where it is known, 'heading'.")
    sentences = _unpacked(found["sentence"])
    headings = _unpacked(found["heading"]) if "heading" in found else [None] * len(sentences)
    if len(headings) != len(sentences):
        counts = f"{len(sentences)} sentences but {len(headings)} headings"
        raise Refused(400, f"{counts}. Send one heading a sentence, or none.")
    return Rows(
        [_text(value, row, "sentence") for row, value in enumerate(sentences, 1)],
        ["" if _is_null(value) else _text(value, row, "heading") for row, value in enumerate(headings, 1)],
    )


def _limit(number: int, max_rows: int) -> None:
    if number > max_rows:
        raise Refused(413, f"More than {max_rows:,} rows. Send fewer sentences at a time.")


def _unpacked(column: list[Any]) -> list[Any]:
    """MLflow turns {"sentence": [...]} into one row that holds the list: take it out again."""
    if len(column) == 1 and isinstance(column[0], list | tuple):
        return list(column[0])
    return column


def _is_null(value: Any) -> bool:
    """None, or the not-a-number that data frames have for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any, row: int, name: str) -> str:
    if _is_null(value):
        raise Refused(400, f"row {row}: the {name} is null. Send text.")
    if not isinstance(value, str):
        raise Refused(400, f"row {row}: the {name} is not text. Send a string.")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused(400, f"row {row}: the {name} has half a surrogate pair. Send whole characters.") from error
    return value


# The answer ---------------------------------------------------------------------------------------


def answers(model: Model, predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions in the form of the contract: a row a sentence with `COLUMNS`."""
    findings, themes = model.taxonomy.finding_ids, model.taxonomy.theme_ids
    columns_ = zip(
        (findings[i] for i in predictions.findings),
        predictions.finding_probabilities.tolist(),
        theme_lists(predictions, model.taxonomy),
        predictions.theme_probabilities.tolist(),
        strict=True,
    )
    return [
        dict(zip(COLUMNS, (finding, max(shares), _map(findings, shares), given, _map(themes, of_themes)), strict=True))
        for finding, shares, given, of_themes in columns_
    ]


def _map(labels: list[str], row: list[float]) -> dict[str, float]:
    return {label: round(value, 6) for label, value in zip(labels, row, strict=True)}
