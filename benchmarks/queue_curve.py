"""Do N labels picked by `findings annotate queue` teach more than N picked at random?

    python benchmarks/queue_curve.py sentences.jsonl --out FOLDER

The file holds annotated sentences (authority or local_authority, sentence, heading, finding, themes).
Each repetition sets authorities aside for measuring and others for calibration, which no rule may
pick from; starts from a few random labels of the rest; and lets each rule add labels step by step,
the baseline trained anew each time. Written are curve.png, curve.csv (every point) and table.md
(means over repetitions, and the gain over random picks with a 95 % t-interval over repetitions),
logged to an MLflow run as well. The sentences themselves are not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from scipy.stats import t
from sklearn.metrics import f1_score

from findings import audit, config, models, selection, taxonomy, tracking
from findings.calibration import Array
from findings.models import Model, Predictions

LABELS = taxonomy.load()
SIZES = (200, 400, 600, 800, 1000)
METRICS = {"finding_macro_f1": "finding macro-F1", "themes_micro_f1": "themes micro-F1"}
MEASURED, CALIBRATED, CALIBRATION = 25, 15, 200
"""Authorities set aside for measuring and for calibration, and how many sentences of the latter are used."""

Rule = Callable[[Predictions, list[str], int, np.random.Generator], list[int]]


def at_random(predictions: Predictions, texts: list[str], count: int, rng: np.random.Generator) -> list[int]:
    return list(rng.choice(len(texts), count, replace=False))


def most_uncertain(score: Callable[[Predictions], Array]) -> Rule:
    return lambda predictions, texts, count, rng: list(np.argsort(-score(predictions), kind="stable")[:count])


def spread(score: Callable[[Predictions], Array]) -> Rule:
    return lambda predictions, texts, count, rng: selection.choose(texts, score(predictions), count)


RULES: dict[str, Rule] = {
    "random": at_random,
    "finding": most_uncertain(selection.finding_uncertainty),
    "both": most_uncertain(selection.uncertainty),
    "queue": spread(selection.uncertainty),
}
"""What picks: `queue` is the rule of `findings annotate queue`."""

FIRST_SEED = 100
"""The rule and the themes' weight in it were chosen on seeds 0 to 9, so the figures come from others."""


def repetition(rows: pd.DataFrame, settings: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """The curves of all rules for one split of the authorities."""
    rng = np.random.default_rng(seed)
    authorities = rng.permutation(sorted(rows["authority"].unique()))
    measured = rows[rows["authority"].isin(authorities[:MEASURED])]
    aside = rows[rows["authority"].isin(authorities[MEASURED : MEASURED + CALIBRATED])].sample(
        CALIBRATION, random_state=seed
    )
    pool = rows[rows["authority"].isin(authorities[MEASURED + CALIBRATED :])].reset_index(drop=True)
    start = rng.choice(len(pool), SIZES[0], replace=False)

    def train(chosen: Any) -> Model:
        examples = (models.examples(part, LABELS) for part in (pool.iloc[chosen], aside))
        return models.train(settings, *examples, LABELS, seed)

    first = train(start)
    points = []
    for name, rule in RULES.items():
        model, chosen = first, list(start)
        for size, target in zip(SIZES, (*SIZES[1:], None), strict=True):
            points.append({"seed": seed, "rule": name, "labels": size, **figures(model, measured)})
            if target is None:
                break
            rest = np.setdiff1d(np.arange(len(pool)), chosen)
            texts, headings = (pool[column].iloc[rest].tolist() for column in ("sentence", "heading"))
            picked = rule(model.predict(texts, headings), texts, target - size, np.random.default_rng(seed + size))
            chosen.extend(int(rest[i]) for i in picked)
            model = train(chosen)
    return points


def figures(model: Model, rows: pd.DataFrame) -> dict[str, float]:
    truth, found = models.examples(rows, LABELS), model.predict(rows["sentence"].tolist(), rows["heading"].tolist())
    return {
        "finding_macro_f1": float(f1_score(truth.findings, found.findings, average="macro")),
        "themes_micro_f1": float(f1_score(truth.themes, found.themes, average="micro")),
    }


def gains(points: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean a rule and size, and the gain over random in the same repetition with its t-interval."""
    wide = points.pivot_table(index="seed", columns=["rule", "labels"], values=metric)
    rows = []
    for rule in RULES:
        for size in SIZES:
            difference = wide[rule, size] - wide["random", size]
            half = t.ppf(0.975, len(difference) - 1) * difference.sem()
            mean = difference.mean()
            rows.append((rule, size, wide[rule, size].mean(), mean, mean - half, mean + half))
    return pd.DataFrame(rows, columns=["rule", "labels", "mean", "gain", "low", "high"])


def table(points: pd.DataFrame) -> str:
    parts = []
    for metric, title in METRICS.items():
        told = gains(points, metric)
        parts.append(f"**{title}**: mean, and gain over random with its 95 % interval\n")
        parts.append("| labels | " + " | ".join(RULES) + " |\n|---|" + "---|" * len(RULES))
        for size in SIZES:
            cells = []
            for row in told[told["labels"] == size].itertuples():
                plain = row.rule == "random" or size == SIZES[0]
                cells.append(
                    f"{row.mean:.3f}" + ("" if plain else f" ({row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}])")
                )
            parts.append(f"| {size} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def plot(points: pd.DataFrame, repetitions: int) -> Figure:
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
        told = gains(points, metric)
        for rule in RULES:
            line = told[told["rule"] == rule]
            width = 2.4 if rule in ("random", "queue") else 1
            axes.plot(line["labels"], line["mean"], marker="o", linewidth=width, label=rule)
        axes.set(xlabel="labelled sentences", ylabel=title)
        axes.grid(alpha=0.3)
    axes.legend()
    figure.suptitle(f"Labels picked by rule, mean of {repetitions} repetitions on held-out authorities")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="annotated sentences, .jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for curve.png, curve.csv and table.md")
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    rows = audit.read_rows(options.file, LABELS)
    settings: Any = OmegaConf.to_container(config.load().model)
    with ProcessPoolExecutor(options.jobs) as pool:
        found = pool.map(partial(repetition, rows, settings), range(FIRST_SEED, FIRST_SEED + options.repetitions))
        points = pd.DataFrame([point for part in found for point in part])
    options.out.mkdir(parents=True, exist_ok=True)
    points.to_csv(options.out / "curve.csv", index=False)
    (options.out / "table.md").write_text(table(points), encoding="utf-8")
    plot(points, options.repetitions).savefig(options.out / "curve.png", dpi=150)
    print(table(points))
    tracking.connect({"uri": None, "experiment": "queue"})
    with mlflow.start_run(run_name="queue against random"):
        mlflow.log_params({"repetitions": options.repetitions, "sentences": len(rows), **settings})
        for metric in METRICS:
            for row in gains(points, metric).itertuples():
                mlflow.log_metric(f"{metric}/{row.rule.replace(', ', '_')}", row.mean, step=row.labels)
        mlflow.log_artifacts(str(options.out))


if __name__ == "__main__":
    main()
