"""The baseline: TF-IDF of words and characters, heading words as features of their own, and
logistic regression for the finding (multinomial) and for each theme (one against the rest)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from skops.io.exceptions import UntrustedTypesFoundException

from findings.calibration import Scores
from findings.errors import FindingsError
from findings.models import Examples

FILE = "tfidf.skops"

TRUSTED = frozenset(
    {
        "builtins.dict",
        "builtins.list",
        "builtins.slice",
        "builtins.str",
        "builtins.tuple",
        "numpy.float32",
        "numpy.ndarray",
        "sklearn.compose._column_transformer.ColumnTransformer",
        "sklearn.feature_extraction.text.TfidfTransformer",
        "sklearn.feature_extraction.text.TfidfVectorizer",
        "sklearn.linear_model._logistic.LogisticRegression",
    }
)
"""Every type that a model file may hold. skops trusts many more by itself (and is no security
boundary by its own account), so the file's description is checked against this list first."""

MAX_DESCRIPTION = 2**30
"""Bytes that a file's description may unpack to."""


class TfidfClassifier:
    """See the module. Parameters are those of `conf/model/tfidf.yaml`."""

    def __init__(self, *, features: ColumnTransformer, finding: LogisticRegression, themes: list[LogisticRegression],
                 heading_dropout: float = 0.0, seed: int = 0) -> None:  # fmt: skip
        self.features = features
        self.finding = finding
        self.themes = themes
        self.heading_dropout = heading_dropout
        self.seed = seed

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], *, themes: int, seed: int) -> TfidfClassifier:
        """An unfitted classifier."""
        shared = {"sublinear_tf": True, "dtype": np.float32}
        blocks = [
            ("words", TfidfVectorizer(ngram_range=(1, settings["words"]), token_pattern=r"\b\w+\b", **shared), "sentence"),
            (
                "characters",
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, settings["characters"]), min_df=2, **shared),
                "sentence",
            ),
            ("heading", TfidfVectorizer(ngram_range=(1, 2), binary=True, use_idf=False, dtype=np.float32), "heading"),
        ]
        weight = settings["class_weight"]
        return cls(
            features=ColumnTransformer(blocks, transformer_weights={"heading": settings["heading_weight"]}),
            finding=LogisticRegression(C=settings["C"], class_weight=weight, max_iter=400, random_state=seed),
            themes=[
                LogisticRegression(C=settings["C_themes"], class_weight=weight, solver="liblinear", random_state=seed)
                for _ in range(themes)
            ],
            heading_dropout=settings["heading_dropout"],
            seed=seed,
        )

    def fit(self, train: Examples, validation: Examples) -> None:
        """Fit on train; `heading_dropout` of the sentences are shown a second time without heading,
        so that the words learn to stand on their own. Validation is not used here."""
        dropped = np.random.default_rng(self.seed).random(len(train.sentences)) < self.heading_dropout
        rows = np.concatenate([np.arange(len(train.sentences)), np.flatnonzero(dropped)])
        without = np.arange(len(rows)) >= len(train.sentences)
        x = self.features.fit_transform(
            _frame([train.sentences[i] for i in rows], ["" if w else train.headings[i] for i, w in zip(rows, without, strict=True)])
        )
        self.finding.fit(x, train.findings[rows])
        for theme, head in enumerate(self.themes):
            truth = train.themes[rows, theme]
            if truth.all() or not truth.any():
                raise FindingsError(
                    f"theme {theme + 1} of the taxonomy is on {'every' if truth.any() else 'no'} training sentence: "
                    "it cannot be learnt. Annotate more documents or take it out of the taxonomy."
                )
            head.fit(x, truth)

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores:
        """Log-probabilities of the findings, (n, findings), and log-odds of the themes, (n, themes)."""
        x = self.features.transform(_frame(sentences, headings))
        present = self.finding.predict_log_proba(x)
        findings = np.full((x.shape[0], int(self.finding.classes_.max()) + 1), -30.0)
        findings[:, self.finding.classes_] = np.maximum(present, -30.0)
        themes = np.column_stack([head.decision_function(x) for head in self.themes])
        return Scores(findings.astype(np.float64), themes.astype(np.float64))

    def save(self, folder: Path) -> None:
        """Write tfidf.skops: arrays and a JSON description, no pickle."""
        parts = {"features": self.features, "finding": self.finding, "themes": self.themes}
        skops.io.dump(parts, folder / FILE, compression=zipfile.ZIP_DEFLATED, compresslevel=6)

    @classmethod
    def load(cls, folder: Path) -> TfidfClassifier:
        """Read what `save` wrote; a file with a type outside `TRUSTED` is refused."""
        path = folder / FILE
        try:
            if strange := sorted(_types(path) - TRUSTED):
                raise FindingsError(f"{path}: holds the type {strange[0]}, which is not trusted. It is not loaded.")
            parts = skops.io.load(path, trusted=[])
            return cls(features=parts["features"], finding=parts["finding"], themes=parts["themes"])
        except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, UntrustedTypesFoundException) as error:
            raise FindingsError(f"{path}: damaged or missing. Train the model again.") from error


def _types(path: Path) -> set[str]:
    """The types that a skops file says it holds."""
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("schema.json").file_size > MAX_DESCRIPTION:
            raise FindingsError(f"{path}: its description is too large to be a model's. It is not loaded.")
        pending: list[Any] = [json.loads(archive.read("schema.json"))]
    types = set()
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "__class__" in node:
                types.add(f"{node.get('__module__')}.{node['__class__']}")
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return types


def _frame(sentences: Sequence[str], headings: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"sentence": list(sentences), "heading": list(headings)}, dtype=object)
