"""One training run from its configuration: dataset → model → evaluation → tracking → registry."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from mlflow import MlflowClient
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from findings import config, dataset, evaluation, models, registry, reports, serving, standoff, taxonomy, tracking
from findings.dataset import Built
from findings.errors import FindingsError
from findings.evaluation import Evaluation
from findings.models import Model
from findings.registry import Decision, Version
from findings.store import store_uri


@dataclass(frozen=True)
class Outcome:
    """What a training run came to."""

    run_id: str
    version: Version
    validation: Evaluation
    test: Evaluation
    decision: Decision | None


def build_dataset(settings: Mapping[str, Any], tell: Callable[[str], object] = str) -> Built:
    """The dataset that a configuration names, checked; `tell` is told what is being done."""
    labels = taxonomy.from_dict(settings["taxonomy"])
    data = settings["data"]
    name, source = data["name"], data["source"]
    folder = _folder(data)
    if "reports" not in data:
        return dataset.build(folder, name=name, source=source, taxonomy=labels)
    marks = Path(data.get("standoff") or standoff.default_folder()) if "standoff" in data else folder
    pdfs = Path(data["reports"] or standoff.reports_folder(marks))
    if "standoff" in data:
        return dataset.build_all(folder, marks, pdfs, name=name, taxonomy=labels, tell=tell)
    return dataset.build_standoff(folder, pdfs, name=name, source=source, taxonomy=labels, tell=tell)


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

    Raises:
        FindingsError: the dataset is not sound, or the store does not answer.
    """
    console = Console(stderr=True)
    with console.status("building the dataset") as status:
        built = build_dataset(settings, status.update)
        for note in built.notes:
            console.print(note, highlight=False, markup=False, soft_wrap=True)
        models.build(settings["model"], built.taxonomy, int(settings["seed"]))  # settings out of range end here
        status.update("opening the store")
        tracking.connect(settings["tracking"])
        family, seed = settings["model"]["family"], int(settings["seed"])
        name = f"{family} {built.name} seed {seed}"
        with tracking.run(name) as run:
            run_id = run.info.run_id
            tracking.log_start(run_id, settings, built)
            status.update(f"training {family} on {built.counts['train']} sentences")
            examples = {split: models.examples(frame, built.taxonomy) for split, frame in built.rows.items()}
            begun = time.perf_counter()
            model = models.train(settings["model"], examples["train"], examples["validation"], built.taxonomy, seed)
            seconds = time.perf_counter() - begun
            evaluations: dict[str, Evaluation] = {}
            for split, frame in built.rows.items():
                status.update(f"measuring on {split}")
                evaluations[split] = _evaluate(run_id, split, frame, model)
            status.update("storing the model")
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / serving.ARTIFACT
                models.save(model, folder)
                size = sum(file.stat().st_size for file in folder.rglob("*"))
                tracking.log_cost(run_id, seconds, _speed(model, examples["test"].sentences), size)
                info = serving.log(folder)
            version = registry.register(settings["tracking"]["model"], info.model_uri, run_id, name)
            decision = None
            if registry.crown_first(version):
                decision = Decision(True, "there was no champion yet")
            elif settings["promote"]:
                status.update("comparing with the champion")
                decision = registry.promote(version)
    return Outcome(run_id, version, evaluations["validation"], evaluations["test"], decision)


def _evaluate(run_id: str, split: str, frame: Any, model: Model) -> Evaluation:
    predictions = model.predict(frame["sentence"].tolist(), frame["heading"].tolist())
    table = evaluation.table(frame, predictions, model.taxonomy)
    result = evaluation.evaluate(table, model.taxonomy)
    tracking.log_evaluation(run_id, split, result, model.taxonomy)
    if split != "train":
        tracking.log_predictions(split, table)
    return result


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


def _run(config: DictConfig) -> float:
    """Hydra's task: returns the validation macro-F1, so that a sweeper can optimise it."""
    try:
        settings: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        outcome = train(settings)
        report(outcome, settings)
    except FindingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    return outcome.validation.metrics["finding_macro_f1"].value


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
