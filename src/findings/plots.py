"""The plots of a run, as matplotlib figures (no display needed)."""

from __future__ import annotations

import io

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from findings.evaluation import Evaluation
from findings.taxonomy import Taxonomy


def confusion(evaluation: Evaluation, taxonomy: Taxonomy, title: str) -> Figure:
    """Truth by row, prediction by column; shade is the share of the row."""
    counts = evaluation.confusion
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    names = [label.title for label in taxonomy.findings]
    figure = Figure(figsize=(5.6, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    for i in range(len(names)):
        for j in range(len(names)):
            colour = "white" if shares[i, j] > 0.55 else "black"
            axes.text(j, i, f"{counts[i, j]}\n{shares[i, j]:.0%}", ha="center", va="center", color=colour, fontsize=9)
    axes.set(xlabel="predicted", ylabel="annotated", title=title)
    return figure


def reliability(evaluation: Evaluation, title: str) -> Figure:
    """Accuracy against confidence of the finding; the diagonal is perfect calibration."""
    bins = evaluation.reliability
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    sizes = 30 + 400 * bins["sentences"] / max(1, bins["sentences"].sum())
    axes.plot(bins["confidence"], bins["accuracy"], color="tab:blue")
    axes.scatter(bins["confidence"], bins["accuracy"], s=sizes, color="tab:blue", alpha=0.7)
    error = evaluation.metrics["finding_calibration_error"]
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=f"{title}\ncalibration error {error}"
    )
    return figure


def themes(evaluation: Evaluation, taxonomy: Taxonomy, title: str) -> Figure:
    """F1 of each theme with its interval, and its support."""
    per_theme = evaluation.per_theme
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    order = list(reversed(range(len(per_theme))))
    values = per_theme["f1"].to_numpy()
    errors = [
        (values - per_theme["f1_low"].to_numpy()).clip(min=0)[order],
        (per_theme["f1_high"].to_numpy() - values).clip(min=0)[order],
    ]
    names = [f"{taxonomy.title(str(label))} ({support})" for label, support in per_theme["support"].items()]
    axes.barh([names[i] for i in order], values[order], xerr=errors, color="tab:blue", alpha=0.75)
    axes.set(xlim=(0, 1), xlabel="F1", title=title)
    return figure


def differences(frame: pd.DataFrame, title: str) -> Figure:
    """Candidate minus base with its interval, the first row at the top.

    Args:
        frame: one row a difference with `name`, `difference`, `low`, `high` and `verdict`, which is
            `gain`, `loss` or anything else.
    """
    figure = Figure(figsize=(7.2, 1.3 + 0.27 * len(frame)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="grey", linewidth=1)
    rows = list(reversed(frame.to_dict("records")))
    for y, row in enumerate(rows):
        colour, mark = VERDICTS.get(str(row["verdict"]), ("#545c63", "o"))
        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2)
        axes.plot([row["difference"]], [y], color=colour, marker=mark, markersize=7)
    axes.set_yticks(range(len(rows)), [str(row["name"]) for row in rows])
    axes.set(xlabel="candidate minus base (bars: 95 % interval)", title=title, ylim=(-0.6, len(rows) - 0.4))
    axes.grid(axis="x", color="#e3e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure


VERDICTS = {"gain": ("#14683f", "^"), "loss": ("#a1242b", "v")}
"""Colour and marker of a difference that its interval supports."""


def svg(figure: Figure) -> bytes:
    """The figure as SVG, its letters as outlines, the same bytes for the same figure."""
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "findings", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
