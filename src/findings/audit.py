"""Labels that are likely wrong: what models that never saw a sentence's authority say against its label.

Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in
Dataset Labels"), as cleanlab does it: out-of-fold probabilities are compared with each label's own
average, so that a label that models find hard is not suspected for that alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from findings import dataset, models
from findings.annotations import InvalidCorpusError, Violation, inert, write_table
from findings.calibration import Array
from findings.errors import FindingsError
from findings.files import make_folder
from findings.models import Examples, Predictions
from findings.taxonomy import Taxonomy

COLUMNS = (
    "rank", "sentence_id", "label", "given", "given_probability", "suggested", "suggested_probability",
    "reason", "authority", "heading", "sentence", "finding", "themes", "place",
)  # fmt: skip
FOLDS = 5


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong.

    Attributes:
        row: position in the rows that were audited.
        label: `finding`, or the theme that is there or missing.
        given, suggested: a finding, or `given` and `not given` of a theme.
        given_probability, suggested_probability: out of fold, calibrated.
    """

    row: int
    label: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float

    @property
    def reason(self) -> str:
        """Why it is suspected, in words."""
        by = "Models trained on other authorities"
        sure = f"{self.suggested_probability:.0%} against {self.given_probability:.0%}"
        if self.label == "finding":
            return f"{by} take it for {self.suggested}, not {self.given} ({sure})."
        if self.given == "given":
            return f"{by} do not see the theme {self.label} in it ({sure})."
        return f"{by} miss the theme {self.label} ({sure})."


