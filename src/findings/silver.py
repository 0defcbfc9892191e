"""Silver: sentences that nobody labelled, labelled by models; for training alone, never for measuring.

A small student learns from a large teacher's probabilities what labels alone would not tell it
(Hinton et al. 2015, "Distilling the Knowledge in a Neural Network").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from findings import models, parsed, reports, standoff
from findings.calibration import decide_themes
from findings.dataset import Built
from findings.errors import FindingsError
from findings.models import Examples, Model
from findings.sentences import fingerprint, sentences

MIN_LETTERS = 12
"""Shorter sentences are page numbers and crumbs of tables."""


def unlabelled(built: Built, folder: Path, pdfs: Path, tell: Callable[[str], object] = str) -> pd.DataFrame:
    """The sentences without labels in the reports at hand of training authorities: columns `sentence`,
    `heading`; each once, and none that is in the dataset, in any split.

    Args:
        folder: the stand-off annotations, whose reports.csv says which report is of which split.
        pdfs: the reports.
    """
    outside = {authority.casefold() for split in ("validation", "test") for authority in built.rows[split]["authority"]}
    chosen = [r for r in standoff.read(folder).reports if r.split == "train" and r.authority.casefold() not in outside]
    places = {place.path for report in chosen if (place := reports.at_hand(report, pdfs)) is not None}
    seen = {fingerprint(sentence) for frame in built.rows.values() for sentence in frame["sentence"]}
    rows = []
    for number, (_, document) in enumerate(parsed.read_all(sorted(places)), 1):
        tell(f"reading unlabelled reports, {number} of {len(places)}")
        if isinstance(document, FindingsError):
            continue
        for sentence in sentences(document):
            mark = fingerprint(sentence.text)
            if mark not in seen and sum(map(str.isalnum, sentence.text)) >= MIN_LETTERS:
                seen.add(mark)
                rows.append((sentence.text, sentence.heading))
    return pd.DataFrame(rows, columns=["sentence", "heading"])


def label(frame: pd.DataFrame, teachers: Sequence[Model], tell: Callable[[str], object] = str) -> Examples:
    """The teachers' mean probabilities as targets, and the labels that they come to.

    Raises:
        FindingsError: the teachers have different labels.
    """
    first = teachers[0]
    if any(teacher.taxonomy.as_dict() != first.taxonomy.as_dict() for teacher in teachers):
        raise FindingsError("the teachers label with different taxonomies. Name teachers of one taxonomy.")
    texts, headings = frame["sentence"].tolist(), frame["heading"].tolist()
    findings = np.zeros((len(texts), len(first.taxonomy.findings)))
    themes = np.zeros((len(texts), len(first.taxonomy.themes)))
    for number, teacher in enumerate(teachers, 1):
        for start in range(0, len(texts), 1024):
            tell(f"teacher {number} of {len(teachers)} labels sentences, {start:,} of {len(texts):,}")
            part = slice(start, start + 1024)
            given = teacher.predict(texts[part], headings[part])
            findings[part] += given.finding_probabilities / len(teachers)
            themes[part] += given.theme_probabilities / len(teachers)
    return Examples(
        texts,
        [models.bare_heading(heading) for heading in headings],
        findings.argmax(axis=1),
        decide_themes(themes, (0.5,) * themes.shape[1]),
        findings,
        themes,
    )


def add(gold: Examples, silver: Examples) -> Examples:
    """Both together: for gold, the labels themselves are the targets."""
    assert silver.finding_targets is not None
    assert silver.theme_targets is not None
    certain = np.eye(silver.finding_targets.shape[1])[gold.findings]
    return Examples(
        gold.sentences + silver.sentences,
        gold.headings + silver.headings,
        np.concatenate([gold.findings, silver.findings]),
        np.concatenate([gold.themes, silver.themes]),
        np.concatenate([certain, silver.finding_targets]),
        np.concatenate([gold.themes.astype(float), silver.theme_targets]),
    )
