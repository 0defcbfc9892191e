"""How good labels are: metrics with intervals, slices, calibration, mistakes, and two models compared.

Everything works on a table of predictions (`table`), one row a sentence, truth beside prediction,
which is also what a run stores: every figure can be worked out again from it.

Intervals are percentile intervals of a bootstrap over documents (Efron & Tibshirani 1993), because
sentences of one document are not independent. A bootstrap sample is a weight a document, so all
samples are worked out at once from counts a document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from findings.calibration import Array, Scores
from findings.errors import FindingsError
from findings.models import Examples, Predictions, theme_lists
from findings.taxonomy import Taxonomy

SAMPLES = 2000
LEVEL = 0.95
BINS = 10
HEADLINE = ("finding_macro_f1", "themes_micro_f1", "themes_macro_f1")
DESCRIPTION = (
    "sentence_id", "document_id", "kind", "authority", "published", "page", "heading", "list_item", "sentence",
    "source",
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model on one split.

    Attributes:
        metrics: by name; those of `HEADLINE` first.
        per_finding, per_theme: precision, recall, F1, support a label.
        slices: one row a slice and value with its size and metrics.
        confusion: (findings, findings) counts, truth by row.
        reliability: mean confidence and accuracy by bin of confidence.
        mistakes: the wrong findings of highest confidence.
    """

    sentences: int
    documents: int
    metrics: dict[str, Interval]
    per_finding: pd.DataFrame
    per_theme: pd.DataFrame
    slices: pd.DataFrame
    confusion: NDArray[np.int64]
    reliability: pd.DataFrame
    mistakes: pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """Candidate minus base on the same sentences.

    Attributes:
        metrics: one row a metric: base, candidate, difference, low, high.
        slices: the differences of the headline metrics a slice.
        only_base, only_candidate: sentences whose finding only that one has right.
        mcnemar: exact two-sided p-value of McNemar's test on these two counts.
        labels: the differences of F1 for each finding and theme that occurs, with its support.
        changed: the sentences whose finding only one has right, with both answers, the wrong answer
            of highest confidence first.
    """

    sentences: int
    documents: int
    metrics: pd.DataFrame
    slices: pd.DataFrame
    only_base: int
    only_candidate: int
    mcnemar: float
    labels: pd.DataFrame = field(default_factory=pd.DataFrame)
    changed: pd.DataFrame = field(default_factory=pd.DataFrame)

    def difference(self, metric: str) -> Interval:
        return Interval(*(float(self.metrics[column][metric]) for column in ("difference", "low", "high")))


def table(rows: pd.DataFrame, predictions: Predictions, taxonomy: Taxonomy) -> pd.DataFrame:
    """Rows of a dataset and the predictions for them → the table that everything here works on."""
    frame = rows[[column for column in DESCRIPTION if column in rows]].reset_index(drop=True).copy()
    frame["finding"] = rows["finding"].to_numpy()
    frame["themes"] = [list(themes) for themes in rows["themes"]]
    frame["predicted_finding"] = np.array(taxonomy.finding_ids)[predictions.findings]
    frame["confidence"] = predictions.finding_probabilities.max(axis=1)
    frame["predicted_themes"] = theme_lists(predictions, taxonomy)
    for i, finding in enumerate(taxonomy.finding_ids):
        frame[f"p_{finding}"] = predictions.finding_probabilities[:, i]
    for i, theme in enumerate(taxonomy.theme_ids):
        frame[f"t_{theme}"] = predictions.theme_probabilities[:, i]
    return frame


# Counts a document, and metrics from weighted sums of them ---------------------------------------


@dataclass(frozen=True)
class _Counts:
    """Counts a document: confusion (d, f, f); themes (d, t, 3) true, given, both; primary (d, 2)
    right, asked; bins (d, b, 3) number, right, sum of confidence."""

    confusion: Array
    themes: Array
    primary: Array
    bins: Array

    def weighted(self, weights: Array) -> _Counts:
        """Sums over documents, one a row of `weights` (samples, d)."""
        return _Counts(
            *(
                np.einsum("sd,d...->s...", weights, part)
                for part in (self.confusion, self.themes, self.primary, self.bins)
            )
        )


