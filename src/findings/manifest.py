"""The hashes of a model's files, kept beside them: a changed byte is refused when it is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from findings.errors import FindingsError

FILE = "manifest.json"


def write(folder: Path) -> None:
    """Write `manifest.json`: the SHA-256 of every other file in the folder."""
    (folder / FILE).write_bytes(_canonical(folder))


def verify(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        FindingsError: a file is changed, missing or not in the manifest, or there is no manifest.
    """
    path = folder / FILE
    try:
        told = path.read_bytes()
    except OSError as error:
        raise FindingsError(f"{path}: not there, so the model cannot be checked. Train it again.") from error
    found = _canonical(folder)
    if told == found:
        return
    try:
        expected, actual = json.loads(told)["sha256"], json.loads(found)["sha256"]
        name = next(n for n in sorted({*expected, *actual}) if expected.get(n) != actual.get(n))
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        name = FILE
    raise FindingsError(f"{folder / name}: not the file that was stored with the model. It is not loaded.")


def _canonical(folder: Path) -> bytes:
    """The manifest as it must be, byte for byte, so that the manifest itself cannot be changed unseen."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / FILE)
    hashes = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    return (json.dumps({"sha256": hashes}, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def sha256(path: Path) -> str:
    """The hash of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
