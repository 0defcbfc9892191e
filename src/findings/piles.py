"""Piles of sentences too large to hold at once: a Parquet, CSV or JSON lines file, a folder of Parquet
files, or documents, checked first and then read in tables of bounded size.

The column `sentence` is needed; `heading` is used where it is there; `sentence_id` is made where it
is not; all others are kept as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from findings import __version__, parsed, reading
from findings.annotations import csv_rows
from findings.errors import FindingsError
from findings.sentences import sentences

ROWS = 2048
"""Rows of a table that is held at once."""

MAX_LINE = 2**24
"""Bytes of a line of JSON."""

MAX_COLUMNS = 1000

_ID = pa.field("sentence_id", pa.string())

DOCUMENT_COLUMNS = pa.schema(
    {
        "document_id": pa.string(),
        "file": pa.string(),
        "page": pa.int32(),
        "heading": pa.string(),
        "list_item": pa.bool_(),
        "sentence": pa.string(),
    }
)


@dataclass(frozen=True)
class Pile:
    """A pile that has been looked through.

    Attributes:
        path: as it was given.
        form: parquet, csv, jsonl or documents.
        files: in their order, with the names from which the ids of their sentences are made, and their
            numbers of rows.
        columns: that are in the files.
        fingerprint: SHA-256 (hexadecimal) of the files' contents and names.
        unread: a message for each document that cannot be read.
    """

    path: Path
    form: str
    files: tuple[Path, ...]
    names: tuple[str, ...]
    counts: tuple[int, ...]
    columns: pa.Schema
    fingerprint: str
    unread: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The columns of its tables: the files', and `sentence_id` before them where they have none."""
        return self.columns if "sentence_id" in self.columns.names else self.columns.insert(0, _ID)

    @property
    def rows(self) -> int:
        return sum(self.counts)


def look_through(path: Path, out: Path) -> Pile:
    """Check a pile from beginning to end and count its rows; what lies in `out` is no part of it.

    Raises:
        FindingsError: it cannot be read, lacks the column `sentence`, or a row is torn; names file and row.
    """
    if path.is_dir() and (parts := _parquet_files(path)):
        return _looked_through(path, "parquet", parts, *_look_parquet(parts))
    if path.suffix.lower() == ".parquet":
        return _looked_through(path, "parquet", [path], *_look_parquet([path]))
    if path.suffix.lower() == ".csv":
        return _looked_through(path, "csv", [path], *_look_csv(path))
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return _looked_through(path, "jsonl", [path], *_look_jsonl(path))
    return _look_documents(path, out)


def tables(pile: Pile, start: int = 0) -> Iterator[pa.Table]:
    """The rows from `start` on, in order, in tables of `ROWS` rows, the last with fewer.

    Raises:
        FindingsError: a file is damaged, or has changed since it was looked through.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in _batches(pile, start):
        held.append(batch)
        count += batch.num_rows
        while count >= ROWS:
            table = pa.Table.from_batches(held, pile.schema)
            yield table.slice(0, ROWS)
            count -= ROWS
            held = table.slice(ROWS).to_batches()
    if count:
        yield pa.Table.from_batches(held, pile.schema)


def _batches(pile: Pile, start: int) -> Iterator[pa.RecordBatch]:
    for file, name, count in zip(pile.files, pile.names, pile.counts, strict=True):
        if start >= count:
            start -= count
            continue
        row = start
        for batch in _READERS[pile.form](pile, file, start):
            columns = batch.columns
            if len(columns) < len(pile.schema):
                ids = [f"{name}-{number}" for number in range(row + 1, row + batch.num_rows + 1)]
                columns = [pa.array(ids, pa.string()), *columns]
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, schema=pile.schema)
        if row != count:
            raise FindingsError(f"{file}: it has changed while it was read. Leave it as it is and start again.")
        start = 0


def _looked_through(path: Path, form: str, files: list[Path], columns: pa.Schema, counts: list[int]) -> Pile:
    _check(files[0], columns)
    names = tuple(file.stem for file in files)
    return Pile(path, form, tuple(files), names, tuple(counts), columns, _fingerprint(form, files, names))


def _check(file: Path, schema: pa.Schema) -> None:
    """Refuse a pile whose columns are not a pile's."""
    seen: set[str] = set()
    for name in schema.names:
        if name.casefold() in seen:
            raise FindingsError(f"{file}: two columns are called '{name}'. Rename one.")
        seen.add(name.casefold())
    if "sentence" not in schema.names:
        raise FindingsError(
            f"{file}: no column 'sentence' among {', '.join(schema.names[:20])}. Rename that with text."
        )
    for name in ("sentence", "heading"):
        if name in schema.names and not is_text(schema.field(name).type):
            raise FindingsError(f"{file}: the column '{name}' holds {schema.field(name).type}, not text. Make it text.")


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings, or nothing."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in texts)


