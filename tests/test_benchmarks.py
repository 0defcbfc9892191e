"""The benchmarks' machinery, at their smallest: what they measure here says nothing."""

import json
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import REPOSITORY, SMALL
from mlflow import MlflowClient

from findings import taxonomy, tracking

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import experiments
import inference_speed
import inference_worker
import peer_models
import peers
import runs
import training_throughput

QUESTION = "Do longer -- words help?"


@pytest.fixture(scope="module")
def bench(tmp_path_factory, store):
    """A copy of the store, to measure in: the shared one is left alone."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "mlruns").mkdir()
    with (
        closing(sqlite3.connect(store.folder / "mlruns" / "mlflow.db")) as source,
        closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as target,
    ):
        source.backup(target)
    return folder


@pytest.fixture
def here(bench, monkeypatch, corpus):
    """This process in that store; returns the settings of the dataset."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{bench / 'mlruns' / 'mlflow.db'}")
    monkeypatch.chdir(bench)
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that the peers' environment cannot be made
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return ["data=local", f"data.folder={corpus}"]


@pytest.fixture
def asked(here):
    """Two runs that ask the same question in the experiment `asked`: the store's run, and a worse one."""
    client = tracking.connect({"uri": None, "experiment": "asked"})
    (source,) = mlflow.search_runs(experiment_names=["findings"], output_format="list")
    predictions = tracking.read_predictions(source.info.run_id, "validation")
    worse = predictions.assign(predicted_finding=np.roll(predictions["predicted_finding"], 1))
    made = []
    for characters, table in (("5", predictions), ("3", worse)):
        with mlflow.start_run():
            mlflow.log_params({**source.data.params, "model.characters": characters})
            mlflow.log_metrics({k: v for k, v in source.data.metrics.items() if k.startswith(("validation/", "test/"))})
            mlflow.set_tag("question", QUESTION)
            tracking.log_predictions("validation", table)
            made.append(mlflow.active_run().info.run_id)
    yield made
    for run_id in made:
        client.delete_run(run_id)


def started(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


# Measurements as runs ----------------------------------------------------------------------------


def test_what_was_measured_is_found_again_under_the_same_settings_only(here):
    done = []

    def work(folder):
        done.append(1)
        (folder / "said.txt").write_text("twelve")
        return {"seconds": 12.0}

    first = runs.measured("counting", {"to": 12}, work, again=False)
    second = runs.measured("counting", {"to": 12}, work, again=False)
    assert (len(done), second.run_id, second.figures) == (1, first.run_id, {"seconds": 12.0})
    assert (second.files / "said.txt").read_text() == "twelve"
    assert runs.measured("counting", {"to": 13}, work, again=False).run_id != first.run_id
    assert runs.measured("counting", {"to": 12}, work, again=True).run_id != first.run_id
    assert len(done) == 3


def test_what_was_interrupted_is_measured_again(here):
    def work(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.measured("interrupted", {}, work, again=False)
    assert runs.measured("interrupted", {}, lambda folder: {"done": 1.0}, again=False).figures == {"done": 1.0}


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (runs.FindingsError("no"), 1)])
def test_a_benchmark_ends_with_a_status_and_without_a_traceback(raised, code):
    def work():
        raise raised

    with pytest.raises(SystemExit) as stopped:
        runs.run(work)
    assert stopped.value.code == code


def test_a_bar_is_met_or_not():
    assert runs.bar("ratio", 7.0, 7).endswith("met")
    assert runs.bar("ratio", 6.99, 7).endswith("NOT met")
    assert runs.bar("share", 0.23, 0.22, most=True).endswith("NOT met")


# Peers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def task(corpus, tmp_path_factory):
    """The corpus as a peer sees it."""
    from findings import dataset

    labels = taxonomy.load()
    built = dataset.build(corpus, name="local", source="local", taxonomy=labels)
    folder = peers.write(built.rows, labels, tmp_path_factory.mktemp("task"))
    return peer_models.read(folder, str(runs.tiny_encoder()), small=True)


@pytest.mark.parametrize("name", ["svm", "frozen", "trainer"])
def test_a_peer_answers_every_sentence(task, name):
    answer = peer_models.PEERS[name](task)
    assert len(answer.findings) == len(answer.themes) == len(task.test)
    assert set(answer.findings) <= set(range(4))
    assert {len(row) for row in answer.themes} == {13}
    assert {cell for row in answer.themes for cell in row} <= {0, 1}
    assert answer.seconds > 0
    assert answer.seen > 0


def test_the_support_vectors_have_learnt(task):
    answer = peer_models.svm(task)
    rows = peer_models.svm(replace(task, test=task.train))
    assert np.mean(np.array(rows.findings) == task.train_findings) > 0.95
    assert len(set(answer.findings)) > 2


