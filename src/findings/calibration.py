"""Scores of a classifier → honest probabilities and theme decisions, fitted on validation data.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks") for the finding,
the same with an offset (Platt scaling) for the themes, and one threshold a theme.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

from findings.taxonomy import MAX_THEMES

Array = NDArray[np.float64]

SHRINK = 150
"""Strength, in sentences, of the pull of each theme's threshold towards the common one (docs/experiments.md)."""


@dataclass(frozen=True)
class Scores:
    """Uncalibrated scores of n sentences: `findings` (n, findings) and `themes` (n, themes), log-odds."""

    findings: Array
    themes: Array


@dataclass(frozen=True)
class Calibration:
    """What turns `Scores` into probabilities.

    Attributes:
        temperature: the finding's scores are divided by it.
        theme_scale, theme_offset: a theme's probability is expit(scale * score + offset).
        thresholds: a theme is given from this probability on; one a theme.
    """

    temperature: float
    theme_scale: float
    theme_offset: float
    thresholds: tuple[float, ...]

    def finding_probabilities(self, scores: Scores) -> Array:
        """(n, findings), rows summing to 1."""
        return np.asarray(softmax(scores.findings / self.temperature, axis=1))

    def theme_probabilities(self, scores: Scores) -> Array:
        """(n, themes), each between 0 and 1 on its own."""
        return np.asarray(expit(self.theme_scale * scores.themes + self.theme_offset))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(data: dict[str, Any]) -> Calibration:
    """The inverse of `Calibration.as_dict`."""
    return Calibration(
        float(data["temperature"]),
        float(data["theme_scale"]),
        float(data["theme_offset"]),
        tuple(float(t) for t in data["thresholds"]),
    )


def fit(scores: Scores, findings: NDArray[np.int64], themes: NDArray[np.bool_], pull: int = SHRINK) -> Calibration:
    """Fit on validation: `findings` (n,) indices, `themes` (n, themes) truth, `pull` as `SHRINK`."""
    from scipy.optimize import minimize, minimize_scalar  # not for those that only predict

    def nll(log_temperature: float) -> float:
        logs = log_softmax(scores.findings / np.exp(log_temperature), axis=1)
        return float(-logs[np.arange(len(findings)), findings].mean())

    temperature = float(np.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x))

    def theme_nll(parameters: Array) -> float:
        logits = parameters[0] * scores.themes + parameters[1]
        return float(np.mean(np.logaddexp(0, logits) - themes * logits))

    scale, offset = minimize(theme_nll, np.array([1.0, 0.0]), method="Nelder-Mead").x
    probabilities = expit(scale * scores.themes + offset)
    return Calibration(temperature, float(scale), float(offset), _thresholds(probabilities, themes, pull))


def _thresholds(probabilities: Array, truth: NDArray[np.bool_], pull: int) -> tuple[float, ...]:
    """The threshold of best F1 a theme, pulled towards the best common one where a theme is rare."""
    grid = np.linspace(0.1, 0.9, 81)
    common = grid[int(np.argmax([_f1(probabilities >= t, truth) for t in grid]))]
    chosen = []
    for theme in range(truth.shape[1]):
        scores = [_f1(probabilities[:, theme] >= t, truth[:, theme]) for t in grid]
        own = grid[int(np.argmax(scores))]
        support = int(truth[:, theme].sum())
        chosen.append(float((support * own + pull * common) / max(1, support + pull)))
    return tuple(chosen)


def _f1(given: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    right = float(np.sum(given & truth))
    total = float(given.sum() + truth.sum())
    return 2 * right / total if total else 0.0


def decide_themes(probabilities: Array, thresholds: tuple[float, ...]) -> NDArray[np.bool_]:
    """(n, themes) decisions: at or above the threshold, the `MAX_THEMES` most probable at most."""
    given = probabilities >= np.asarray(thresholds)
    if given.shape[1] > MAX_THEMES:
        masked = np.where(given, probabilities, -1.0)
        keep = np.argsort(-masked, axis=1, kind="stable")[:, :MAX_THEMES]
        best = np.zeros_like(given)
        np.put_along_axis(best, keep, True, axis=1)
        given &= best
    return given