def _fingerprint(form: str, files: Iterable[Path], names: Iterable[str], *more: str) -> str:
    known = [form, *more, *chain.from_iterable((n, parsed.sha256(f)) for f, n in zip(files, names, strict=True))]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


# Parquet ------------------------------------------------------------------------------------------


def _parquet_files(folder: Path) -> list[Path]:
    """The Parquet files in a folder, as Spark and pandas write and read them: hidden names left out."""
    return sorted(p for p in folder.glob("*.parquet") if p.is_file() and not p.name.startswith((".", "_")))


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:  # buffered, so that a large row group is not held whole
        return pq.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except FileNotFoundError as error:
        raise FindingsError(f"{file}: no such file or folder. Check the name.") from error
    except (OSError, pa.ArrowException) as error:
        raise FindingsError(f"{file}: not a whole Parquet file. Write it again.") from error


def _look_parquet(files: list[Path]) -> tuple[pa.Schema, list[int]]:
    schema: pa.Schema | None = None
    counts = []
    for file in files:
        with _open_parquet(file) as opened:
            own = opened.schema_arrow.remove_metadata()
            counts.append(opened.metadata.num_rows)
        schema = schema or own
        if not own.equals(schema):
            raise FindingsError(f"{file}: its columns are not those of {files[0].name}. Score it by itself.")
    return schema, counts


def _read_parquet(pile: Pile, file: Path, start: int) -> Iterator[pa.RecordBatch]:
    row = start
    with _open_parquet(file) as opened:
        first = 0
        while first < opened.num_row_groups and start >= (rows := opened.metadata.row_group(first).num_rows):
            start -= rows
            first += 1
        try:
            for batch in opened.iter_batches(ROWS, row_groups=range(first, opened.num_row_groups)):
                kept = batch.slice(min(start, batch.num_rows))
                start -= batch.num_rows - kept.num_rows
                row += kept.num_rows
                yield kept
        except (OSError, pa.ArrowException) as error:
            raise FindingsError(f"{file}: damaged after row {row}. Write it again.") from error


# CSV ----------------------------------------------------------------------------------------------


def _look_csv(path: Path) -> tuple[pa.Schema, list[int]]:
    rows = csv_rows(path)
    _, names = next(rows, (1, []))
    schema = pa.schema([(name, pa.string()) for name in names])
    _check(path, schema)
    return schema, [sum(1 for _ in rows)]


def _read_csv(pile: Pile, file: Path, start: int) -> Iterator[pa.RecordBatch]:
    rows = csv_rows(file)
    _, names = next(rows, (1, []))
    schema = pa.schema([(name, pa.string()) for name in names])
    for some in _some(islice(rows, start, None)):
        columns = zip(*(values for _, values in some), strict=True)
        yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=schema)