def read_rows(path: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    """Labelled sentences of a corpus folder, or of a .jsonl file with authority (or local_authority),
    sentence, finding, themes, and perhaps sentence_id (or id) and heading.

    Returns:
        sentence_id, document_id, authority, heading, sentence, finding, themes, place.

    Raises:
        FindingsError: the file cannot be read or lacks a column; each with its line.
        InvalidCorpusError: a label that the taxonomy does not have.
    """
    if path.is_dir():
        return dataset.labelled(path, taxonomy)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a sentence may hold what splitlines() takes for an end
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise FindingsError(f"{path}: {reason}. Give a corpus folder or a .jsonl file.") from error
    rows: list[dict[str, Any]] = []
    problems: list[Violation] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = _row(line, f"{path}:{number}", taxonomy)
            problems.append(row) if isinstance(row, Violation) else rows.append(row)
    if problems:
        raise InvalidCorpusError(problems, rest="")
    if not rows:
        raise FindingsError(f"{path}: no sentence in it. Give a corpus folder or a .jsonl file of labelled sentences.")
    return pd.DataFrame(rows)


def _row(line: str, place: str, taxonomy: Taxonomy) -> dict[str, Any] | Violation:
    try:
        data = json.loads(line)
        row = {
            "sentence_id": str(data.get("sentence_id") or data.get("id") or place),
            "authority": str(data.get("authority") or data["local_authority"]),
            "heading": str(data.get("heading") or ""),
            "sentence": str(data["sentence"]),
            "finding": str(data["finding"]),
            "themes": [str(theme) for theme in data["themes"]],
            "place": place,
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Violation(place, f"not a labelled sentence ({type(error).__name__}: {error}). Mend or remove the line.")
    strange = [x for x in (row["finding"],) if x not in taxonomy.finding_ids]
    strange += [x for x in row["themes"] if x not in taxonomy.theme_ids]
    if strange:
        return Violation(place, f"unknown label '{strange[0]}'. Use those of the taxonomy '{taxonomy.name}'.")
    return row


def out_of_fold(
    rows: pd.DataFrame, settings: Mapping[str, Any], taxonomy: Taxonomy, folds: int = FOLDS, seed: int = 0
) -> Predictions:
    """Predictions for every row by a model that saw no sentence of its authority.

    Of the other authorities one fold calibrates and the rest train.

    Raises:
        FindingsError: fewer authorities than folds, or a label that a fold cannot learn.
    """
    authorities = rows["authority"].str.casefold().to_numpy()
    known = len(set(authorities))
    if known < folds or folds < 3:
        raise FindingsError(f"{known} authorities in {folds} folds: give 3 folds or more, and as many authorities.")
    parts = list(GroupKFold(folds, shuffle=True, random_state=seed).split(rows, groups=authorities))
    fold = np.empty(len(rows), dtype=np.int64)
    for number, (_, held) in enumerate(parts):
        fold[held] = number
    examples = models.examples(rows, taxonomy)
    findings = np.zeros((len(rows), len(taxonomy.findings)))
    themes = np.zeros((len(rows), len(taxonomy.themes)))
    given = np.zeros(themes.shape, dtype=bool)
    for number in range(folds):
        held, calibrating = fold == number, fold == (number + 1) % folds
        training = ~held & ~calibrating
        model = models.train(settings, take(examples, training), take(examples, calibrating), taxonomy, seed)
        unseen = take(examples, held)
        found = model.predict(unseen.sentences, unseen.headings)
        findings[held], themes[held], given[held] = found.finding_probabilities, found.theme_probabilities, found.themes
    return Predictions(findings, themes, given)


def take(examples: Examples, chosen: NDArray[np.bool_]) -> Examples:
    """The examples that a mask (n,) chooses."""
    rows = np.flatnonzero(chosen)
    return Examples(
        [examples.sentences[i] for i in rows],
        [examples.headings[i] for i in rows],
        examples.findings[rows],
        examples.themes[rows],
    )


def suspects(rows: pd.DataFrame, predictions: Predictions, taxonomy: Taxonomy) -> list[Suspect]:
    """Labels that are likely wrong: findings, then themes, in each the likeliest first, by how much
    the suggestion's probability exceeds that of the label given."""
    examples = models.examples(rows, taxonomy)
    findings = _finding_suspects(examples.findings, predictions.finding_probabilities, taxonomy)
    themes = _theme_suspects(examples.themes, predictions.theme_probabilities, taxonomy)
    return [s for part in (findings, themes) for s in sorted(part, key=_margin)]


def _margin(suspect: Suspect) -> float:
    return suspect.given_probability - suspect.suggested_probability


def _finding_suspects(labels: NDArray[np.int64], probabilities: Array, taxonomy: Taxonomy) -> Iterator[Suspect]:
    ids = taxonomy.finding_ids
    for row in _issues(labels, probabilities):
        own, best = int(labels[row]), int(probabilities[row].argmax())
        if best != own:
            pair = float(probabilities[row, own]), float(probabilities[row, best])
            yield Suspect(int(row), "finding", ids[own], ids[best], *pair)


def _theme_suspects(labels: NDArray[np.bool_], probabilities: Array, taxonomy: Taxonomy) -> Iterator[Suspect]:
    """Each theme on its own, given or not: a sentence may have several."""
    for theme, (given, probability) in enumerate(zip(labels.T, probabilities.T, strict=True)):
        for row in _issues(given.astype(np.int64), np.column_stack([1 - probability, probability])):
            own = float(probability[row] if given[row] else 1 - probability[row])
            if own < 0.5:
                words = ("given", "not given") if given[row] else ("not given", "given")
                yield Suspect(int(row), taxonomy.theme_ids[theme], *words, own, 1 - own)


def _issues(labels: NDArray[np.int64], probabilities: Array) -> NDArray[np.int64]:
    """Rows whose label (n,) is likely wrong, by probabilities (n, labels)."""
    # One job: cleanlab would start processes, which cost more than the sums they do here.
    return np.flatnonzero(find_label_issues(labels, probabilities, filter_by="both", n_jobs=1))


def write(path: Path, found: list[Suspect], rows: pd.DataFrame) -> None:
    """Write suspects with their sentences as CSV, for a person to judge.

    Raises:
        FindingsError: the file cannot be written.
    """
    lines = []
    for rank, s in enumerate(found, 1):
        row = rows.iloc[s.row]
        lines.append(
            (
                *(rank, row["sentence_id"], s.label, s.given, round(s.given_probability, 3)),
                *(s.suggested, round(s.suggested_probability, 3), s.reason),
                *(inert(row["authority"]), inert(row["heading"]), inert(row["sentence"])),
                *(row["finding"], " ".join(row["themes"]), row["place"]),
            )
        )
    make_folder(path.parent)
    write_table(path, COLUMNS, lines)
