"""Training by several processes, as torchrun starts them: with gloo on the cores of this machine."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import mlflow
import psutil
import pytest
from conftest import command
from encoders import QUICK_LEARNER, write_ground

from findings.transformer import CHECKPOINT


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    ground = write_ground(tmp_path_factory.mktemp("ground"))
    return ["train", *ground, *QUICK_LEARNER, "model.epochs=16", "model.patience=16"]


# findings, which fails where the group of processes is ended before what shares the gradients among them:
# the other way round a process may, once in some fifty trainings, wait for itself for ever.
WATCHED = """
import gc, sys
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from findings.cli import main

end = distributed.destroy_process_group

def watched():
    assert not [each for each in gc.get_objects() if isinstance(each, DistributedDataParallel)]
    end()

distributed.destroy_process_group = watched
sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def together(arguments, folder, program=("-m", "findings")):
    """torchrun with two processes, ended in the end with those that it started."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS")}
    torchrun = [sys.executable, *"-m torch.distributed.run --standalone --nproc-per-node 2".split()]
    process = subprocess.Popen(
        [*torchrun, *program, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        started = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
        for each in started:
            each.kill()
        process.communicate()


def runs(folder):
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, registry_uri=uri)  # else the registry that another test has set
    return client, client.search_runs([client.get_experiment_by_name("findings").experiment_id])


@pytest.fixture(scope="module")
def broken(training, tmp_path_factory):
    """A training of which the second process is killed after the first checkpoint: its folder and status."""
    folder = tmp_path_factory.mktemp("together")
    deadline = time.monotonic() + 300
    with together(training, folder) as process:
        while not list(folder.glob(f"mlruns/checkpoints/*/checkpoint-*/{CHECKPOINT}")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ranks = {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}
        assert set(ranks) == {"0", "1"}
        os.kill(ranks["1"].pid, signal.SIGKILL)
        process.communicate(timeout=240)
        status = process.returncode
    return folder, status


def test_the_loss_of_a_process_ends_the_training(broken):
    folder, status = broken
    assert status != 0
    _, (run,) = runs(folder)
    assert run.info.status != "FINISHED"
    assert list(folder.glob(f"mlruns/checkpoints/*/checkpoint-*/{CHECKPOINT}"))


def test_two_processes_train_one_model_and_the_first_alone_tells_and_tracks(broken, training):
    folder, _ = broken
    (folder / "watched.py").write_text(WATCHED, encoding="utf-8")
    with together([*training, "resume=true"], folder, ["watched.py"]) as process:
        told, warned = process.communicate(timeout=400)
        assert process.returncode == 0, warned
    client, (run,) = runs(folder)  # both trainings and both processes: one run
    assert run.info.status == "FINISHED"
    assert told.count("registered as findings version") == 1
    assert told.count(f"run {run.info.run_id}") == 1
    # The broken training may have come as far as its own registration.
    assert {version.run_id for version in client.search_model_versions("name='findings'")} == {run.info.run_id}
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "epoch/finding_macro_f1")]
    assert max(steps) == 16
    assert run.data.metrics["train/finding_macro_f1"] > 0.5
    assert run.data.params["model.batch_size"] == "8"
    assert not list(folder.glob("mlruns/checkpoints/*"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-m", "seed=1,2"], "torchrun trains one run at a time"),
        (["sweep=minilm_search"], "torchrun trains one run at a time"),
        (["model=tfidf"], "model=tfidf trains in one process"),
    ],
)
def test_what_is_not_for_several_processes_is_refused(arguments, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = command("train", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "mlruns").exists()


# The processes of a sweep ------------------------------------------------------------------------


@pytest.fixture
def small(training):
    return ["data=local", "model.characters=3", "model.words=1", *(a for a in training if a.startswith("data.folder="))]


def test_runs_of_a_sweep_in_processes_share_a_fresh_store(small, tmp_path):
    done = command("train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    client, found = runs(tmp_path)
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.data.params["seed"] for run in children) == ["1", "2"]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert len(client.search_model_versions("name='findings'")) == 2


def test_a_job_that_fails_is_told_without_a_traceback_and_the_others_are_kept(small, tmp_path):
    good = small.pop()
    done = command("train", "-m", "hydra/launcher=submitit_local", *small, f"{good},/nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "/nowhere/documents.csv: no such file" in done.stderr
    assert "Traceback" not in done.stderr
    parent, child = sorted(runs(tmp_path)[1], key=lambda run: "mlflow.parentRunId" in run.data.tags)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (parent.info.status, child.info.status) == ("FAILED", "FINISHED")
    assert "data.folder=/nowhere" in done.stderr