def _counts(frame: pd.DataFrame, taxonomy: Taxonomy) -> _Counts:
    documents, document = np.unique(frame["document_id"].to_numpy(dtype=str), return_inverse=True)
    d, f, t = len(documents), len(taxonomy.findings), len(taxonomy.themes)
    finding = {name: i for i, name in enumerate(taxonomy.finding_ids)}
    truth = frame["finding"].map(finding).to_numpy()
    given = frame["predicted_finding"].map(finding).to_numpy()
    confusion = np.zeros((d, f, f))
    np.add.at(confusion, (document, truth, given), 1)
    true_themes, given_themes = _indicator(frame["themes"], taxonomy), _indicator(frame["predicted_themes"], taxonomy)
    themes = np.zeros((d, t, 3))
    np.add.at(themes, document, np.stack([true_themes, given_themes, true_themes & given_themes], axis=2).astype(float))
    best = np.array(taxonomy.theme_ids)[frame[[f"t_{i}" for i in taxonomy.theme_ids]].to_numpy().argmax(axis=1)]
    asked = np.array([len(row) > 0 for row in frame["themes"]])
    right = np.array([len(row) > 0 and row[0] == b for row, b in zip(frame["themes"], best, strict=True)])
    primary = np.zeros((d, 2))
    np.add.at(primary, document, np.stack([right, asked], axis=1).astype(float))
    confidence = frame["confidence"].to_numpy(dtype=float)
    bins = np.zeros((d, BINS, 3))
    which = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    np.add.at(bins, (document, which), np.stack([np.ones_like(confidence), truth == given, confidence], axis=1))
    return _Counts(confusion, themes, primary, bins)


def _indicator(lists: pd.Series, taxonomy: Taxonomy) -> NDArray[np.bool_]:
    rows = [[theme in row for theme in taxonomy.theme_ids] for row in lists]
    return np.array(rows, dtype=bool).reshape(len(rows), len(taxonomy.themes))


def _ratio(over: Array, under: Array, empty: float = np.nan) -> Array:
    return np.where(under > 0, over / np.where(under > 0, under, 1), empty)


def _finding_f1(counts: _Counts) -> Array:
    both = np.einsum("sff->sf", counts.confusion)
    return _ratio(2 * both, counts.confusion.sum(axis=1) + counts.confusion.sum(axis=2))


def _theme_f1(counts: _Counts) -> Array:
    return _ratio(2 * counts.themes[..., 2], counts.themes[..., 0] + counts.themes[..., 1])


def _mean(values: Array) -> Array:
    """Mean over labels that occur, in truth or prediction; 0 where none does."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1), 0.0)


def _ece(counts: _Counts) -> Array:
    number, right, confidence = np.moveaxis(counts.bins, 2, 0)
    return _ratio(np.abs(right - confidence).sum(axis=1), number.sum(axis=1), 0.0)


METRICS: dict[str, Callable[[_Counts], Array]] = {
    "finding_macro_f1": lambda c: _mean(_finding_f1(c)),
    "themes_micro_f1": lambda c: _ratio(
        2 * c.themes[..., 2].sum(axis=1), c.themes[..., 0].sum(axis=1) + c.themes[..., 1].sum(axis=1), 0.0
    ),
    "themes_macro_f1": lambda c: _mean(_theme_f1(c)),
    "finding_accuracy": lambda c: _ratio(np.einsum("sff->s", c.confusion), c.confusion.sum(axis=(1, 2)), 0.0),
    "primary_theme_accuracy": lambda c: _ratio(c.primary[:, 0], c.primary[:, 1], 0.0),
    "finding_calibration_error": _ece,
}
"""Every metric, from weighted counts (samples, ...) to values (samples,). Calibration error is the
expected calibration error over ten equal bins of confidence (Naeini et al. 2015)."""


def bootstrap_weights(documents: int, seed: int) -> Array:
    """(samples, documents): how often each document was drawn; the first row is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(documents, np.full(documents, 1 / documents), size=SAMPLES)
    return np.concatenate([np.ones((1, documents)), drawn.astype(float)])


