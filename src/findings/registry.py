"""Registered models: versions, the champion, and the rule by which another takes its place."""

from __future__ import annotations

import io
import math
import statistics
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from findings import evaluation, models, tracking
from findings.errors import FindingsError
from findings.evaluation import Comparison
from findings.models import Model
from findings.serving import ARTIFACT
from findings.store import store_uri

CHAMPION = "champion"
FEW = 5
"""Documents below which an interval over documents says too little to call a gain or a loss."""
MARGIN = 0.01
"""How much worse, at the interval's lower end, may still count as equal quality."""
CHEAPER = 1.5
"""How many times as fast, or as small, counts as lower cost."""
DEARER = 1.25
"""How many times as slow, or as large, it may then be at most."""
DECISIVE = ("finding_macro_f1", "themes_micro_f1")


@dataclass(frozen=True)
class Version:
    """A registered version and the run it came from."""

    name: str
    version: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True)
class Decision:
    """Whether a candidate is promoted, and why, in one sentence."""

    promoted: bool
    reason: str


def register(name: str, model_uri: str, run_id: str, description: str) -> Version:
    """Register a logged model. Ctrl-C waits until it is whole."""
    chatter = io.StringIO()  # MLflow says on stderr what `report` says better
    with tracking.lock(store_uri(mlflow.get_tracking_uri())), tracking.unbroken(), redirect_stderr(chatter):
        tags = {"description": description, "run_id": run_id, "model_card": f"runs:/{run_id}/{tracking.CARD}"}
        made = mlflow.register_model(model_uri, name, tags=tags)
        told = f"{description}. Its model card is {tracking.CARD} in the run's artifacts and in the model's folder."
        MlflowClient().update_model_version(name, made.version, description=told)
    return Version(name, str(made.version), run_id)


def champion(name: str) -> Version | None:
    """The version that the alias names, or None."""
    try:
        found = MlflowClient().get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise FindingsError(f"{mlflow.get_tracking_uri()}: the registry does not answer.") from error
    return Version(name, str(found.version), str(found.run_id or found.tags.get("run_id", "")))


def require_champion(name: str) -> Version:
    """The champion.

    Raises:
        FindingsError: there is none.
    """
    found = champion(name)
    if found is None:
        uri = mlflow.get_tracking_uri()
        raise FindingsError(f"{uri}: no champion of '{name}'. Run `findings train` first, or set MLFLOW_TRACKING_URI.")
    return found


def find(name: str, reference: str) -> Version:
    """A version by `champion`, `latest`, version number, run id or the beginning of a run id.

    Raises:
        FindingsError: nothing, or more than one run, goes by that reference.
    """
    if reference == CHAMPION:
        return require_champion(name)
    try:
        versions = MlflowClient().search_model_versions(f"name='{name}'")
    except MlflowException as error:
        raise FindingsError(f"'{name}' is no name of a model. Give the name in the registry with --model.") from error
    ordered = sorted(versions, key=lambda v: int(v.version))
    if reference == "latest":
        chosen = ordered[-1:]
    else:
        chosen = [
            v
            for v in ordered
            if str(v.version) == reference or (len(reference) >= 6 and str(v.run_id).startswith(reference))
        ]
    if len({v.run_id for v in chosen}) != 1:
        what = "names more than one" if chosen else "names no"
        known = ", ".join(str(v.version) for v in ordered[-8:]) or "none"
        raise FindingsError(
            f"'{reference}' {what} version of '{name}'. Give champion, latest, a run id or one of: {known}."
        )
    return Version(name, str(chosen[-1].version), str(chosen[-1].run_id))


def load(version: Version) -> Model:
    """The model behind a version, loaded in this process.

    Raises:
        FindingsError: its files are missing or damaged.
    """
    try:
        uri = MlflowClient().get_model_version_download_uri(version.name, version.version)
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        raise FindingsError(f"{version}: its files cannot be fetched. Train it again.") from error
    return models.load(folder / "artifacts" / ARTIFACT if (folder / "artifacts").is_dir() else folder)


def set_champion(version: Version) -> None:
    """Let the alias name this version."""
    MlflowClient().set_registered_model_alias(version.name, CHAMPION, version.version)


def crown_first(version: Version) -> bool:
    """Make the version champion if there is none yet; says whether it did."""
    with tracking.lock(store_uri(mlflow.get_tracking_uri())):
        if champion(version.name) is not None:
            return False
        set_champion(version)
        return True


@dataclass(frozen=True)
class Match:
    """Two versions side by side on the same sentences.

    Attributes:
        speed: how many times as fast the candidate is as the base, timed in turns in this process.
        smaller: how many times as small, by the megabytes that their runs recorded; NaN where one did not.
        same_data: whether both were trained on the same dataset; where not, the base may have been
            trained on sentences that it is measured on here.
    """

    quality: Comparison
    speed: float
    smaller: float = 1.0
    same_data: bool = True


