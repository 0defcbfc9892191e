"""The baseline: TF-IDF of words and characters, heading words as features of their own, and
logistic regression, one label against the rest, for the findings and for the themes.

Two old helps for short texts are built in, since both gained on validation: each feature is
weighted by its naive-Bayes log-count ratio (Wang & Manning 2012, "Baselines and Bigrams"), and
words in the reach of a negation come a second time with a mark (Das & Chen 2001).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from findings.calibration import Scores
from findings.errors import FindingsError
from findings.models import Examples, Watch, ignore
from findings.taxonomy import Taxonomy

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


RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "words": (lambda n: 1 <= n <= 5, "1 to 5"),
    "characters": (lambda n: n == 0 or 2 <= n <= 8, "2 to 8, or 0 for none"),
    "C": (lambda c: c > 0, "a number above 0"),
    "C_themes": (lambda c: c > 0, "a number above 0"),
    "class_weight": (lambda w: w in (None, "balanced"), "balanced or null"),
    "heading_weight": (lambda w: w >= 0, "0 or more"),
    "heading_dropout": (lambda p: 0 <= p <= 1, "0 to 1"),
}


class TfidfClassifier:
    """See the module. Parameters are those of `conf/model/tfidf.yaml`."""

    def __init__(
        self,
        *,
        features: ColumnTransformer,
        findings: list[LogisticRegression],
        themes: list[LogisticRegression],
        heading_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.features = features
        self.findings = findings
        self.themes = themes
        self.heading_dropout = heading_dropout
        self.seed = seed

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> TfidfClassifier:
        """An unfitted classifier.

        Raises:
            FindingsError: a setting is out of its range.
        """
        for name, (fits, rule) in RANGES.items():
            if not fits(settings[name]):
                raise FindingsError(f"model.{name}={settings[name]}: out of range. Give {rule}.")
        shared = {"sublinear_tf": True, "dtype": np.float32}

        def words() -> TfidfVectorizer:
            return TfidfVectorizer(ngram_range=(1, settings["words"]), token_pattern=r"\w+", **shared)

        characters: TfidfVectorizer | str = "drop"
        if longest := settings["characters"]:
            characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, longest), min_df=2, **shared)
        heading = TfidfVectorizer(ngram_range=(1, 2), binary=True, use_idf=False, dtype=np.float32)
        blocks = [
            ("words", words(), "sentence"),
            ("negated", words(), "negated"),
            ("characters", characters, "sentence"),
            ("heading", heading, "heading"),
        ]

        def heads(number: int, c: float) -> list[LogisticRegression]:
            weight = settings["class_weight"]
            return [
                LogisticRegression(C=c, class_weight=weight, solver="liblinear", random_state=seed)
                for _ in range(number)
            ]

        return cls(
            features=ColumnTransformer(blocks, transformer_weights={"heading": settings["heading_weight"]}),
            findings=heads(len(labels.findings), settings["C"]),
            themes=heads(len(labels.themes), settings["C_themes"]),
            heading_dropout=settings["heading_dropout"],
            seed=seed,
        )

    def fit(
        self, train: Examples, validation: Examples, watch: Watch = ignore, checkpoints: Path | None = None
    ) -> None:
        """Fit on train, in seconds: nothing to watch or to keep. `heading_dropout` of the sentences are shown a
        second time without heading, so that the words learn to stand on their own. Validation is not used here."""
        count = len(train.sentences)
        again = np.flatnonzero(np.random.default_rng(self.seed).random(count) < self.heading_dropout)
        rows = np.concatenate([np.arange(count), again])
        headings = [train.headings[i] for i in range(count)] + [""] * len(again)
        if not any(_HEADING_WORD.search(heading) for heading in train.headings):
            self.features.set_params(heading="drop")
        x = csr_matrix(self.features.fit_transform(_frame([train.sentences[i] for i in rows], headings)))
        for index, head in enumerate(self.findings):
            fit_head(head, x, train.findings[rows] == index)
        for index, head in enumerate(self.themes):
            fit_head(head, x, train.themes[rows, index])

    def served(self, validation: Examples) -> TfidfClassifier:
        """Itself."""
        return self

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores:
        """Log-odds of the findings, (n, findings), and of the themes, (n, themes)."""
        x = self.features.transform(_frame(sentences, headings))
        findings = np.column_stack([head.decision_function(x) for head in self.findings])
        themes = np.column_stack([head.decision_function(x) for head in self.themes])
        return Scores(findings.astype(np.float64), themes.astype(np.float64))

    def save(self, folder: Path) -> None:
        """Write tfidf.skops: arrays and a JSON description, no pickle."""
        parts = {"features": self.features, "findings": self.findings, "themes": self.themes}
        skops.io.dump(parts, folder / FILE, compression=zipfile.ZIP_DEFLATED, compresslevel=6)

    @classmethod
    def load(cls, folder: Path) -> TfidfClassifier:
        """Read what `save` wrote; a file with a type outside `TRUSTED` is refused."""
        path = folder / FILE
        try:
            if strange := sorted(_types(path) - TRUSTED):
                raise FindingsError(f"{path}: holds the type {strange[0]}, which is not trusted. It is not loaded.")
            parts = skops.io.load(path, trusted=[])
            features, findings, themes = parts["features"], list(parts["findings"]), list(parts["themes"])
            if not isinstance(features, ColumnTransformer):
                raise TypeError("the features are something else")
            if not all(isinstance(head, LogisticRegression) for head in (*findings, *themes)):
                raise TypeError("a head is something else")
        except FindingsError:
            raise
        except Exception as error:  # a damaged file fails anywhere: ZIP, deflate, JSON, arrays
            raise FindingsError(f"{path}: damaged or missing. Train the model again.") from error
        return cls(features=features, findings=findings, themes=themes)


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


def fit_head(head: LogisticRegression, x: csr_matrix, truth: NDArray[np.bool_]) -> None:
    """Fit on features weighted by their log-count ratio, then move the weights into the coefficients.

    Args:
        x: (n, features), none negative.
        truth: (n,) whether the label is on each.
    """
    present = x.astype(bool).astype(np.float32)
    positive, negative = (1 + np.asarray(present[part].sum(axis=0)).ravel() for part in (truth, ~truth))
    ratio = np.log((positive / positive.sum()) / (negative / negative.sum()))
    head.fit(x.multiply(ratio).tocsr(), truth)
    head.coef_ = head.coef_ * ratio


def _frame(sentences: Sequence[str], headings: Sequence[str]) -> pd.DataFrame:
    plain = [_normal(sentence) for sentence in sentences]
    columns = {"sentence": plain, "negated": [_negated(sentence) for sentence in plain], "heading": list(headings)}
    return pd.DataFrame(columns, dtype=object)


def _normal(text: str) -> str:
    """Lower case, straight quotes, every number as 0: what varies without meaning is taken out."""
    return _NUMBERS.sub("0", text.lower().replace("’", "'").replace("‘", "'"))


def _negated(text: str) -> str:
    """The words; those among the three after a negation, up to the next punctuation, twice: the
    second time with `not_` before them."""
    out: list[str] = []
    reach = 0
    for token in _TOKENS.findall(text):
        if token in ".,;:!?":
            reach = 0
            continue
        out.append(token)
        if reach:
            out.append(f"not_{token}")
            reach -= 1
        if _NEGATION.fullmatch(token):
            reach = 3
    return " ".join(out)


_HEADING_WORD = re.compile(r"\b\w\w")
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
_TOKENS = re.compile(r"[\w']+|[.,;:!?]")
_NEGATION = re.compile(r"not|no|never|nor|neither|without|lacks?|few|too|cannot|insufficient\w*|inconsisten\w*|\w+n't")