def interval(values: Array) -> Interval:
    """The figure of the sample itself, `values[0]`, with the percentile interval of the others."""
    edge = (1 - LEVEL) / 2
    low, high = np.nanquantile(values[1:], [edge, 1 - edge])
    return Interval(float(values[0]), float(low), float(high))


def macro_f1(truth: NDArray[np.int64], given: NDArray[np.int64], labels: int) -> float:
    """Mean F1 over the labels (0 to `labels` - 1) that occur in truth or prediction."""
    pairs = np.bincount(truth * labels + given, minlength=labels * labels)
    confusion = pairs.reshape(1, labels, labels).astype(float)
    both = np.einsum("sff->sf", confusion)
    return float(_mean(_ratio(2 * both, confusion.sum(axis=1) + confusion.sum(axis=2)))[0])


def micro_f1(truth: NDArray[np.bool_], given: NDArray[np.bool_]) -> float:
    """F1 over all labels together; both (n, labels). 0 where there is none."""
    total = float(truth.sum() + given.sum())
    return 2 * float((truth & given).sum()) / total if total else 0.0


FIGURES = ("finding_macro_f1", "themes_micro_f1")
"""What `figures` works out."""


def figures(scores: Scores, truth: Examples) -> dict[str, float]:
    """Figures of uncalibrated scores, themes at even odds: what early stopping and a search go by."""
    found = scores.findings.argmax(axis=1)
    values = (
        macro_f1(truth.findings, found, scores.findings.shape[1]),
        micro_f1(truth.themes, scores.themes >= 0),
    )
    return dict(zip(FIGURES, values, strict=True))


# One model ---------------------------------------------------------------------------------------


def evaluate(frame: pd.DataFrame, taxonomy: Taxonomy, seed: int = 0) -> Evaluation:
    """Work out everything that is reported of one split; `frame` is a `table`.

    Raises:
        FindingsError: there is nothing to measure on.
    """
    if frame.empty:
        raise FindingsError("nothing to measure on: the split is empty. Check the dataset with `findings data check`.")
    counts = _counts(frame, taxonomy)
    weighted = counts.weighted(bootstrap_weights(len(counts.confusion), seed))
    intervals = {name: interval(metric(weighted)) for name, metric in METRICS.items()}
    whole = counts.weighted(np.ones((1, len(counts.confusion))))
    wrong = frame[frame["finding"] != frame["predicted_finding"]]
    return Evaluation(
        len(frame),
        len(counts.confusion),
        intervals,
        _per_label(
            taxonomy.finding_ids,
            np.einsum("ff->f", whole.confusion[0]),
            whole.confusion[0].sum(axis=0),
            whole.confusion[0].sum(axis=1),
            _finding_f1(weighted),
        ),
        _per_label(
            taxonomy.theme_ids,
            whole.themes[0, :, 2],
            whole.themes[0, :, 1],
            whole.themes[0, :, 0],
            _theme_f1(weighted),
        ),
        _slices(frame, taxonomy),
        whole.confusion[0].astype(np.int64),
        _reliability(whole.bins[0]),
        wrong.sort_values("confidence", ascending=False).head(50)[
            [
                *(c for c in ("sentence_id", "kind", "heading", "sentence") if c in wrong),
                "finding",
                "predicted_finding",
                "confidence",
            ]
        ],
    )


def _per_label(labels: list[str], both: Array, given: Array, true: Array, f1: Array) -> pd.DataFrame:
    intervals = [interval(f1[:, i]) if true[i] + given[i] else Interval(0.0, 0.0, 0.0) for i in range(len(labels))]
    return pd.DataFrame(
        {
            "precision": _ratio(both, given, 0.0),
            "recall": _ratio(both, true, 0.0),
            "f1": [i.value for i in intervals],
            "f1_low": [i.low for i in intervals],
            "f1_high": [i.high for i in intervals],
            "support": true.astype(int),
        },
        index=pd.Index(labels, name="label"),
    )


