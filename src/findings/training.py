"""One training run from its configuration: dataset → model → evaluation → tracking → registry."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from mlflow import MlflowClient
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from findings import (
    behaviour,
    config,
    cores,
    dataset,
    evaluation,
    model_card,
    models,
    registry,
    reports,
    serving,
    silver,
    standoff,
    taxonomy,
    tracking,
)
from findings.dataset import Built
from findings.errors import FindingsError
from findings.evaluation import Evaluation
from findings.files import claimed, make_folder, write_text
from findings.models import Examples, Model, Progress
from findings.registry import Decision, Version
from findings.store import home, store_uri


@dataclass(frozen=True)
class Outcome:
    """What a training run came to."""

    run_id: str
    version: Version
    validation: Evaluation
    test: Evaluation
    decision: Decision | None


def build_dataset(settings: Mapping[str, Any], tell: Callable[[str], object] = str) -> Built:
    """The dataset that a configuration names, checked; `tell` is told what is being done.

    Raises:
        FindingsError: the dataset is not sound, or no training document is left of it.
    """
    return dataset.with_train_share(_whole(settings, tell), float(settings["data"]["train_share"]))


def _whole(settings: Mapping[str, Any], tell: Callable[[str], object]) -> Built:
    labels = taxonomy.from_dict(settings["taxonomy"])
    data = settings["data"]
    name, source = data["name"], data["source"]
    folder = _folder(data)
    if "reports" not in data:
        return dataset.build(folder, name=name, source=source, taxonomy=labels)
    marks, pdfs = _reports(data)
    if "standoff" in data:
        return dataset.build_all(folder, marks, pdfs, name=name, taxonomy=labels, tell=tell)
    return dataset.build_standoff(folder, pdfs, name=name, source=source, taxonomy=labels, tell=tell)


def _reports(data: Mapping[str, Any]) -> tuple[Path, Path]:
    """The annotations of a dataset's published reports, and the folder of their PDFs."""
    marks = Path(data["standoff"] or standoff.default_folder()) if "standoff" in data else _folder(data)
    return marks, Path(data["reports"] or standoff.reports_folder(marks))


def _folder(data: Mapping[str, Any]) -> Path:
    """The folder that a dataset's documents or annotations are in."""
    if data["folder"]:
        return Path(data["folder"])
    return standoff.default_folder() if data["source"] == "ofsted" else dataset.default_folder()


def _written_to(data: Mapping[str, Any]) -> Path:
    """Where `findings data build` writes: beside what the dataset is made of; the text of published
    reports never to where it would be shipped."""
    if "standoff" in data:
        return Path(data["folder"]) / "all" if data["folder"] else reports.home("all")
    return _folder(data) if data["folder"] or "reports" not in data else reports.home("ofsted")


def train(settings: Mapping[str, Any]) -> Outcome:
    """Train, evaluate, track and register; the first version ever becomes the champion.

    With `resume`, training that was cut off goes on from its last checkpoint, in the same MLflow run.

    Raises:
        FindingsError: the dataset is not sound, or the store does not answer.
    """
    with shown() as (console, tell):
        # Settings out of range end here, before the dataset is built.
        models.build(settings["model"], taxonomy.from_dict(settings["taxonomy"]), int(settings["seed"]))
        built = prepare(settings, console, tell)
        tell("opening the store")
        tracking.connect(settings["tracking"])
        checkpoints = Checkpoints.of(settings, built)
        with checkpoints.held():
            with tracking.run(name(settings, built), checkpoints.begin(bool(settings["resume"]))) as run:
                checkpoints.remember(run.info.run_id)
                try:
                    outcome = _record(run.info.run_id, settings, built, checkpoints.folder, tell)
                except KeyboardInterrupt:
                    if any(checkpoints.folder.glob("checkpoint-*")):
                        console.print("the same command with resume=true goes on from the last checkpoint")
                    raise
            checkpoints.clear()
    return outcome


def join(settings: Mapping[str, Any]) -> None:
    """Train along with the first process, which torchrun started beside this one, and which tracks, tells
    and stores."""
    built = build_dataset(settings)
    rows = {split: models.examples(frame, built.taxonomy) for split, frame in built.rows.items()}
    folder = Checkpoints.of(settings, built).folder
    seed = int(settings["seed"])
    models.fit(settings["model"], rows["train"], rows["validation"], built.taxonomy, seed, checkpoints=folder)


def prepare(settings: Mapping[str, Any], console: Console, tell: Callable[..., None]) -> Built:
    """The dataset, and what is to be known of it told."""
    built = build_dataset(settings, tell)
    for note in built.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    return built


