"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from findings.errors import FindingsError


def make_folder(folder: Path) -> None:
    """Make a folder for results, with those above it.

    Raises:
        FindingsError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file, not a folder" if folder.is_file() else error.strerror
        raise FindingsError(f"{folder}: {reason}. Give another folder with --out.") from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which it takes when the block comes to its end; else it is removed.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def claimed(lock: Path, taken: str) -> Iterator[None]:
    """Keep a second process out as long as the block runs; the file `lock` is gone afterwards.

    Raises:
        FindingsError: another process is in (the message is `taken`), or the file cannot be written.
    """
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise FindingsError(taken) from error
    except OSError as error:
        raise FindingsError(f"{lock.parent}: {error.strerror}. Give a folder that you may write.") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        held.release()


def write_text(path: Path, text: str) -> None:
    """Write a text; an existing one is replaced only when all is written.

    Raises:
        FindingsError: the file cannot be written.
    """
    try:
        with whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FindingsError(f"{path}: {reason}. Nothing half-written is left.") from error