def _reliability(bins: Array) -> pd.DataFrame:
    number, right, confidence = bins.T
    frame = pd.DataFrame(
        {"sentences": number.astype(int), "confidence": _ratio(confidence, number), "accuracy": _ratio(right, number)}
    )
    return frame[frame["sentences"] > 0].reset_index(drop=True)


# Slices ------------------------------------------------------------------------------------------


def by_kind(frame: pd.DataFrame) -> pd.Series:
    """The document's kind."""
    return frame["kind"]


def by_era(frame: pd.DataFrame) -> pd.Series:
    """The framework in force when the document was published: an approximation by date, since the
    rows of a dataset hold no more (the changes were in August 2018, January 2023 and April 2026)."""
    date = frame["published"].fillna("")
    eras = np.select(
        [date == "", date < "2018-08", date < "2023-01", date < "2026-04"],
        ["unknown", "to July 2018", "2018 to 2022", "2023 to March 2026"],
        "from April 2026",
    )
    return pd.Series(eras, index=frame.index)


def by_form(frame: pd.DataFrame) -> pd.Series:
    """List item or prose."""
    return frame["list_item"].map({True: "list item", False: "prose"})


def by_heading(frame: pd.DataFrame) -> pd.Series:
    """Whether the heading is known."""
    return frame["heading"].fillna("").str.strip().ne("").map({True: "known", False: "not known"})


SLICES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "kind": ("kind", by_kind),
    "era": ("published", by_era),
    "form": ("list_item", by_form),
    "heading": ("heading", by_heading),
}
"""The slices by name: the column each needs and its function."""


def _slice_groups(frame: pd.DataFrame) -> list[tuple[str, str, NDArray[np.bool_]]]:
    groups: list[tuple[str, str, NDArray[np.bool_]]] = []
    for name, (column, function) in SLICES.items():
        if column in frame:
            values = function(frame)
            groups.extend((name, str(value), (values == value).to_numpy()) for value in sorted(values.unique()))
    return groups


