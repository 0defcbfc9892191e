"""The version that the alias `champion` names, and its model, found without importing MLflow where that
can be done: MLflow takes longer to import than a small model takes to start answering.

A store in SQLite is asked by itself, read-only. Any other store, or one with other tables than this
MLflow's, is asked through `registry`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, unquote, urlsplit

from findings import models
from findings.models import Model
from findings.store import sqlite_path

QUERY = """
SELECT v.version, v.run_id, v.storage_location FROM registered_model_aliases AS a
JOIN model_versions AS v ON v.workspace = a.workspace AND v.name = a.name AND v.version = a.version
WHERE a.workspace = 'default' AND a.name = ? AND a.alias = 'champion' AND v.current_stage <> 'Deleted_Internal'
"""
FILES = Path("artifacts") / "model"
"""Where a logged model keeps what `models.save` wrote."""


@dataclass(frozen=True)
class Champion:
    """A registered version; `folder` is where its files lie, None where only MLflow can tell."""

    name: str
    version: str
    run_id: str
    folder: Path | None = None

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


def find(uri: str, name: str) -> Champion:
    """The champion of a name in the store at `uri`.

    Raises:
        FindingsError: there is none, or the store does not answer.
    """
    path = sqlite_path(uri)
    found = _ask(path, name) if path is not None else None
    if found is not None:
        return found
    registry = _registry(uri)
    version = registry.require_champion(name)
    return Champion(name, version.version, version.run_id)


def load(uri: str, champion: Champion) -> Model:
    """Its model, loaded in this process.

    Raises:
        FindingsError: its files are missing or damaged.
    """
    if champion.folder is not None and (champion.folder / FILES).is_dir():
        return models.load(champion.folder / FILES)
    registry = _registry(uri)
    model: Model = registry.load(registry.Version(champion.name, champion.version, champion.run_id))
    return model


def _ask(path: Path, name: str) -> Champion | None:
    """What the store's own tables say; None where they say nothing that can be relied on."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)) as database:
            rows = database.execute(QUERY, (name,)).fetchall()
    except sqlite3.Error:
        return None
    if len(rows) != 1:
        return None
    version, run_id, location = rows[0]
    return Champion(name, str(version), str(run_id or ""), _local(str(location or "")))


def _local(location: str) -> Path | None:
    """The folder that an artifact's address means; None if it is not on this machine."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(location) if not parts.scheme and location.startswith("/") else None


def _registry(uri: str) -> ModuleType:
    from findings import registry, tracking

    tracking.connect({"uri": uri, "experiment": "findings"}, create=False)
    return registry