def compare(base: Version, candidate: Version) -> Match:
    """Candidate against base on the candidate's test sentences.

    The base's stored predictions are used where they are of the same sentences and labels; else
    the base model labels the candidate's test sentences again.

    Raises:
        FindingsError: predictions or files are missing, or the two have different taxonomies.
    """
    theirs, ours = (tracking.read_predictions(version.run_id, "test") for version in (candidate, base))
    model, against = load(candidate), load(base)
    if model.taxonomy.as_dict() != against.taxonomy.as_dict():
        raise FindingsError(f"{base} and {candidate} label with different taxonomies and cannot be compared.")
    sentences, headings = theirs["sentence"].tolist(), theirs["heading"].tolist()
    if _keys(ours) != _keys(theirs):
        rows = theirs.assign(themes=theirs["themes"].map(list))
        ours = evaluation.table(rows, against.predict(sentences, headings), model.taxonomy)
    runs = [tracking.read_run(version.run_id) for version in (base, candidate)]
    sizes = [run.metrics.get("cost/model_megabytes", math.nan) for run in runs]
    return Match(
        evaluation.compare(ours, theirs, model.taxonomy),
        _times_as_fast(against, model, sentences, headings),
        sizes[0] / sizes[1],
        len({run.tags.get("dataset.sha256") for run in runs}) == 1,  # a run of ours always has it
    )


def _keys(frame: pd.DataFrame) -> set[tuple[str, ...]]:
    themes = [" ".join(row) for row in frame["themes"]]
    return set(zip(frame["sentence_id"], frame["sentence"], frame["finding"], themes, strict=True))


def _times_as_fast(base: Model, candidate: Model, sentences: list[str], headings: list[str]) -> float:
    """The median of seven ratios, each of two timings one after the other: a busy machine slows both."""
    ratios = []
    for _ in range(7):
        seconds = []
        for model in (base, candidate):
            begun = time.perf_counter()
            model.predict(sentences[:256], headings[:256])
            seconds.append(time.perf_counter() - begun)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def decide(match: Match) -> Decision:
    """The rule of promotion, on figures alone: a gain in a decisive metric that the interval supports
    without a loss that it supports, or equal quality at lower cost."""
    differences = {metric: match.quality.difference(metric) for metric in DECISIVE}
    lost = [m for m, d in differences.items() if d.high < 0]
    gained = [m for m, d in differences.items() if d.low > 0]
    unsure = [m for m, d in differences.items() if not d.low > -MARGIN]
    told = "; ".join(f"{metric} {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for metric, d in differences.items())
    costs = f"{match.speed:.2f} times as fast and {match.smaller:.2f} times as small"
    if lost:
        return Decision(False, f"it is worse in {' and '.join(lost)} ({told})")
    if match.quality.documents < FEW:
        return Decision(False, f"{match.quality.documents} test documents say too little: {FEW} are the least")
    if gained:
        return Decision(True, f"a gain that the interval supports in {' and '.join(gained)} ({told})")
    if unsure:
        reason = f"may be worse by more than {MARGIN} in {' and '.join(unsure)}"
        return Decision(False, f"no gain that the interval supports, and it {reason} ({told})")
    if _is_cheaper(match):
        return Decision(True, f"equal quality at lower cost: {costs} ({told})")
    reason = f"{costs}, where {CHEAPER} times of one is asked and at most {DEARER} times dearer in the other"
    return Decision(False, f"equal quality but not at lower cost: {reason} ({told})")


def _is_cheaper(match: Match) -> bool:
    """At least `CHEAPER` in one and no dearer than `DEARER` in the other; a size not known is neither."""
    gains = (match.speed, match.smaller)
    return any(gain >= CHEAPER for gain in gains) and all(gain >= 1 / DEARER for gain in gains)


def promote(candidate: Version, *, force: bool = False) -> Decision:
    """Apply the rule to a candidate and, where it allows, let the alias name it."""
    with tracking.lock(store_uri(mlflow.get_tracking_uri())):  # two at once must not overtake each other
        current = champion(candidate.name)
        if current is None:
            set_champion(candidate)
            return Decision(True, "there was no champion yet")
        if current.version == candidate.version:
            return Decision(True, "it is the champion already")
        try:
            decision = decide(compare(current, candidate))
        except FindingsError as error:
            if not force:
                raise
            decision = Decision(False, str(error))
        if force and not decision.promoted:
            decision = Decision(True, f"forced, although {decision.reason}")
        note: dict[str, Any] = {
            "promotion": "promoted" if decision.promoted else "refused",
            "promotion.reason": decision.reason,
        }
        for key, value in note.items():
            MlflowClient().set_model_version_tag(candidate.name, candidate.version, key, value)
        if decision.promoted:
            set_champion(candidate)
        return decision