def _some(rows: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(rows)
    while some := list(islice(source, ROWS)):
        yield some


# JSON lines ---------------------------------------------------------------------------------------


def _look_jsonl(path: Path) -> tuple[pa.Schema, list[int]]:
    """Each key is a column of the type that holds all its values; JSON as text where none does."""
    kinds: dict[str, pa.DataType] = {}
    mixed: set[str] = set()
    count = 0
    for some in _some(_json_rows(path)):
        count += len(some)
        for name in dict.fromkeys(chain.from_iterable(some)):
            kind = _kind([row.get(name) for row in some], kinds.get(name, pa.null()))
            kinds[name] = kind or pa.null()
            if kind is None:
                mixed.add(name)
        if len(kinds) > MAX_COLUMNS:
            raise FindingsError(f"{path}: more than {MAX_COLUMNS} different keys. Keep those that are needed.")
    if not count:
        raise FindingsError(f"{path}: no row in it. Give a line of JSON with 'sentence' for each sentence.")
    texts = mixed | {name for name, kind in kinds.items() if not _storable(kind)}
    return pa.schema([(name, pa.string() if name in texts else kind) for name, kind in kinds.items()]), [count]


def _kind(values: list[Any], before: pa.DataType) -> pa.DataType | None:
    try:
        both = [pa.schema([("x", before)]), pa.schema([("x", pa.array(values).type)])]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowException, OverflowError):
        return None


def _storable(kind: pa.DataType) -> bool:
    """Whether Parquet has such a column: not one of nothing, nor of objects without keys."""
    if not pa.types.is_nested(kind):
        return not pa.types.is_null(kind)
    return kind.num_fields > 0 and all(_storable(kind.field(i).type) for i in range(kind.num_fields))


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
                if len(line) > MAX_LINE:
                    raise FindingsError(f"{path}:{number}: a line of more than {MAX_LINE} bytes. Cut it.")
                if line.strip():
                    yield _json_row(line, f"{path}:{number}")
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}. Check that it is a file that you may read.") from error


def _json_row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half of a pair of surrogates is no text
    except (ValueError, RecursionError) as error:
        raise FindingsError(f"{place}: not a line of JSON in UTF-8. Write one object a line.") from error
    if not isinstance(row, dict):
        raise FindingsError(f"{place}: not an object with 'sentence'. Write one object a line.")
    for name in ("sentence", "heading"):
        if not isinstance(row.get(name), str | None):
            raise FindingsError(f"{place}: the {name} is not text. Send a string.")
    return row


def _read_jsonl(pile: Pile, file: Path, start: int) -> Iterator[pa.RecordBatch]:
    for some in _some(islice(_json_rows(file), start, None)):
        try:
            columns = [pa.array([_cell(row.get(f.name), f.type) for row in some], f.type) for f in pile.columns]
        except (pa.ArrowException, OverflowError) as error:
            raise FindingsError(f"{file}: {' '.join(str(error).split())}. Write those values alike.") from error
        yield pa.RecordBatch.from_arrays(columns, schema=pile.columns)


def _cell(value: Any, kind: pa.DataType) -> Any:
    return value if value is None or isinstance(value, str) or not pa.types.is_string(kind) else json.dumps(value)


# Documents ----------------------------------------------------------------------------------------


def _look_documents(path: Path, out: Path) -> Pile:
    files, missing = reading.files([path], out)
    if missing:
        raise FindingsError(missing[0])
    names = reading.names(files)
    counts: dict[Path, int] = {}
    unread = []
    for file, document in parsed.read_all(files):
        if isinstance(document, FindingsError):
            unread.append(str(document))
        else:
            counts[file] = len(sentences(document))
    if not counts:
        raise FindingsError("\n".join(unread))
    read, ids = tuple(counts), tuple(names[file] for file in counts)
    mark = _fingerprint("documents", read, ids, parsed.version(), __version__)
    return Pile(path, "documents", read, ids, tuple(counts.values()), DOCUMENT_COLUMNS, mark, tuple(unread))


def _read_document(pile: Pile, file: Path, start: int) -> Iterator[pa.RecordBatch]:
    found = sentences(parsed.read(file))[start:]
    own = pile.names[pile.files.index(file)]
    name = str(file.relative_to(pile.path)) if pile.path.is_dir() else file.name
    columns = {
        "document_id": [own] * len(found),
        "file": [name] * len(found),
        "page": [s.page for s in found],
        "heading": [s.heading for s in found],
        "list_item": [s.list_item for s in found],
        "sentence": [s.text for s in found],
    }
    yield pa.RecordBatch.from_pydict(columns, schema=DOCUMENT_COLUMNS)


_READERS: dict[str, Callable[[Pile, Path, int], Iterator[pa.RecordBatch]]] = {
    "parquet": _read_parquet,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "documents": _read_document,
}
