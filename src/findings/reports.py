"""Published reports as PDF files at hand: which file is which report, whole or torn.

A folder of reports holds `<source_file_id>.pdf` for each, and `<source_file_id>.changed.pdf` where
the publisher's file is no longer the one that was annotated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from findings import documents, parsed
from findings.annotations import read_table
from findings.errors import FindingsError

ID = re.compile(r"[A-Za-z0-9]+")
"""What a source file id may be: it becomes the name of a file."""


@dataclass(frozen=True)
class Report:
    """A published report.

    Attributes:
        source_file_id: what the publisher's address of it ends with.
        kind: one of `annotations.KINDS`.
        urn, published: the authority's number with the publisher, an ISO date; either may be empty.
        sha256: of the PDF file that was annotated; empty where it is not known.
        place: file:row that names it.
    """

    source_file_id: str
    kind: str
    authority: str
    urn: str
    published: str
    split: str
    sha256: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.source_file_id} ({', '.join(filter(None, (self.authority, self.published)))})"


@dataclass(frozen=True)
class AtHand:
    """The file of a report; `changed` where it is not the one that was annotated."""

    path: Path
    changed: bool


def home(name: str) -> Path:
    """Where a dataset that is not shipped is kept: data/<name> in a checkout; beside an installed
    package nothing should be written, so it is the user's cache folder then."""
    data = Path(str(resources.files("findings.data")))
    if (data.parent / "pyproject.toml").is_file():
        return data / name
    return parsed.folder().parent / name


def path_of(report: Report, folder: Path, *, changed: bool = False) -> Path:
    """The report's file in a folder of reports."""
    return folder / f"{report.source_file_id}{'.changed' if changed else ''}.pdf"


def at_hand(report: Report, folder: Path) -> AtHand | None:
    """The report's file, the annotated one before a changed one; None where there is neither."""
    path, changed = path_of(report, folder), path_of(report, folder, changed=True)
    if path.is_file() and report.sha256 in ("", parsed.sha256(path)):
        return AtHand(path, changed=False)
    if changed.is_file():
        return AtHand(changed, changed=True)
    return AtHand(path, changed=True) if path.is_file() else None


def damage(path: Path) -> str | None:
    """Why a file cannot be a whole PDF, in a few words; None where it looks like one."""
    with path.open("rb") as file:
        head = file.read(2048)
        file.seek(max(0, path.stat().st_size - 2048))
        tail = file.read()
    if not head:
        return "the file is empty"
    return documents.not_pdf(head) or (None if b"%%EOF" in tail else "the PDF is cut short")


def identify(folder: Path, reports: Sequence[Report]) -> dict[Path, Report | None]:
    """Which report each PDF of a folder (and of those in it) is: by its SHA-256, else by the id in
    its name, else by `index.csv` with the columns `file` and `source_file_id`; None where it is none.

    Raises:
        FindingsError: the folder or its index cannot be read.
    """
    if not folder.is_dir():
        raise FindingsError(f"{folder}: no such folder. Give the one that holds the PDFs.")
    by_sha256 = {report.sha256: report for report in reports if report.sha256}
    by_id = {report.source_file_id: report for report in reports}
    index = {row["file"]: row["source_file_id"] for row in read_index(folder)}
    found: dict[Path, Report | None] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".pdf" and p.is_file()):
        named = [by_id[part] for part in ID.findall(path.stem) if part in by_id]
        listed = by_id.get(index.get(path.relative_to(folder).as_posix(), ""))
        found[path] = by_sha256.get(parsed.sha256(path)) or (named[0] if named else listed)
    return found


def read_index(folder: Path) -> list[dict[str, str]]:
    """The rows of the `index.csv` of a folder of PDFs; none where there is no such file.

    Raises:
        FindingsError: it is not a CSV file with the columns `file` and `source_file_id`.
    """
    path = folder / "index.csv"
    return [row for _, row in read_table(path, ("file", "source_file_id"))] if path.is_file() else []
