"""What do calibration and the threshold of the themes bring?

    python benchmarks/calibration_gain.py [--model VERSION]

The scores of a version on the validation sentences of its run, calibrated and decided in five folds by
document: what is fitted on four is measured on the fifth, so that nothing is measured on what it was fitted
on. Differences are over what is done, calibration and a threshold a theme, pulled to a common one; paired.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import runs
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from findings import calibration, evaluation, models, registry, tracking
from findings.calibration import Calibration, Scores
from findings.evaluation import Interval
from findings.models import Examples, Model, Predictions

FOLDS = 5
PULLS = (0, 20, 1_000_000)
AS_THEY_COME = Calibration(1.0, 1.0, 0.0, ())
METRICS = {
    "finding_calibration_error": "calibration error",
    "themes_micro_f1": "themes micro-F1",
    "themes_macro_f1": "themes macro-F1",
}

Fit = Callable[[Scores, Examples], Calibration]


def _fitted(scores: Scores, truth: Examples, pull: int = calibration.SHRINK) -> Calibration:
    return calibration.fit(scores, truth.findings, truth.themes, pull)


def _at_half(scores: Scores, truth: Examples) -> Calibration:
    return replace(_fitted(scores, truth), thresholds=(0.5,) * truth.themes.shape[1])


def _as_they_come(scores: Scores, truth: Examples) -> Calibration:
    return replace(AS_THEY_COME, thresholds=(0.5,) * truth.themes.shape[1])


WAYS: dict[str, Fit] = {
    f"calibrated, a threshold a theme, pulled by {calibration.SHRINK} sentences": _fitted,
    **{f"pulled by {pull:,}": partial(_fitted, pull=pull) for pull in PULLS},
    "calibrated, themes at 0.5": _at_half,
    "as they come, themes at 0.5": _as_they_come,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="champion, latest, a version or a run id")
    parser.add_argument("--registered", default="findings", help="the name that the models are registered under")
    parser.add_argument("--again", action="store_true", help="measure anew what has been measured")
    given = parser.parse_args()
    runs.connect()
    version = registry.find(given.registered, given.model)
    known = {"model": version.run_id, "folds": FOLDS, "ways": list(WAYS)}
    result = runs.measured("calibration_gain", known, lambda _: _figures(version), given.again)
    print(f"validation sentences of run {version.run_id}, in {FOLDS} folds by document; run {result.run_id}\n")
    print("\n".join(_table(result.figures)))


def _figures(version: registry.Version) -> dict[str, float]:
    """Each metric of each way with its interval, and the difference to the first way with its own."""
    model = registry.load(version)
    rows = tracking.read_predictions(version.run_id, "validation")
    scores = model.classifier.scores(rows["sentence"].tolist(), [models.bare_heading(h) for h in rows["heading"]])
    tables = [_decided(model, rows, scores, way) for way in WAYS.values()]
    figures: dict[str, float] = {}
    for number, table in enumerate(tables):
        found = evaluation.evaluate(table, model.taxonomy)
        compared = evaluation.compare(tables[0], table, model.taxonomy)
        for metric in METRICS:
            for what, value in (("", found.metrics[metric]), ("gain/", compared.difference(metric))):
                parts = {"": value.value, "_low": value.low, "_high": value.high}
                figures |= {f"{what}{metric}{part}/{number}": x for part, x in parts.items()}
    return figures


def _decided(model: Model, rows: pd.DataFrame, scores: Scores, way: Fit) -> pd.DataFrame:
    """The table of predictions, each fold's from what was fitted on the others."""
    findings, themes = np.zeros(scores.findings.shape), np.zeros(scores.themes.shape)
    decided: NDArray[np.bool_] = np.zeros(scores.themes.shape, dtype=bool)
    for others, fold in GroupKFold(FOLDS).split(rows, groups=rows["document_id"]):
        fitted = way(_part(scores, others), models.examples(rows.iloc[others], model.taxonomy))
        part = _part(scores, fold)
        findings[fold] = fitted.finding_probabilities(part)
        themes[fold] = fitted.theme_probabilities(part)
        decided[fold] = calibration.decide_themes(themes[fold], fitted.thresholds)
    return evaluation.table(rows, Predictions(findings, themes, decided), model.taxonomy)


def _part(scores: Scores, rows: Sequence[int]) -> Scores:
    return Scores(scores.findings[rows], scores.themes[rows])


def _table(figures: dict[str, float]) -> list[str]:
    lines = ["| | " + " | ".join(f"{title} | difference" for title in METRICS.values()) + " |"]
    lines.append("|---" * (1 + 2 * len(METRICS)) + "|")
    for number, title in enumerate(WAYS):
        cells = []
        for metric in METRICS:
            own, gain = (
                Interval(*(figures[f"{what}{metric}{part}/{number}"] for part in ("", "_low", "_high")))
                for what in ("", "gain/")
            )
            cells += [str(own), runs.signed(gain) if number else ""]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    runs.run(main)
