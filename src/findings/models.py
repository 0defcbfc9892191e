"""What a model is, whatever its family: a classifier, its calibration, its taxonomy; and the
mapping from a family's name to its builder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from findings import calibration, manifest, taxonomy
from findings.calibration import Array, Calibration, Scores, decide_themes
from findings.errors import FindingsError
from findings.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

_GRADE = re.compile(
    r"\b(?:(?:is|are)\b:? ?)?(?:outstanding|good|adequate|inadequate|requires improvement(?: to be good)?)$", re.I
)


@dataclass(frozen=True)
class Progress:
    """How far training is.

    Attributes:
        share: 0 to 1.
        epoch, figures: after an epoch, its number from 1 and its validation figures by name.
    """

    share: float
    text: str
    epoch: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)


Watch = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """The `Watch` of nobody."""


class Classifier(Protocol):
    """What every family of models offers. Headings come without grades (see `bare_heading`)."""

    def fit(
        self, train: Examples, validation: Examples, watch: Watch = ..., checkpoints: Path | None = None
    ) -> None: ...

    def served(self, validation: Examples) -> Classifier:
        """The form that is stored and serves: itself, or one that answers faster."""
        ...

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores: ...

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class Examples:
    """Labelled sentences as a classifier takes them.

    Attributes:
        findings: (n,) indices into the taxonomy's findings.
        themes: (n, themes) truth.
        finding_targets, theme_targets: (n, findings) and (n, themes), a teacher's probabilities to learn
            instead of the labels, where there is one.
    """

    sentences: list[str]
    headings: list[str]
    findings: NDArray[np.int64]
    themes: NDArray[np.bool_]
    finding_targets: Array | None = None
    theme_targets: Array | None = None


@dataclass(frozen=True)
class Predictions:
    """Labels with probabilities for n sentences; columns follow the taxonomy's order."""

    finding_probabilities: Array
    theme_probabilities: Array
    themes: NDArray[np.bool_]

    @property
    def findings(self) -> NDArray[np.int64]:
        """(n,) indices of the most probable findings."""
        return np.asarray(self.finding_probabilities.argmax(axis=1))


@dataclass(frozen=True)
class Model:
    """A trained classifier that answers with calibrated probabilities.

    Attributes:
        fitted: what was trained, of which `classifier` may be a faster form; None once stored.
    """

    family: str
    classifier: Classifier
    calibration: Calibration
    taxonomy: Taxonomy
    fitted: Classifier | None = None

    def predict(self, sentences: Sequence[str], headings: Sequence[str | None] | None = None) -> Predictions:
        """Label sentences; a missing heading is like an empty one."""
        bare = [bare_heading(h) for h in headings] if headings is not None else [""] * len(sentences)
        if not sentences:
            return Predictions(
                np.zeros((0, len(self.taxonomy.findings))),
                np.zeros((0, len(self.taxonomy.themes))),
                np.zeros((0, len(self.taxonomy.themes)), dtype=bool),
            )
        scores = self.classifier.scores(sentences, bare)
        themes = self.calibration.theme_probabilities(scores)
        return Predictions(
            self.calibration.finding_probabilities(scores), themes, decide_themes(themes, self.calibration.thresholds)
        )


def theme_lists(predictions: Predictions, taxonomy: Taxonomy) -> list[list[str]]:
    """The themes given to each sentence, most probable first."""
    ids = np.array(taxonomy.theme_ids)
    return [
        [str(ids[i]) for i in np.argsort(-row, kind="stable") if given[i]]
        for row, given in zip(predictions.theme_probabilities, predictions.themes, strict=True)
    ]


def bare_heading(heading: str | None) -> str:
    """A heading without the grade at its end: what a section was graded must not label its sentences."""
    words = " ".join((heading or "").split())
    kept, graded = _GRADE.subn("", words.rstrip(" .)"))
    return kept.rstrip(" :–—-(") if graded else words


def examples(frame: pd.DataFrame, labels: Taxonomy) -> Examples:
    """Rows of a dataset → `Examples`."""
    order = {finding: i for i, finding in enumerate(labels.finding_ids)}
    return Examples(
        frame["sentence"].tolist(),
        [bare_heading(h) for h in frame["heading"]],
        np.array([order[finding] for finding in frame["finding"]], dtype=np.int64),
        np.array([[theme in row for theme in labels.theme_ids] for row in frame["themes"]], dtype=bool).reshape(
            len(frame), len(labels.themes)
        ),
    )


