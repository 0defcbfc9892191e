"""Findings and themes: what a sentence can be labelled with, read from a taxonomy file.

The labels are data: another inspectorate is another YAML file of the same form
(`conf/taxonomy/childrens_services.yaml` is the one that ships).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from findings.errors import FindingsError

DEFAULT = "childrens_services"
NONE = "none"
"""The finding of a sentence without a judgement; every taxonomy has it."""

MAX_THEMES = 3


@dataclass(frozen=True)
class Label:
    """One finding or theme: `id` for annotations and models, `title` and `definition` for readers."""

    id: str
    title: str
    definition: str


@dataclass(frozen=True)
class Taxonomy:
    """The labels of one inspectorate. Order is meaning: arrays of probabilities follow it."""

    name: str
    findings: tuple[Label, ...]
    themes: tuple[Label, ...]

    @property
    def finding_ids(self) -> list[str]:
        return [label.id for label in self.findings]

    @property
    def theme_ids(self) -> list[str]:
        return [label.id for label in self.themes]

    def title(self, label_id: str) -> str:
        """The title of a finding or theme; the id itself when it is unknown."""
        for label in (*self.findings, *self.themes):
            if label.id == label_id:
                return label.title
        return label_id

    def as_dict(self) -> dict[str, Any]:
        """The taxonomy in the form of its file."""

        def rows(labels: tuple[Label, ...]) -> list[dict[str, str]]:
            return [{"id": x.id, "title": x.title, "definition": x.definition} for x in labels]

        return {"name": self.name, "findings": rows(self.findings), "themes": rows(self.themes)}


def from_dict(data: Mapping[str, Any], place: str = "taxonomy") -> Taxonomy:
    """Check a mapping of the file's form and make a `Taxonomy` of it; `place` is named in errors."""

    def labels(key: str) -> tuple[Label, ...]:
        rows = data.get(key) or []
        try:
            made = tuple(Label(str(r["id"]), str(r["title"]), str(r["definition"])) for r in rows)
        except (KeyError, TypeError) as error:
            raise FindingsError(f"{place}: every entry under '{key}' needs id, title and definition.") from error
        ids = [label.id for label in made]
        doubled = {i for i in ids if ids.count(i) > 1}
        if not made or doubled:
            what = f"lists {sorted(doubled)[0]!r} twice" if doubled else "is empty"
            raise FindingsError(f"{place}: '{key}' {what}. List each id once.")
        return made

    findings, themes = labels("findings"), labels("themes")
    if NONE not in [label.id for label in findings]:
        raise FindingsError(f"{place}: 'findings' has no '{NONE}'. Add it: most sentences of a page need it.")
    return Taxonomy(str(data.get("name", "")), findings, themes)


def load(name_or_path: str | Path = DEFAULT) -> Taxonomy:
    """Read a taxonomy that ships (by name) or a file (by path ending in .yaml).

    Raises:
        FindingsError: no such taxonomy, or its file is not of the right form.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(str(resources.files("findings.conf") / "taxonomy" / f"{name_or_path}.yaml"))
    if not path.is_file():
        raise FindingsError(f"{path}: no such taxonomy. Name one that ships ({DEFAULT}) or the path of a .yaml file.")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise FindingsError(f"{place}: not valid YAML ({str(error).splitlines()[0]}). Correct it there.") from error
    if not isinstance(data, dict):
        raise FindingsError(f"{path}: expected keys name, findings and themes.")
    return from_dict(data, str(path))