def _record(
    run_id: str,
    settings: Mapping[str, Any],
    built: Built,
    checkpoints: Path,
    tell: Callable[..., None],
) -> Outcome:
    """The body of a run: train, evaluate, store, register, and compare if that is asked for."""
    family, seed = settings["model"]["family"], int(settings["seed"])
    tracking.log_start(run_id, settings, built)
    doing = f"training {family} on {built.counts['train']} sentences"
    tell(doing)

    def watch(progress: Progress) -> None:
        tell(f"{doing}: {progress.text}", progress.share)
        if progress.figures:
            tracking.log_epoch(run_id, progress.epoch, progress.figures)

    examples = {split: models.examples(frame, built.taxonomy) for split, frame in built.rows.items()}
    taught = examples["train"]
    if (given := _silver(settings, built, tell)) is not None:
        taught = silver.add(taught, given)
        tracking.log_figures(run_id, {}, {"dataset.silver": str(len(given.sentences))})
    begun = time.perf_counter()
    model = models.train(
        settings["model"],
        taught,
        examples["validation"],
        built.taxonomy,
        seed,
        watch=watch,
        checkpoints=checkpoints,
    )
    seconds = time.perf_counter() - begun + getattr(model.classifier, "seconds_before", 0.0)
    evaluations: dict[str, Evaluation] = {}
    for split, frame in built.rows.items():
        tell(f"measuring on {split}")
        evaluations[split] = _evaluate(run_id, split, frame, model)
    tell("testing its behaviour")
    _test_behaviour(run_id, model)
    tell("storing the model")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / serving.ARTIFACT
        models.save(model, folder)
        size = sum(file.stat().st_size for file in folder.rglob("*"))
        tracking.log_cost(run_id, seconds, _speed(model, examples["test"].sentences), size)
        model_card.log(run_id, folder)
        info = serving.log(folder)
        if model.fitted is not None and model.fitted is not model.classifier:
            tracking.log_fitted(run_id, model.fitted, model.classifier)
    version = registry.register(settings["tracking"]["model"], info.model_uri, run_id, name(settings, built))
    decision = None
    if registry.crown_first(version):
        decision = Decision(True, "there was no champion yet")
    elif settings["promote"]:
        tell("comparing with the champion")
        try:
            decision = registry.promote(version)
        except FindingsError as error:  # the training is sound, whatever it cannot be compared with
            decision = Decision(False, str(error))
    return Outcome(run_id, version, evaluations["validation"], evaluations["test"], decision)


def _silver(settings: Mapping[str, Any], built: Built, tell: Callable[..., None]) -> Examples | None:
    """What the teachers say of the training sentences, and of those without labels in the dataset's
    reports at hand; None without teachers."""
    known = settings["tracking"]["model"]
    if not settings["model"]["teachers"]:
        return None
    teachers = [registry.load(registry.find(known, reference)) for reference in settings["model"]["teachers"]]
    frames = [built.rows["train"][["sentence", "heading"]]]
    if "reports" in settings["data"]:
        frames.append(silver.unlabelled(built, *_reports(settings["data"]), tell))
    return silver.label(pd.concat(frames, ignore_index=True), teachers, tell)


def name(settings: Mapping[str, Any], built: Built) -> str:
    """What a run is called."""
    return f"{settings['model']['family']} {built.name} seed {settings['seed']}"


