"""What does the linear half of a fine-tuned model bring?

    python benchmarks/bigrams_gain.py [--model VERSION]

The torch weights of a version, with and without `findings.bigrams`, on the validation sentences of its run,
under their headings and without them. Its share and the calibration are fitted in five folds by document:
what is fitted on four is measured on the fifth. Differences are over the encoder alone, paired.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import runs
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.model_selection import GroupKFold

from findings import bigrams, calibration, evaluation, models, registry, taxonomy, tokens, tracking, transformer
from findings.calibration import Scores
from findings.evaluation import Interval
from findings.models import Examples, Predictions
from findings.taxonomy import Taxonomy

FOLDS = 5
METRICS = {
    "finding_macro_f1": "finding macro-F1",
    "finding_accuracy": "accuracy",
    "themes_micro_f1": "themes micro-F1",
    "finding_calibration_error": "calibration error",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="champion, latest, a version or a run id")
    parser.add_argument("--registered", default="findings", help="the name that the models are registered under")
    parser.add_argument("--again", action="store_true", help="measure anew what has been measured")
    given = parser.parse_args()
    runs.connect()
    version = registry.find(given.registered, given.model)
    code = runs.code(Path(bigrams.__file__), Path(transformer.__file__))
    known = {"model": version.run_id, "folds": FOLDS, "metrics": list(METRICS), "code": code}
    result = runs.measured("bigrams_gain", known, lambda _: _figures(version), given.again)
    print(f"validation sentences of run {version.run_id}, in {FOLDS} folds by document; run {result.run_id}\n")
    print("\n".join(_table(result.figures)))


def _figures(version: registry.Version) -> dict[str, float]:
    """Each metric by place and part with and without the linear half, and the difference; with intervals."""
    labels = taxonomy.load()
    rows = tracking.read_predictions(version.run_id, "validation")
    truth = models.examples(rows, labels)
    views = [truth.headings, [""] * len(rows)]
    deep, wide = _scores(version, truth.sentences, views, labels)
    tables: dict[tuple[str, str], pd.DataFrame] = {}
    nothing = [Scores(0 * half.findings, 0 * half.themes) for half in wide]
    for part, half in (("alone", nothing), ("both", wide)):
        for view, table in zip(("headings", "none"), _decided(rows, truth, deep, half, labels), strict=True):
            tables[part, view] = table
    figures: dict[str, float] = {}
    for place, kept in _places(rows).items():
        for view in ("headings", "none"):
            alone, both = (tables[part, view][kept].reset_index(drop=True) for part in ("alone", "both"))
            found = [evaluation.evaluate(table, labels).metrics for table in (alone, both)]
            compared = evaluation.compare(alone, both, labels)
            for metric in METRICS:
                values = {"alone": found[0][metric], "both": found[1][metric], "gain": compared.difference(metric)}
                for name, value in values.items():
                    key = f"{metric}/{place}/{view}/{name}"
                    figures |= {key: value.value, f"{key}/low": value.low, f"{key}/high": value.high}
    return figures


def _places(rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    authored = (rows["source"] == "authored").to_numpy()
    places = {"all": np.ones(len(rows), dtype=bool), "published reports": ~authored, "authored documents": authored}
    return {name: kept for name, kept in places.items() if kept.any() and (name == "all" or not kept.all())}


def _scores(
    version: registry.Version, sentences: list[str], views: list[list[str]], labels: Taxonomy
) -> tuple[list[Scores], list[Scores]]:
    """Of the encoder and of its linear half, for each view's headings."""
    fitted = Path(mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path="fitted"))
    classifier = transformer.TransformerClassifier(runs.settings(["model=minilm"])["model"], labels, seed=1)
    encoder, classifier.tokenizer = transformer.load_encoder(None)
    classifier.model = transformer.TwoHeads(encoder, len(labels.findings), len(labels.themes))
    classifier.model.load_state_dict(load_file(fitted / "model.safetensors"))
    half = classifier.model.bigrams
    half.shares.zero_()
    deep = [classifier.scores(sentences, headings) for headings in views]
    wide = [half.scores(tokens.encode(classifier.tokenizer, sentences, headings)) for headings in views]
    return deep, wide


def _decided(
    rows: pd.DataFrame, truth: Examples, deep: list[Scores], wide: list[Scores], labels: Taxonomy
) -> list[pd.DataFrame]:
    """The table of predictions of each view, each fold's from what was fitted on the others."""
    made = [
        Predictions(np.zeros(s.findings.shape), np.zeros(s.themes.shape), np.zeros(s.themes.shape, bool)) for s in deep
    ]
    for others, fold in GroupKFold(FOLDS).split(rows, groups=rows["document_id"]):
        share = _shares(truth, deep, wide, others)
        summed = [
            Scores(d.findings + share[0] * w.findings, d.themes + share[1] * w.themes)
            for d, w in zip(deep, wide, strict=True)
        ]
        fitted = calibration.fit(_part(summed[0], others), truth.findings[others], truth.themes[others])
        for into, scores in zip(made, summed, strict=True):
            part = _part(scores, fold)
            into.finding_probabilities[fold] = fitted.finding_probabilities(part)
            into.theme_probabilities[fold] = fitted.theme_probabilities(part)
            into.themes[fold] = calibration.decide_themes(into.theme_probabilities[fold], fitted.thresholds)
    return [evaluation.table(rows, predictions, labels) for predictions in made]


def _shares(truth: Examples, deep: list[Scores], wide: list[Scores], chosen: NDArray[np.int64]) -> tuple[float, float]:
    """As training fits them: on each sentence under its heading and without."""

    def stacked(views: list[Scores]) -> Scores:
        return Scores(*(np.concatenate([getattr(s, name)[chosen] for s in views]) for name in ("findings", "themes")))

    twice = Examples([], [], np.tile(truth.findings[chosen], 2), np.tile(truth.themes[chosen], (2, 1)))
    return bigrams.shares(stacked(deep), stacked(wide), twice)


def _part(scores: Scores, rows: NDArray[np.int64]) -> Scores:
    return Scores(scores.findings[rows], scores.themes[rows])


def _table(figures: dict[str, float]) -> list[str]:
    lines = ["| sentences | headings | | " + " | ".join(METRICS.values()) + " |", "|---" * (3 + len(METRICS)) + "|"]
    for place in ("all", "published reports", "authored documents"):
        for view, title in (("headings", "with"), ("none", "without")):
            if f"finding_macro_f1/{place}/{view}/gain" not in figures:
                continue
            for part, name in (("alone", "encoder alone"), ("both", "with its linear half"), ("gain", "difference")):
                values = [
                    Interval(*(figures[f"{metric}/{place}/{view}/{part}{end}"] for end in ("", "/low", "/high")))
                    for metric in METRICS
                ]
                cells = [runs.signed(value) if part == "gain" else str(value) for value in values]
                lines.append(f"| {place} | {title} | {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    runs.run(main)
