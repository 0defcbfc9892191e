"""Documents read once: kept by their content in the user's cache folder, several at a time read in parallel."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from functools import cache
from importlib import metadata, resources
from multiprocessing import get_context
from pathlib import Path

from findings import documents
from findings.documents import Block, Document
from findings.errors import FindingsError

PARSERS = ("pdf.py", "documents.py")
"""The modules that make a `Document` of a file: when one of them changes, files are read anew."""

LIBRARIES = ("pypdfium2", "python-docx", "beautifulsoup4", "lxml", "markdown-it-py")

FEW = 6
"""So many documents are read sooner than other processes have started."""


def read(path: Path) -> Document:
    """`documents.read`, or what it gave for the same content before. What was kept and cannot be
    read, or came from another version of the parser, is made anew; without room or right to keep
    it, nothing is kept.

    Raises:
        FindingsError: as `documents.read`.
    """
    if path.suffix.lower() not in documents.READERS or not path.is_file():
        return documents.read(path)  # which says what is wrong
    kept = folder() / f"{sha256(path)}{path.suffix.lower()}.json"
    try:
        return _load(kept, path)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not kept yet, or not whole
    document = documents.read(path)
    _keep(kept, document)
    return document


def read_all(paths: Sequence[Path]) -> Iterator[tuple[Path, Document | FindingsError]]:
    """Read documents in their order, in as many processes as there are processors; a document that
    cannot be read comes as its error, and the others go on."""
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
    if workers == 1 or len(paths) <= FEW:
        yield from ((path, _read_or_error(path)) for path in paths)
        return
    # Not forked: the libraries that label sentences have threads.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_leave_interrupts) as pool:
        try:
            yield from zip(paths, pool.map(_read_or_error, paths, chunksize=2), strict=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    """Ctrl-C is for the process that asked for the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read_or_error(path: Path) -> Document | FindingsError:
    try:
        return read(path)
    except FindingsError as error:
        return error


def folder() -> Path:
    """Where documents are kept: `findings/documents` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "findings" / "documents"


def sha256(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's content.

    Raises:
        FindingsError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}. Check that you may read it.") from error


@cache
def version() -> str:
    """SHA-256 (hexadecimal) of the code that makes a `Document` of a file and of its libraries' versions."""
    sources = [resources.files("findings").joinpath(name).read_bytes() for name in PARSERS]
    return hashlib.sha256(b"".join([*sources, *(metadata.version(name).encode() for name in LIBRARIES)])).hexdigest()


def _load(kept: Path, path: Path) -> Document:
    held = json.loads(kept.read_text(encoding="ascii"))
    if held["parser"] != version():
        raise ValueError("made by another version of the parser")
    blocks = tuple(Block(*fields) for fields in held["blocks"])
    return Document(path.name, held["format"], held["text"], blocks, tuple(held["page_starts"]))


def _keep(kept: Path, document: Document) -> None:
    held = {
        "parser": version(),
        "format": document.format,
        "text": document.text,
        "blocks": [astuple(block) for block in document.blocks],
        "page_starts": document.page_starts,
    }
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as made:
            temporary = Path(made) / kept.name
            temporary.write_text(json.dumps(held), encoding="ascii")
            temporary.replace(kept)
    except OSError:
        pass  # a full or read-only disk costs time at the next reading, nothing else
