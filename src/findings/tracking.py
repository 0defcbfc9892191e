"""MLflow runs: where they are kept and what each one records."""

from __future__ import annotations

import logging
import os
import platform
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import requests
from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig, OmegaConf
from sqlalchemy.exc import SQLAlchemyError

from findings import plots
from findings.behaviour import Behaviour
from findings.dataset import Built
from findings.errors import FindingsError
from findings.evaluation import Evaluation
from findings.models import Classifier
from findings.store import sqlite_path, store_uri
from findings.taxonomy import Taxonomy

PARENT_VARIABLE = "FINDINGS_PARENT_RUN"
"""Tells the runs of a sweep, which may be other processes, their parent's id."""
CARD = "model_card.md"
"""The artifact that describes a run's model."""


def quiet() -> None:
    """Turn MLflow's chatter down: what a user must know, our own messages say."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="(?s).*Inferred schema contains integer", category=UserWarning)


def connect(settings: Mapping[str, Any], *, create: bool = True) -> MlflowClient:
    """Point MLflow at the store and make store and experiment if they are not there.

    Safe for many processes at once on a fresh store: the first initialises it under a lock, in
    write-ahead mode, so that readers and writers do not shut each other out. Unless `create`,
    nothing is written: that is for verbs that only look things up.

    Raises:
        FindingsError: the store does not answer, or, unless `create`, is not there.
    """
    quiet()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = store_uri(settings["uri"])
    path = sqlite_path(uri)
    if not create and path is not None and not path.is_file():
        raise FindingsError(f"{uri}: no store there. Run `findings train` first, or set MLFLOW_TRACKING_URI to yours.")
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        if create:
            _make(uri, path, settings["experiment"])
        return MlflowClient()
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, Timeout) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise FindingsError(f"{uri}: MLflow's store cannot be used: {reason}. Check it, or name another.") from error


def _check_server(uri: str) -> None:
    """One question to a tracking server, so that what is wrong is told at once and without its address's secrets."""
    parts = urlsplit(uri)
    secrets = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if parts.username or parts.password:
        raise FindingsError(f"{parts.hostname}: its address holds a user name or password. {secrets} instead.")
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=30)
        MlflowClient(uri).search_experiments(max_results=1)
    except (requests.RequestException, MlflowException) as error:
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 0
        if status == 401 or "error code 401" in str(error):
            raise FindingsError(f"{uri}: it does not take this user name and password. {secrets} to yours.") from error
        raise FindingsError(f"{uri}: no MLflow server answers there. Check the address.") from error


def _make(uri: str, path: Path | None, experiment: str) -> None:
    with lock(uri):
        location = None  # a server has its own
        if path is not None:
            with closing(sqlite3.connect(path, timeout=60)) as database:
                database.execute("PRAGMA journal_mode=WAL")
            location = (path.parent / "artifacts" / experiment).as_uri()
        client = MlflowClient()
        if client.get_experiment_by_name(experiment) is None:
            client.create_experiment(experiment, artifact_location=location)
    mlflow.set_experiment(experiment)


def lock(uri: str) -> FileLock:
    """A lock between processes that use the same store."""
    path = sqlite_path(uri)
    folder = path.parent if path is not None else Path(tempfile.gettempdir()) / f"findings-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".findings.lock", timeout=600)


class ParentRun(Callback):
    """Hydra's multirun → one MLflow run that the sweep's runs are nested under."""

    def __init__(self) -> None:
        self.client: MlflowClient | None = None
        self.run_id = ""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        # Hydra has not merged the sweep's own choices here; tracking is the same for all of them.
        settings: Any = OmegaConf.to_container(config.tracking, resolve=True)
        self.client = connect(settings)
        overrides = " ".join(o for o in sys.argv[1:] if "=" in o)
        self.run_id = begin_parent(settings["experiment"], f"sweep {overrides}", overrides)
        os.environ[PARENT_VARIABLE] = self.run_id

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        os.environ.pop(PARENT_VARIABLE, None)
        if self.client is not None:
            children = self.client.search_runs(
                [self.client.get_run(self.run_id).info.experiment_id], f"tags.mlflow.parentRunId = '{self.run_id}'"
            )
            worst = next((s for s in ("KILLED", "FAILED") if any(c.info.status == s for c in children)), "FINISHED")
            self.client.set_terminated(self.run_id, worst)


def begin_parent(experiment: str, name: str, overrides: str, resumed: str | None = None) -> str:
    """A run for others to be nested under, without ending it; `resumed` is the id of one to go on with,
    if it is still there. Returns its id."""
    client = MlflowClient()
    if resumed is not None and _active(resumed):
        client.update_run(resumed, status="RUNNING")
        return resumed
    outer = os.environ.get(PARENT_VARIABLE)
    tags = {"overrides": overrides} | ({"mlflow.parentRunId": outer} if outer else {}) | _git_tags()
    made = client.create_run(client.get_experiment_by_name(experiment).experiment_id, run_name=name[:200], tags=tags)
    return str(made.info.run_id)