def _slices(frame: pd.DataFrame, taxonomy: Taxonomy) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for name, value, chosen in _slice_groups(frame):
        counts = _counts(frame[chosen], taxonomy)
        weighted = counts.weighted(bootstrap_weights(len(counts.confusion), 0))
        row: dict[str, Any] = {
            "slice": name,
            "value": value,
            "sentences": int(chosen.sum()),
            "documents": len(counts.confusion),
        }
        for metric in HEADLINE:
            found = interval(METRICS[metric](weighted))
            row |= {metric: found.value, f"{metric}_low": found.low, f"{metric}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


# Two models --------------------------------------------------------------------------------------


def compare(base: pd.DataFrame, candidate: pd.DataFrame, taxonomy: Taxonomy, seed: int = 0) -> Comparison:
    """Paired bootstrap of candidate minus base over documents, and McNemar's test for the finding.

    Both are `table`s; they are matched by sentence_id.

    Raises:
        FindingsError: they do not hold the same sentences with the same labels.
    """
    base = base.sort_values("sentence_id").reset_index(drop=True)
    candidate = candidate.sort_values("sentence_id").reset_index(drop=True)
    if base["sentence_id"].tolist() != candidate["sentence_id"].tolist():
        raise FindingsError("the two were not measured on the same sentences. Evaluate both on one dataset.")
    if base.empty:
        raise FindingsError("nothing to compare on: the split is empty. Check the dataset with `findings data check`.")
    if base["finding"].tolist() != candidate["finding"].tolist() or not _same_themes(base, candidate):
        raise FindingsError("the two were measured against different labels. Evaluate both on one dataset.")
    metrics = _differences(base, candidate, taxonomy, METRICS, seed)
    slices = []
    for name, value, chosen in _slice_groups(base):
        headline = {metric: METRICS[metric] for metric in HEADLINE}
        part = _differences(base[chosen], candidate[chosen], taxonomy, headline, seed)
        size = {"sentences": int(chosen.sum()), "documents": base.loc[chosen, "document_id"].nunique()}
        slices.append(part.reset_index().assign(slice=name, value=value, **size))
    right_base = (base["predicted_finding"] == base["finding"]).to_numpy()
    right_candidate = (candidate["predicted_finding"] == candidate["finding"]).to_numpy()
    only_base, only_candidate = int((right_base & ~right_candidate).sum()), int((~right_base & right_candidate).sum())
    disagree = only_base + only_candidate
    return Comparison(
        len(base),
        base["document_id"].nunique(),
        metrics,
        pd.concat(slices, ignore_index=True) if slices else pd.DataFrame(),
        only_base,
        only_candidate,
        float(binomtest(only_base, disagree).pvalue) if disagree else 1.0,
        _label_differences(base, candidate, taxonomy, seed),
        _changed(base, candidate, right_base, right_candidate),
    )


def _label_differences(base: pd.DataFrame, candidate: pd.DataFrame, taxonomy: Taxonomy, seed: int) -> pd.DataFrame:
    """Differences of F1, one row a finding and theme that occurs in the truth."""

    def column(f1: Callable[[_Counts], Array], index: int) -> Callable[[_Counts], Array]:
        return lambda counts: f1(counts)[:, index]

    given = {
        "finding": (taxonomy.finding_ids, base["finding"].value_counts(), _finding_f1),
        "theme": (taxonomy.theme_ids, base["themes"].explode().value_counts(), _theme_f1),
    }
    parts = []
    for kind, (labels, counts, f1) in given.items():
        support = {label: int(counts.get(label, 0)) for label in labels}
        metrics = {label: column(f1, i) for i, label in enumerate(labels) if support[label]}
        if metrics:
            part = _differences(base, candidate, taxonomy, metrics, seed).rename_axis("label").reset_index()
            parts.append(part.assign(kind=kind, support=part["label"].map(support)))
    return pd.concat(parts, ignore_index=True)


def _changed(
    base: pd.DataFrame, candidate: pd.DataFrame, right_base: NDArray[np.bool_], right_candidate: NDArray[np.bool_]
) -> pd.DataFrame:
    known = [c for c in ("sentence_id", "kind", "heading", "sentence", "finding") if c in base]
    frame = base[known].assign(
        base=base["predicted_finding"],
        base_confidence=base["confidence"],
        candidate=candidate["predicted_finding"],
        candidate_confidence=candidate["confidence"],
        right=np.where(right_candidate, "candidate", "base"),
        wrong_confidence=np.where(right_candidate, base["confidence"], candidate["confidence"]),
    )
    chosen = frame.loc[right_base != right_candidate].sort_values("wrong_confidence", ascending=False, kind="stable")
    kept: pd.DataFrame = chosen.drop(columns=["wrong_confidence"]).reset_index(drop=True)
    return kept


def _same_themes(base: pd.DataFrame, candidate: pd.DataFrame) -> bool:
    """Whether the annotated themes are the same; lists or, read from Parquet, arrays."""
    return all(list(a) == list(b) for a, b in zip(base["themes"], candidate["themes"], strict=True))


def _differences(
    base: pd.DataFrame,
    candidate: pd.DataFrame,
    taxonomy: Taxonomy,
    metrics: dict[str, Callable[[_Counts], Array]],
    seed: int,
) -> pd.DataFrame:
    left, right = _counts(base, taxonomy), _counts(candidate, taxonomy)
    weights = bootstrap_weights(len(left.confusion), seed)
    sums_left, sums_right = left.weighted(weights), right.weighted(weights)
    rows = {}
    for name, metric in metrics.items():
        a, b = metric(sums_left), metric(sums_right)
        difference = interval(b - a)
        rows[name] = {
            "base": float(a[0]),
            "candidate": float(b[0]),
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