def test_ours_and_peers_in_one_table(here, monkeypatch, capsys):
    arguments = [*here, *SMALL, "--small", "--ours", "tfidf", "--peers", "svm", "lexicon"]
    started(peers, monkeypatch, *arguments)
    out, err = capsys.readouterr()
    assert "findings train" not in err
    lines = [line.split("|") for line in out.splitlines() if line.startswith("| ours") or "SVM" in line]
    titles = ["ours, TF-IDF", "ours, TF-IDF, sentence alone", "scikit-learn, TF-IDF and linear SVM"]
    assert [line[1].strip() for line in lines] == titles
    ours, alone, svm = ([float(cell.split()[0]) if cell.strip() else None for cell in line[2:8]] for line in lines)
    assert ours[2:] == alone[2:] == [None] * 4
    assert svm[2:] == pytest.approx([base[i] - svm[i] for base in (ours, alone) for i in (0, 1)], abs=0.0015)
    low, high = (float(part) for part in lines[2][2].split("[")[1].rstrip("] ").split(","))
    assert 0 < low <= svm[0] <= high <= 1
    assert "left out: polarity lexicon (VADER): the peers' environment cannot be made" in out
    assert "peer svm: measuring" in err
    started(peers, monkeypatch, *arguments)
    again = capsys.readouterr()
    assert again.out == out
    assert "peer svm: measured before" in again.err


# Speed -------------------------------------------------------------------------------------------


def test_training_is_timed_in_rounds(here, monkeypatch, capsys):
    started(training_throughput, monkeypatch, *here, "--small")
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:-1]
        for line in capsys.readouterr().out.splitlines()
        if "|" in line
    }
    rates = {name: float(rows[name][0]) for name in ("ours", "`run_classification`, batches of 8")}
    assert all(rate > 0 for rate in rates.values())
    ratio = float(rows["ours over batches of 8"][0])
    assert ratio == pytest.approx(rates["ours"] / rates["`run_classification`, batches of 8"], rel=0.1)


def test_contestants_answer_by_turns(here, monkeypatch, capsys, tmp_path):
    started(inference_speed, monkeypatch, *here, "--small", "--contestants", "ours", "setfit")
    out, err = capsys.readouterr()
    (line,) = (line for line in out.splitlines() if line.startswith("| ours,"))
    assert "1.00 times as fast" in line
    assert out.count("aimed for") == 2
    assert "8 bits" in out
    assert "left out: SetFit's predict" in out
    (run_id,) = (line.split()[1] for line in err.splitlines() if line.startswith("run "))
    fitted = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="fitted", dst_path=str(tmp_path))
    logits = inference_worker.eager(Path(fitted), 256)(["Staff are well supported.", "No."])
    assert [part.shape for part in logits] == [(2, 4), (2, 13)]


def test_a_contestant_that_fails_is_named(tmp_path):
    sentences = tmp_path / "sentences.json"
    sentences.write_text(json.dumps(["One."]))
    broken = inference_speed.Contestant("broken", "a broken one", "ours", tmp_path)
    with pytest.raises(runs.FindingsError, match=r"a broken one: .*manifest"):
        inference_speed.Worker(broken, sentences)


def test_multiplications_are_those_of_the_matrices():
    shape = {"num_hidden_layers": 2, "hidden_size": 3, "intermediate_size": 5}
    length, total = 7, 0
    for _ in range(2):
        total += sum(np.prod(size) for size in [(length, 3, 3)] * 4 + [(length, 3, 5), (length, 5, 3)])
        total += 2 * length * length * 3
    assert inference_speed.multiplications(shape, length) == total


# The record of experiments -----------------------------------------------------------------------


def test_questions_become_tables_and_words_stay(asked, tmp_path, monkeypatch, capsys):
    record = tmp_path / "experiments.md"
    record.write_text(
        "# Experiments\n\nBy hand.\n\n<!-- runs: Another? -->\n| kept |\n<!-- end of runs -->\n\nDecided.\n"
    )
    started(experiments, monkeypatch, record, "--experiments", "asked", "findings")
    text = record.read_text()
    assert "| kept |" in text
    assert "left as it is, its runs are not in this store: Another?" in capsys.readouterr().err
    assert "## Do longer – words help?" in text
    lines = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in lines[1][1:3]] == ["characters", "seed"]
    assert [line[1].strip() for line in lines[3:]] == ["5", "3"]
    assert lines[3][5].strip() == ""
    assert lines[4][5].strip().startswith("-0.")
    metrics = MlflowClient().get_run(asked[1]).data.metrics
    assert f"{metrics['validation/finding_macro_f1']:.3f} [" in lines[4][3]
    assert lines[4][-2].strip() == f"`{asked[1][:8]}`"
    record.write_text(text.replace(experiments.OPEN, "**Decision.** Four."))
    started(experiments, monkeypatch, record, "--experiments", "asked", "findings")
    assert record.read_text() == text.replace(experiments.OPEN, "**Decision.** Four.")


def test_seeds_of_a_setting_have_a_median(asked):
    found = experiments.asked(["asked"])["Do longer – words help?"]
    for run, seed in zip(found, ("1", "2"), strict=True):
        run.data.params.update({"model.characters": "3", "seed": seed})
    lines = experiments.table(found, taxonomy.load()).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["1", "2", "median of 2"]


def test_a_store_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(runs.FindingsError, match="no store there"):
        experiments.asked(["findings"])