@contextmanager
def shown() -> Iterator[tuple[Console, Callable[..., None]]]:
    """A console, and a function that is given what is being done and, perhaps, the share of it that is done.

    Nothing moves where several processes would write over each other's lines, as in a sweep by joblib."""
    console = Console(stderr=True)
    with RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=multiprocessing.current_process().name != "MainProcess",
    ) as progress:
        step = progress.add_task("building the dataset", total=None)

        def tell(text: str, share: float | None = None) -> None:
            progress.update(step, description=text, total=None if share is None else 1.0, completed=share or 0.0)

        yield console, tell


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps what it needs to go on: a folder of its own for each configuration and dataset."""

    folder: Path

    @classmethod
    def of(cls, settings: Mapping[str, Any], built: Built) -> Checkpoints:
        """The folder that belongs to these settings and this data, beside the runs."""
        own = {key: settings[key] for key in ("model", "tracking", "seed")}
        text = json.dumps([own, built.sha256], sort_keys=True, default=str)
        return cls(home() / "checkpoints" / hashlib.sha256(text.encode()).hexdigest()[:16])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep them to this process: those of two trainings of the same would get mixed up."""
        make_folder(self.folder.parent)
        taken = (
            f"{self.folder}: these settings are being trained on this data, with this seed, by another process. "
            "Wait for it, or give another seed."
        )
        with claimed(self.folder.with_suffix(".lock"), taken):
            yield

    def begin(self, resume: bool) -> str | None:
        """The run to go on with, or None for a new one; checkpoints that are not gone on from are deleted."""
        try:
            found = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))["run_id"] if resume else None
        except (OSError, ValueError, KeyError, TypeError):
            found = None
        if found is None or not tracking.unfinished(found):
            self.clear()
            return None
        return str(found)

    def remember(self, run_id: str) -> None:
        """Note which run the checkpoints belong to."""
        make_folder(self.folder)
        write_text(self.folder / "run.json", json.dumps({"run_id": run_id}))

    def clear(self) -> None:
        """Delete them."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _evaluate(run_id: str, split: str, frame: Any, model: Model) -> Evaluation:
    predictions = model.predict(frame["sentence"].tolist(), frame["heading"].tolist())
    table = evaluation.table(frame, predictions, model.taxonomy)
    result = evaluation.evaluate(table, model.taxonomy)
    tracking.log_evaluation(run_id, split, result, model.taxonomy)
    if split != "train":
        tracking.log_predictions(split, table)
    return result


def _test_behaviour(run_id: str, model: Model) -> None:
    """Put the model to the behaviour tests, where its taxonomy has the labels that they name."""
    cases = behaviour.read()
    if behaviour.fits(model.taxonomy, cases):
        tracking.log_behaviour(run_id, behaviour.check(model, cases))


def _speed(model: Model, sentences: list[str]) -> float:
    """Sentences a second in batches of 32, for the comparison of cost; a timing, so only roughly."""
    sample = (sentences * (1 + 320 // max(1, len(sentences))))[:320]
    begun = time.perf_counter()
    for start in range(0, len(sample), 32):
        model.predict(sample[start : start + 32])
    return len(sample) / (time.perf_counter() - begun)


def report(outcome: Outcome, settings: Mapping[str, Any]) -> None:
    """Print what a run came to: figures with intervals, where things are, what to try next."""
    out = Console(highlight=False, soft_wrap=True, markup=False)
    out.print(f"run {outcome.run_id} on data={settings['data']['name']}, registered as {outcome.version}")
    for metric in evaluation.METRICS:
        figures = "   ".join(
            f"{split} {result.metrics[metric]}"
            for split, result in (("validation", outcome.validation), ("test", outcome.test))
        )
        out.print(f"  {metric:26} {figures}")
    if outcome.decision is not None:
        state = "champion" if outcome.decision.promoted else "not promoted"
        out.print(f"{state}: {outcome.decision.reason}")
    out.print(f"store: {store_uri(settings['tracking']['uri'])}")


def close_sweep(status: str) -> None:
    """End the parent run of a sweep that did not come to its end."""
    parent = os.environ.pop(tracking.PARENT_VARIABLE, None)
    if parent:
        MlflowClient().set_terminated(parent, status)


def _run(config: DictConfig) -> float | None:
    """Hydra's task: returns the validation macro-F1, so that a sweeper can optimise it."""
    try:
        settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        if settings["sweep"]:
            return _search(config)
        if cores.rank():
            join(settings)
            return None
        outcome = train(settings)
        report(outcome, settings)
    except FindingsError as error:
        if "SUBMITIT_EXECUTOR" in os.environ:  # a job of its own, which hands its error back
            raise CompactHydraException(str(error)) from None
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    return outcome.validation.metrics["finding_macro_f1"].value


def _search(config: DictConfig) -> float | None:
    """A search instead of a run: returns its best figure."""
    try:
        from findings import search
    except ModuleNotFoundError as error:
        raise FindingsError(f"sweep={config.sweep.name}: {error.name} is missing. Run `pip install optuna`.") from error
    hydra_config = HydraConfig.get()
    given = [o for o in hydra_config.overrides.task if not o.lstrip("+~").startswith(("model=", "sweep"))]
    found = search.search(config, [f"model={hydra_config.runtime.choices['model']}", *given])
    search.report(found)
    return found.best.value if found.best else None


def _build(config: DictConfig) -> None:
    """Hydra's task of `findings data build`."""
    try:
        settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        console = Console(stderr=True)
        with console.status("building the dataset") as status:
            built = build_dataset(settings, status.update)
        written = dataset.write(built, _written_to(settings["data"]))
    except (FindingsError, OSError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    for note in built.notes:
        print(note, file=sys.stderr)
    for path, count in zip(written, built.counts.values(), strict=True):
        print(f"{path}: {count} sentences")
    print(f"SHA-256 {built.sha256}")


config.store()
_main = hydra.main(version_base="1.3", config_path="pkg://findings.conf", config_name="train")
app = _main(_run)
data_app = _main(_build)