@contextmanager
def unbroken() -> Iterator[None]:
    """Hold Ctrl-C back for the length of the block; a no-op outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt


@contextmanager
def under(run_id: str) -> Iterator[None]:
    """Nest the runs that begin in the block under this one."""
    before = os.environ.get(PARENT_VARIABLE)
    os.environ[PARENT_VARIABLE] = run_id
    try:
        yield
    finally:
        os.environ.pop(PARENT_VARIABLE, None)
        if before is not None:
            os.environ[PARENT_VARIABLE] = before


def end(run_id: str, status: str) -> None:
    """End a run that is not this process's active one."""
    MlflowClient().set_terminated(run_id, status)


@contextmanager
def run(name: str, resumed: str | None = None) -> Iterator[mlflow.ActiveRun]:
    """An MLflow run that ends as FINISHED, FAILED, or, when it is stopped by Ctrl-C, KILLED; `resumed` is
    the id of one to go on with."""
    tags = {"mlflow.parentRunId": os.environ[PARENT_VARIABLE]} if os.environ.get(PARENT_VARIABLE) else {}
    try:
        if resumed:
            yield mlflow.start_run(run_id=resumed)
        else:
            yield mlflow.start_run(run_name=name, tags=tags | _git_tags())
    except KeyboardInterrupt:
        with unbroken():
            mlflow.end_run("KILLED")
        raise
    except BaseException:
        with unbroken():
            mlflow.end_run("FAILED")
        raise
    mlflow.end_run("FINISHED")


def unfinished(run_id: str) -> bool:
    """Whether there is such a run and it did not come to its end."""
    return _active(run_id) and MlflowClient().get_run(run_id).info.status != "FINISHED"


