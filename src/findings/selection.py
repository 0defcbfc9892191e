"""Which sentences to label next: those that the model is least sure of, and of these different ones.

Uncertainty sampling (Lewis & Gale 1994, "A Sequential Algorithm for Training Text Classifiers") for
finding and themes at once, spread by clustering (Xu et al. 2003, "Representative Sampling for Text
Classification"). `benchmarks/queue_curve.py` measures the rule against others and against chance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from findings.calibration import Array
from findings.dataset import near_duplicates
from findings.models import Predictions
from findings.sentences import fingerprint
from findings.taxonomy import MAX_THEMES

WIDE = 5
"""From how many times as many uncertain sentences as are wanted the different ones are picked."""

DIMENSIONS = 100

THEMES = 0.5
"""Weight of the themes' uncertainty beside the finding's: without it the themes learn less than from
sentences picked at random, with 1 the finding gains less."""


def finding_uncertainty(predictions: Predictions) -> Array:
    """(n,) entropy of the finding's probabilities, as a share of the most there can be: 0 to 1."""
    p = np.clip(predictions.finding_probabilities, 1e-12, 1)
    return np.asarray(-(p * np.log(p)).sum(axis=1) / np.log(p.shape[1]))


def theme_uncertainty(predictions: Predictions) -> Array:
    """(n,) summed entropy in bits of the yes-or-no questions of the themes, divided by the number of
    themes that a sentence may have."""
    p = np.clip(predictions.theme_probabilities, 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(axis=1) / MAX_THEMES)


def uncertainty(predictions: Predictions) -> Array:
    """(n,) uncertainty of finding and themes together; higher is less sure."""
    return finding_uncertainty(predictions) + THEMES * theme_uncertainty(predictions)


def choose(
    texts: Sequence[str], uncertain: Array, count: int, known: Sequence[str] = (), prints: Collection[str] = ()
) -> list[int]:
    """Which `count` texts to label, the most uncertain first; fewer where there are no more.

    None is nearly the same as another one or as one in `known`, or has a fingerprint among `prints`
    (labelled sentences whose text is not at hand). The `WIDE` times `count` most uncertain of the rest
    are put into `count` groups of like content (k-means of TF-IDF, reduced to `DIMENSIONS`), and the
    most uncertain of each group is taken.
    """
    pool = _fresh(texts, uncertain, WIDE * count, known, prints)
    if len(pool) <= count:
        return pool
    vectors = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform([texts[i] for i in pool])
    points = TruncatedSVD(min(DIMENSIONS, vectors.shape[1]), random_state=0).fit_transform(vectors)
    groups = KMeans(count, n_init=1, random_state=0).fit_predict(points, sample_weight=uncertain[pool])
    _, first = np.unique(groups, return_index=True)  # the pool is in order of uncertainty
    rest = np.setdiff1d(np.arange(len(pool)), first)[: count - len(first)]
    return [pool[i] for i in sorted([*first, *rest])]


def _fresh(
    texts: Sequence[str], uncertain: Array, most: int, known: Sequence[str], prints: Collection[str]
) -> list[int]:
    """The most uncertain texts in order, without those nearly the same as a known or an earlier one."""
    seen = {fingerprint(text) for text in known} | set(prints)
    order = []
    for i in np.argsort(-uncertain, kind="stable"):
        mark = fingerprint(texts[i])
        if mark not in seen:
            seen.add(mark)
            order.append(int(i))
    pool: list[int] = []
    while order and len(pool) < most:
        part, order = order[: 2 * most], order[2 * most :]  # the comparison of all with all is limited to these
        pool += _apart(texts, part, [*known, *(texts[i] for i in pool)])
    return pool[:most]


def _apart(texts: Sequence[str], part: Sequence[int], known: Sequence[str]) -> list[int]:
    """Those of `part` that are not nearly the same as a known text or an earlier one of them."""
    dropped: set[int] = set()
    for earlier, later, _ in near_duplicates([*known, *(texts[i] for i in part)]):
        if later >= len(known) and earlier not in dropped:
            dropped.add(later)
    return [i for place, i in enumerate(part, len(known)) if place not in dropped]