def train(
    settings: Mapping[str, Any],
    train_rows: Examples,
    validation: Examples,
    labels: Taxonomy,
    seed: int,
    *,
    watch: Watch = ignore,
    checkpoints: Path | None = None,
) -> Model:
    """Build the family that `settings["family"]` names, fit it, and calibrate it, as it serves, on validation.

    `watch` is told how far it is; in the folder `checkpoints` a family that trains for long keeps what
    it needs to go on after an interruption, and goes on from there.

    Raises:
        FindingsError: no such family, or a label that cannot be learnt from the training rows.
    """
    classifier = fit(settings, train_rows, validation, labels, seed, watch=watch, checkpoints=checkpoints)
    serving = classifier.served(validation)
    scores = serving.scores(validation.sentences, validation.headings)
    fitted = calibration.fit(scores, validation.findings, validation.themes)
    return Model(str(settings["family"]), serving, fitted, labels, classifier)


def fit(
    settings: Mapping[str, Any],
    train_rows: Examples,
    validation: Examples,
    labels: Taxonomy,
    seed: int,
    *,
    watch: Watch = ignore,
    checkpoints: Path | None = None,
) -> Classifier:
    """The first half of `train`: a fitted classifier, neither calibrated nor in the form that serves."""
    _require_every_label(train_rows, labels)
    classifier = build(settings, labels, seed)
    classifier.fit(train_rows, validation, watch, checkpoints)
    return classifier


def build(settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> Classifier:
    """An unfitted classifier of the family that the settings name.

    Raises:
        FindingsError: no such family, or a setting out of its range.
    """
    family = str(settings["family"])
    if family not in BUILDERS:
        raise FindingsError(f"there is no family of models '{family}'. Choose from: {', '.join(BUILDERS)}.")
    return BUILDERS[family](settings, labels, seed)


def _require_every_label(rows: Examples, labels: Taxonomy) -> None:
    given = {name: rows.findings == i for i, name in enumerate(labels.finding_ids)}
    given |= {name: rows.themes[:, i] for i, name in enumerate(labels.theme_ids)}
    for name, truth in given.items():
        if truth.all() or not truth.any():
            raise FindingsError(
                f"the label '{name}' is on {'every' if truth.any() else 'no'} training sentence: it cannot be learnt. "
                "Annotate more documents or take it out of the taxonomy."
            )


def save(model: Model, folder: Path) -> None:
    """Write a model into a folder: model.json, the family's own files and their hashes; nothing is pickled."""
    folder.mkdir(parents=True, exist_ok=True)
    model.classifier.save(folder)
    card = {"family": model.family, "taxonomy": model.taxonomy.as_dict(), "calibration": model.calibration.as_dict()}
    (folder / "model.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
    manifest.write(folder)


def load(folder: Path) -> Model:
    """Read a model that `save` wrote.

    Raises:
        FindingsError: a file is missing, changed, torn, or of a family this version does not know.
    """
    manifest.verify(folder)
    path = folder / "model.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        family = str(card["family"])
        labels = taxonomy.from_dict(card["taxonomy"], str(path))
        fitted = calibration.from_dict(card["calibration"])
        if len(fitted.thresholds) != len(labels.themes):
            raise ValueError("as many thresholds as themes are needed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FindingsError(f"{path}: not a model of ours, or damaged. Train it again.") from error
    if family not in LOADERS:
        raise FindingsError(f"{path}: unknown family '{family}'. This version reads {', '.join(LOADERS)}.")
    return Model(family, LOADERS[family](folder), fitted, labels)


def _build_tfidf(settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> Classifier:
    from findings.tfidf import TfidfClassifier

    return TfidfClassifier.from_settings(settings, labels, seed)


def _load_tfidf(folder: Path) -> Classifier:
    from findings.tfidf import TfidfClassifier

    return TfidfClassifier.load(folder)


def _build_transformer(settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> Classifier:
    try:
        from findings.transformer import TransformerClassifier
    except ModuleNotFoundError as error:
        raise FindingsError(
            f"model.family={settings['family']}: the package {error.name} is not installed. "
            "Run `pip install 'findings[transformer]'`."
        ) from error

    return TransformerClassifier(settings, labels, seed)


def _load_onnx(folder: Path) -> Classifier:
    from findings.onnx import OnnxClassifier

    return OnnxClassifier.load(folder)


def _build_static(settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> Classifier:
    from findings.static import StaticClassifier

    return StaticClassifier.from_settings(settings, labels, seed)


def _load_static(folder: Path) -> Classifier:
    from findings.static import StaticClassifier

    return StaticClassifier.load(folder)


BUILDERS: dict[str, Callable[[Mapping[str, Any], Taxonomy, int], Classifier]] = {
    "tfidf": _build_tfidf,
    "minilm": _build_transformer,
    "encoder": _build_transformer,
    "static": _build_static,
}
LOADERS: dict[str, Callable[[Path], Classifier]] = {
    "tfidf": _load_tfidf,
    "minilm": _load_onnx,
    "encoder": _load_onnx,
    "static": _load_static,
}