def _active(run_id: str) -> bool:
    """Whether there is such a run, and it is not deleted."""
    try:
        return bool(MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def _git_tags() -> dict[str, str]:
    """The commit of the checkout that this code is in, and whether it has been changed since; none
    for an installed package, also where its environment lies in somebody's repository."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        folder = Path(__file__).parent
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {
            "mlflow.source.git.commit": git("rev-parse", "HEAD"),
            "git.changed": str(bool(git("status", "--short"))),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def log_start(run_id: str, config: Mapping[str, Any], built: Built) -> None:
    """Record what goes in: configuration, parameters, and the dataset with its digest."""
    settings = {
        key: value
        for key, value in config.items()
        if key not in ("taxonomy", "experiment", "sweep", "resume", "promote", "question")
    }
    parameters = {**_flat(settings), "taxonomy": built.taxonomy.name}
    tags = {
        "dataset.name": built.name,
        "dataset.sha256": built.sha256,
        "model.family": str(config["model"]["family"]),
        **({"question": str(config["question"])} if config.get("question") else {}),
        "python": platform.python_version(),
        **{f"dataset.{split}": str(count) for split, count in built.counts.items()},
        **{f"dataset.{column}s": _tally(built, column) for column in ("source", "annotator", "kind")},
    }
    there = MlflowClient().get_run(run_id).data.params  # of a run that is gone on with: MLflow lets none change
    MlflowClient().log_batch(
        run_id,
        params=[Param(key, str(value)) for key, value in parameters.items() if key not in there],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    mlflow.log_dict(dict(config), "config.yaml")
    if built.notes:
        mlflow.log_text("\n".join(built.notes) + "\n", "dataset_notes.txt")
    for split, frame in built.rows.items():
        plain = frame.assign(themes=frame["themes"].str.join(" "))
        digest = f"{built.sha256[:24]}-{split[:4]}"
        dataset = mlflow.data.from_pandas(plain, name=f"{built.name}-{split}", digest=digest)
        mlflow.log_input(dataset, context={"train": "training"}.get(split, split))


def log_epoch(run_id: str, epoch: int, figures: Mapping[str, float]) -> None:
    """Record the validation figures of an epoch, as `epoch/<figure>` with the epoch as step."""
    now = int(time.time() * 1000)
    MlflowClient().log_batch(run_id, metrics=[Metric(f"epoch/{k}", v, now, epoch) for k, v in figures.items()])


def log_figures(run_id: str, figures: Mapping[str, float], tags: Mapping[str, str] = {}) -> None:
    """Record single figures, and tags beside them."""
    now = int(time.time() * 1000)
    MlflowClient().log_batch(
        run_id,
        metrics=[Metric(key, value, now, 0) for key, value in figures.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )


def log_fitted(run_id: str, fitted: Classifier, served: Classifier) -> None:
    """Record the classifier that was trained, where another form of it serves, as `fitted/`; and how the
    two compare on validation."""
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder))
        mlflow.log_artifacts(folder, "fitted")
    log_figures(run_id, {f"served/{name}": value for name, value in getattr(served, "figures", {}).items()})


def _tally(built: Built, column: str) -> str:
    """How many sentences of all splits have each value of a column, the commonest first: `a 12, b 3`."""
    counts = pd.concat([frame[column] for frame in built.rows.values()]).value_counts()
    return ", ".join(f"{value} {count}" for value, count in counts.items())


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def log_evaluation(run_id: str, split: str, evaluation: Evaluation, taxonomy: Taxonomy) -> None:
    """Record the metrics of a split with their intervals, its tables and, off training data, its plots."""
    values: dict[str, float] = {}
    for name, interval in evaluation.metrics.items():
        values |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    for prefix, frame in (("finding", evaluation.per_finding), ("theme", evaluation.per_theme)):
        for label, row in frame.iterrows():
            values |= {f"{prefix}_{label}_{column}": float(row[column]) for column in ("f1", "f1_low", "f1_high")}
    now = int(time.time() * 1000)
    MlflowClient().log_batch(run_id, metrics=[Metric(f"{split}/{key}", value, now, 0) for key, value in values.items()])
    if split == "train":
        return
    title = f"{split}: {evaluation.sentences} sentences, {evaluation.documents} documents"
    mlflow.log_figure(plots.confusion(evaluation, taxonomy, title), f"{split}/confusion.png")
    mlflow.log_figure(plots.reliability(evaluation, title), f"{split}/calibration.png")
    mlflow.log_figure(plots.themes(evaluation, taxonomy, title), f"{split}/themes.png")
    with tempfile.TemporaryDirectory() as folder:
        for name, table in {
            "findings": evaluation.per_finding.reset_index(),
            "themes": evaluation.per_theme.reset_index(),
            "slices": evaluation.slices,
            "mistakes": evaluation.mistakes,
            "reliability": evaluation.reliability,
        }.items():
            table.to_csv(Path(folder) / f"{name}.csv", index=False)
        mlflow.log_artifacts(folder, split)


def log_predictions(split: str, table: pd.DataFrame) -> None:
    """Record the table of predictions as `predictions/<split>.parquet`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{split}.parquet"
        table.to_parquet(path, index=False)
        mlflow.log_artifact(str(path), "predictions")


def read_predictions(run_id: str, split: str) -> pd.DataFrame:
    """The table of predictions that a run recorded.

    Raises:
        FindingsError: there is no such run, or it holds no predictions on that split.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            uri = f"runs:/{run_id}/predictions/{split}.parquet"
            return pd.read_parquet(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
    except (MlflowException, OSError) as error:
        raise FindingsError(f"run {run_id}: no predictions on {split} in it. Name a finished training run.") from error


def log_behaviour(run_id: str, result: Behaviour) -> None:
    """Record pass rates as metrics `behaviour/<capability>`, and the tables of rates and failures."""
    now = int(time.time() * 1000)
    metrics = [Metric(f"behaviour/{key}", value, now, 0) for key, value in result.metrics().items()]
    MlflowClient().log_batch(run_id, metrics=metrics)
    with tempfile.TemporaryDirectory() as folder:
        for name, table in (("behaviour", result.rates), ("behaviour_failures", result.failures)):
            path = Path(folder) / f"{name}.csv"
            table.to_csv(path, index=False)
            MlflowClient().log_artifact(run_id, str(path))


def log_text(run_id: str, text: str, name: str) -> None:
    """Record a text as the artifact of that name."""
    MlflowClient().log_text(run_id, text, name)


@dataclass(frozen=True)
class Record:
    """What a run recorded, as it stands in the store."""

    run_id: str
    name: str
    started: datetime
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]

    def group(self, prefix: str) -> dict[str, float]:
        """The metrics under `prefix/`, without it."""
        return {k.removeprefix(f"{prefix}/"): v for k, v in self.metrics.items() if k.startswith(f"{prefix}/")}


def read_run(run_id: str) -> Record:
    """A run's parameters, metrics and tags.

    Raises:
        FindingsError: there is no such run.
    """
    try:
        found = MlflowClient().get_run(run_id)
    except MlflowException as error:
        raise FindingsError(f"there is no run '{run_id}' in {mlflow.get_tracking_uri()}.") from error
    started = datetime.fromtimestamp(found.info.start_time / 1000, UTC)
    data = found.data
    return Record(run_id, str(found.info.run_name), started, dict(data.params), dict(data.metrics), dict(data.tags))


def read_table(run_id: str, path: str) -> pd.DataFrame:
    """A table that a run recorded as CSV; an empty one where it did not."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            uri = f"runs:/{run_id}/{path}"
            found = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
            return pd.read_csv(found, keep_default_na=False, na_values=[""])
    except (MlflowException, OSError, ValueError):
        return pd.DataFrame()


def log_cost(run_id: str, seconds: float, sentences_per_second: float, model_bytes: int) -> None:
    """Record what the model costs: training time, the process's peak memory so far (in a sweep the
    runs before count too), speed in batches, size."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # ru_maxrss is in bytes there, in KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    now = int(time.time() * 1000)
    values = {
        "cost/training_seconds": seconds,
        "cost/peak_memory_gib": peak,
        "cost/sentences_per_second": sentences_per_second,
        "cost/model_megabytes": model_bytes / 1e6,
    }
    MlflowClient().log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in values.items()])
