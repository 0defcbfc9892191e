import os
import shlex
import signal
import subprocess
import time
from contextlib import contextmanager

import mlflow
import pytest
import torch
from conftest import COMMAND
from encoders import write_ground
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from findings import config, search, training
from findings.errors import FindingsError
from findings.transformer import CHECKPOINT

QUICK = ["model.epochs=3", "model.batch_size=16", "~sweep.parameters.epochs"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A corpus and a tiny encoder, as overrides; one thread, as small tensors want it."""
    overrides = write_ground(tmp_path_factory.mktemp("ground"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield ["sweep=minilm_search", *overrides]
    torch.set_num_threads(before)


@contextmanager
def at(folder):
    """This process in a folder, with its own store there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        yield


def searched(overrides, folder):
    """Search in a folder as the command does."""
    with at(folder):
        return search.search(config.load(overrides), [o for o in overrides if not o.lstrip("~+").startswith("sweep")])


def study_of(overrides, folder):
    """The study of such a search, made if need be."""
    with at(folder):
        composed = config.load(overrides)
        settings, sweep = search.changed(composed, {}), OmegaConf.to_container(composed.sweep)
        place = search._folder(sweep, settings, training.build_dataset(settings))
        return search.Study.open(place, sweep["trials"], settings["seed"], {})


def client_of(folder):
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    return mlflow.MlflowClient(uri, registry_uri=uri)


def runs_of(folder):
    """The parent's run, and its children by the number of their trial, as their names have it."""
    client = client_of(folder)
    runs = client.search_runs([client.get_experiment_by_name("findings").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    numbered = {int(run.info.run_name.rpartition(" trial ")[2]): run for run in children}
    assert len(numbered) == len(children)  # a trial that was tried again goes on in its run
    return parent, numbered


# What is searched --------------------------------------------------------------------------------


def test_a_setting_is_searched_as_what_it_is():
    space = search.space(config.load(["sweep=minilm_search"]))
    assert space["epochs"] == IntDistribution(3, 8)
    assert space["learning_rate"] == FloatDistribution(1e-4, 1e-3, log=True)
    assert space["heading_dropout"] == FloatDistribution(0.2, 0.6)
    assert space["class_weight"] == CategoricalDistribution([None, "balanced"])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sweep.trials=0", "sweep.trials=0: give 1 or more"),
        ("model.teachers=[champion]", "a search learns from labels alone"),
        ("sweep.name='../up'", "sweep.name=../up: give letters"),
        ("sweep.metrics=[accuracy]", "give one or more of finding_macro_f1, themes_micro_f1"),
        ("sweep.metrics=[]", "give one or more of finding_macro_f1"),
        ("+sweep.parameters.C={low:1,high:2}", "sweep.parameters.C: the model has no such setting. Choose from: name"),
        ("+sweep.parameters.family={choices:[minilm]}", "sweep.parameters.family: the model has no such setting"),
        ("+sweep.parameters.patience={low:1}", "sweep.parameters.patience: give either low and high, or choices"),
        ("+sweep.parameters.patience={low:1,high:2,choices:[1]}", "give either low and high, or choices"),
        ("+sweep.parameters.patience={low:0,high:2}", "model.patience=0: out of range"),
        ("+sweep.parameters.patience={low:3,high:2}", "sweep.parameters.patience: "),
        ("+sweep.parameters.patience={low:1,hihg:2}", "sweep.parameters.patience: "),
        ("+sweep.parameters.patience={low:few,high:2}", "sweep.parameters.patience: "),
        ("+sweep.parameters.patience=3", "sweep.parameters.patience: "),
        ("+sweep.parameters.patience={choices:[1,some]}", "sweep.parameters.patience: Value 'some'"),
        ("+sweep.parameters.heading_noise={low:0.0,high:0.9,log:true}", "sweep.parameters.heading_noise: "),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(override, told):
    with pytest.raises(FindingsError) as caught:
        search.space(config.load(["sweep=minilm_search", override]))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_search_is_refused():
    composed = config.load(["sweep=minilm_search"])
    OmegaConf.update(composed, "sweep.parameters", {}, merge=False)
    with pytest.raises(FindingsError, match="there is nothing to search"):
        search.space(composed)


def test_the_first_trial_is_the_settings_as_they_are():
    composed = config.load(["sweep=minilm_search", "model.epochs=30", "model.theme_weight=9"])
    first = search.as_they_are(composed, search.space(composed))
    assert first["learning_rate"] == composed.model.learning_rate
    assert "epochs" not in first
    assert "theme_weight" not in first


def test_values_can_be_said_again():
    assert search.rounded({"a": 0.00031234567, "b": 5, "c": None}) == {"a": 0.000312, "b": 5, "c": None}


# A search ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(ground, tmp_path_factory):
    """A search of three trials: its overrides, its folder, what it came to."""
    folder = tmp_path_factory.mktemp("search")
    overrides = [*ground, *QUICK, "sweep.trials=3"]
    return overrides, folder, searched(overrides, folder)


def test_trials_are_runs_under_one_parent(done):
    _, folder, found = done
    parent, children = runs_of(folder)
    assert parent.info.run_id == found.run_id
    assert parent.info.run_name.startswith("search minilm_search")
    assert sorted(children) == [0, 1, 2]
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    assert {run.data.tags["search.state"] for run in children.values()} == {"complete"}
    assert found.states == {"complete": 3}


def test_trials_are_judged_on_validation_and_nothing_is_registered(done):
    _, folder, found = done
    _, children = runs_of(folder)
    for run in children.values():
        names = set(run.data.metrics)
        assert {"epoch/finding_macro_f1", "search/finding_macro_f1", "search/value"} <= names
        assert not any("test" in name for name in names)
        both = [run.data.metrics[f"search/{name}"] for name in ("finding_macro_f1", "themes_micro_f1")]
        assert run.data.metrics["search/value"] == pytest.approx(sum(both) / 2)
    values = {number: run.data.metrics["search/value"] for number, run in children.items()}
    assert found.best.value == pytest.approx(max(values.values()))
    assert children[found.best.number].info.run_id == found.best.run_id
    assert not client_of(folder).search_registered_models()
    assert not list(folder.glob("mlruns/searches/*/trial-*/"))


def test_the_best_settings_can_be_pasted(done, capsys):
    _, folder, found = done
    search.report(found)
    told = capsys.readouterr().out
    assert "trials: 3 complete" in told
    pasted = shlex.split(told.splitlines()[-1])
    assert pasted[:2] == ["findings", "train"]
    model = config.load(pasted[2:]).model
    params = runs_of(folder)[1][found.best.number].data.params
    assert {f"model.{name}": str(value) for name, value in model.items()}.items() <= params.items()
    assert params["model.epochs"] == "3"


def test_trials_differ_and_the_first_is_the_settings_as_they_are(done):
    overrides, folder, _ = done
    rates = [float(run.data.params["model.learning_rate"]) for _, run in sorted(runs_of(folder)[1].items())]
    assert rates[0] not in rates[1:]  # the encoder's own, 3e-5, is outside what is searched
    assert len(set(rates)) == 3
    dropouts = {number: run.data.params["model.heading_dropout"] for number, run in runs_of(folder)[1].items()}
    assert float(dropouts[0]) == config.load(overrides).model.heading_dropout


def test_the_same_command_goes_on(done):
    overrides, folder, found = done
    again = searched(overrides, folder)
    assert again == found
    more = searched([*overrides[:-1], "sweep.trials=4"], folder)
    parent, children = runs_of(folder)
    assert more.run_id == found.run_id
    assert parent.info.status == "FINISHED"
    assert len(children) == 4


def test_another_search_is_another_study(ground, tmp_path):
    one, other = study_of([*ground, "sweep.trials=3"], tmp_path), study_of([*ground, "seed=2"], tmp_path)
    assert one.folder != other.folder
    assert study_of([*ground, "sweep.trials=9"], tmp_path).folder == one.folder


def test_a_trial_that_is_worse_than_most_is_pruned(ground, tmp_path):
    overrides = [*ground, *QUICK, "sweep.trials=6"]
    study = study_of(overrides, tmp_path)
    space = search.space(config.load(overrides))
    params = {name: d.choices[0] if isinstance(d, CategoricalDistribution) else d.high for name, d in space.items()}
    curve = dict.fromkeys((1, 2, 3), 0.999)
    for number in range(5):
        earlier = {"run_id": f"earlier-{number}"}
        study.optuna.add_trial(
            create_trial(params=params, distributions=space, value=0.999, intermediate_values=curve, user_attrs=earlier)
        )
    found = searched(overrides, tmp_path)
    assert found.states == {"complete": 5, "pruned": 1}
    _, children = runs_of(tmp_path)
    (run,) = children.values()
    assert run.data.tags["search.state"] == "pruned"
    assert run.info.status == "FINISHED"
    assert "search/value" not in run.data.metrics
    steps = client_of(tmp_path).get_metric_history(run.info.run_id, "epoch/finding_macro_f1")
    assert max(metric.step for metric in steps) == 2


# Interruption ------------------------------------------------------------------------------------


@contextmanager
def started(overrides, folder, times):
    """The same command so many times at once, all of them ended in the end."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    processes = [
        subprocess.Popen(
            [str(COMMAND), "train", *overrides],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(times)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def at_work(folder):
    """The trials that have a checkpoint. A process has one trial at a time and deletes what it has of it
    at its end: of two trials at once each is another process's."""
    return {path.parent.parent.name for path in folder.glob(f"mlruns/searches/*/trial-*/checkpoint-*/{CHECKPOINT}")}


@pytest.fixture(scope="module")
def interrupted(ground, tmp_path_factory):
    """Two processes of one search in the middle of a trial each, the first of them killed, then the other
    stopped by Ctrl-C: the folder, the overrides, the status and the words of the second."""
    folder = tmp_path_factory.mktemp("interrupted")
    length = ["model.epochs=24", "model.patience=24", "model.checkpoint_steps=5", "~sweep.parameters.epochs"]
    overrides = [*ground, *length, "model.batch_size=8", "sweep.trials=30"]
    with started(overrides, folder, 2) as (first, second):
        deadline = time.monotonic() + 300
        while len(at_work(folder)) < 2:
            for process in (first, second):
                assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.kill()
        first.wait()
        second.send_signal(signal.SIGINT)
        told = second.communicate(timeout=240)[1]
        status = second.returncode
    return folder, overrides, status, told


def test_ctrl_c_ends_a_search_cleanly(interrupted):
    folder, _, status, told = interrupted
    assert status == 130, told
    assert "Traceback" not in told
    parent, children = runs_of(folder)
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in children.values()} <= {"FINISHED", "KILLED", "RUNNING"}


def test_trials_that_were_cut_off_are_tried_again_from_where_they_were(interrupted):
    folder, overrides, _, _ = interrupted
    study = study_of(overrides, folder)
    cut = study.optuna.get_trials(states=(TrialState.RUNNING,))
    assert 1 <= len(cut) <= 2
    ended = len(study.optuna.trials) - len(cut) - study.states()[TrialState.WAITING]
    before = {trial.user_attrs["run_id"] for trial in cut}
    found = searched([*overrides[:-1], f"sweep.trials={ended + len(cut)}"], folder)
    assert found.states["fail"] == len(cut)
    assert found.states.get("complete", 0) + found.states.get("pruned", 0) == ended + len(cut)
    parent, children = runs_of(folder)
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    for run in children.values():
        assert run.data.tags["search.state"] in ("complete", "pruned")
    again = [trial for trial in study.optuna.trials if "origin" in trial.user_attrs]
    assert {trial.user_attrs["run_id"] for trial in again} == before
    assert {trial.user_attrs["cuts"] for trial in again} <= {0, 1}
    for trial in again:  # it did not begin anew: the first epochs were not trained a second time
        assert min(trial.intermediate_values) > 0
    assert not list(folder.glob("mlruns/searches/*/trial-*/"))


def test_a_trial_that_is_always_cut_off_is_given_up(ground, tmp_path):
    overrides = [*ground, *QUICK, "sweep.trials=1"]
    study = study_of(overrides, tmp_path)
    space = search.space(config.load(overrides))
    for _ in range(search.CUTS):
        study.retry()
        study.optuna.ask(space)  # by a process that holds no lock: it is no more
    study.retry()
    assert study.states() == {TrialState.FAIL: search.CUTS}
