import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import corpora
import mlflow
import pytest
from conftest import COMMAND, SMALL, command

HEAVY = ("mlflow", "torch", "transformers", "sklearn", "pandas", "datasets", "hydra", "cleanlab", "pyarrow", "pyspark")


def test_help_names_every_verb_and_imports_nothing_heavy(tmp_path):
    done = command("--help", cwd=tmp_path)
    assert done.returncode == 0
    for verb in ("train", "data", "annotate", "compare", "promote", "read", "score", "serve"):
        assert verb in done.stdout
    code = f"import sys; import findings.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    seen = subprocess.run([str(COMMAND.with_name("python")), "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


VERBS = ["compare", "promote", "read", "score", "serve", "data check", "data fetch"] + [
    f"annotate {verb}" for verb in ("standoff", "export", "import", "queue", "agreement", "disagreements", "audit")
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, tmp_path):
    done = command(*verb.split(), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "example: findings" in done.stdout


def test_train_help_shows_groups_and_settings(tmp_path):
    done = command("train", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tfidf" in done.stdout
    assert "heading_dropout" in done.stdout


def test_cfg_job_prints_the_settings(tmp_path):
    done = command("train", "--cfg", "job", "seed=9", cwd=tmp_path)
    assert "seed: 9" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("findings tr", "train"),
        ("findings train mod", "model="),
        ("findings train model=t", "model=tfidf"),
        ("findings data build da", "data="),
    ],
)
def test_completion(line, expected, tmp_path):
    environment = os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        [str(COMMAND), "-sc", "query=bash"], env=environment, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert expected in done.stdout.split()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sed=1"], ["sed", "seed"]),
        (["seed=abc"], ["seed=abc", "Integer"]),
        (["model=nope"], ["nope", "tfidf"]),
        (["-m", "seed=1,x"], ["seed=x"]),
        (["seed=1,2"], ["seed=1,2", "-m"]),
        (["data=local"], ["data.folder"]),
        (["model.C=-1"], ["model.C=-1"]),
        (["model.words=0"], ["model.words=0"]),
        (["data=local", "data.folder=/nowhere"], ["/nowhere/documents.csv"]),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(overrides, words, tmp_path):
    done = command("train", *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "mlruns").exists()


def test_read_without_a_store_says_what_to_do_and_makes_none(tmp_path):
    (tmp_path / "a.txt").write_text("Plans are clear.")
    done = command("read", "a.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert "findings train" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt"]


def test_read_without_a_champion_says_what_to_do(tmp_path):
    uri = f"sqlite:///{tmp_path / 'empty.db'}"
    from findings import tracking

    tracking.connect({"uri": uri, "experiment": "findings"})
    (tmp_path / "a.txt").write_text("Plans are clear.")
    done = command("read", "a.txt", cwd=tmp_path, uri=uri)
    assert done.returncode == 1
    assert "no champion" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_read_reads_the_others_and_names_the_bad_one(store, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.txt").write_text("Supervision is regular. Plans drift for too many children.")
    (folder / "also.md").write_text("# Title\n\nStaff are well supported.\n")
    (folder / "page.pdf").write_text("<!DOCTYPE html><html><body>not found</body></html>")
    done = command("read", folder, "gone.pdf", "--out", tmp_path / "out", cwd=tmp_path, uri=store.uri)
    assert done.returncode == 1
    assert "page.pdf" in done.stderr
    assert "HTML page, not a PDF" in done.stderr
    assert "gone.pdf: no such file" in done.stderr
    assert "Traceback" not in done.stderr
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == [
        f"{n}.{e}" for n in ("also", "good") for e in ("csv", "document.json", "html", "jsonl", "md", "xlsx")
    ]
    assert "findings version 1 (run " in (tmp_path / "out" / "good.html").read_text()
    rows = [json.loads(line) for line in (tmp_path / "out" / "good.jsonl").read_text().splitlines()]
    assert [row["sentence"] for row in rows] == ["Supervision is regular.", "Plans drift for too many children."]
    assert "2 of 4 documents" in done.stdout


def test_read_goes_on_where_it_was(store, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(f"Supervision is regular in team {name}.")
    arguments = ("read", folder, "--out", out)
    assert command(*arguments, cwd=tmp_path, uri=store.uri).returncode == 0
    (out / "b.document.json").unlink()  # as if stopped in the middle of b
    (folder / "c.txt").write_text("Supervision is rare in team c.")
    before = (out / "a.html").stat().st_mtime_ns
    done = command(*arguments, cwd=tmp_path, uri=store.uri)
    assert "3 of 3 documents" in done.stdout
    assert "1 of them before" in done.stdout
    assert (out / "a.html").stat().st_mtime_ns == before
    assert "rare" in (out / "c.jsonl").read_text()
    again = command(*arguments, "--again", cwd=tmp_path, uri=store.uri)
    assert "before" not in again.stdout
    assert (out / "a.html").stat().st_mtime_ns > before


def test_ctrl_c_while_reading_leaves_whole_files_and_goes_on(store, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.txt").write_text(f"Supervision is regular in team {number}.\n\n" * 60)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.uri}
    started = [str(COMMAND), "read", str(folder), "--out", str(out)]
    process = subprocess.Popen(started, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(out.glob("*.document.json"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in told
    done = len(list(out.glob("*.document.json")))
    assert 3 <= done < 60
    assert not list(out.glob(".*"))
    rest = command("read", folder, "--out", out, cwd=tmp_path, uri=store.uri)
    assert "60 of 60 documents" in rest.stdout
    assert "of them before" in rest.stdout


def test_data_check_lists_violations_with_file_and_row(corpus, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(corpus, broken)
    table = sorted((broken / "annotations").glob("*.csv"))[0]
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace("strength", "stronk").replace("concern", "stronk").replace("recommendation", "stronk")
    lines[1] = lines[1].replace(",none,", ",stronk,")
    table.write_text("\n".join(lines) + "\n")
    done = command("data", "check", broken, cwd=tmp_path)
    assert done.returncode == 1
    assert f"{table.name}:2" in done.stdout
    assert "stronk" in done.stdout
    assert command("data", "check", corpus, cwd=tmp_path).returncode == 0


def test_data_build_writes_the_splits_and_is_the_same_twice(corpus, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(corpus, folder)
    first, second = (command("data", "build", "data=local", f"data.folder={folder}", cwd=tmp_path) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert "SHA-256" in first.stdout
    assert first.stdout == second.stdout
    assert sorted(path.stem for path in folder.glob("*.jsonl")) == ["test", "train", "validation"]


def test_sweep_runs_are_nested_under_one_parent(store, tmp_path):
    settings = ["data=local", f"data.folder={store.corpus}", *SMALL]
    done = command("train", "-m", "model.C=1,10", "seed=1,2", *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    client = _client(tmp_path)
    runs = client.search_runs([client.get_experiment_by_name("findings").experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(parents) == 1
    assert sorted((r.data.params["model.C"], r.data.params["seed"]) for r in children) == [
        ("1.0", "1"),
        ("1.0", "2"),
        ("10.0", "1"),
        ("10.0", "2"),
    ]
    assert {r.info.status for r in runs} == {"FINISHED"}


def test_ctrl_c_marks_the_run_killed_and_registers_nothing(tmp_path):
    # The authored corpus, because a small one would be trained before the signal comes.
    running = subprocess.Popen(
        [str(COMMAND), "train"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    client = _client(tmp_path)
    for _ in range(600):
        time.sleep(0.2)
        assert running.poll() is None, running.communicate()
        if (tmp_path / "mlruns" / "mlflow.db").exists() and _runs(client):
            break
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert [r.info.status for r in _runs(client)] == ["KILLED"]
    assert not client.search_registered_models()


def _client(folder):
    uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
    return mlflow.MlflowClient(uri, registry_uri=uri)


def _runs(client):
    try:
        experiment = client.get_experiment_by_name("findings")
        return client.search_runs([experiment.experiment_id]) if experiment else []
    except mlflow.exceptions.MlflowException:
        return []


def test_eight_at_once_on_a_fresh_store_all_finish(store, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    settings = ["data=local", f"data.folder={store.corpus}", *SMALL]
    running = [
        subprocess.Popen(
            [str(COMMAND), "train", f"seed={seed}", *settings],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(8)
    ]
    errors = [process.communicate(timeout=500)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 8, errors
    client = _client(tmp_path)
    assert [r.info.status for r in _runs(client)] == ["FINISHED"] * 8
    assert len(client.search_model_versions("name='findings'")) == 8
    assert client.get_model_version_by_alias("findings", "champion")


def mislabelled(folder):
    """A corpus whose training sentences have each the next one's finding: what learns from it is wrong."""
    turned = {"strength": "concern", "concern": "recommendation", "recommendation": "none", "none": "strength"}
    papers = [
        replace(paper, sentences=tuple((text, turned[finding], themes) for text, finding, themes in paper.sentences))
        if paper.split == "train"
        else paper
        for paper in corpora.learnable()
    ]
    return corpora.write(folder, papers)


def test_compare_and_promote(store, tmp_path):
    """The candidate is worse beyond doubt, so that nothing hangs on which of the two is faster."""
    assert command("train", "data=local", f"data.folder={store.corpus}", *SMALL, cwd=tmp_path).returncode == 0
    worse = mislabelled(tmp_path / "mislabelled")
    assert command("train", "data=local", f"data.folder={worse}", *SMALL, cwd=tmp_path).returncode == 0
    compared = command("compare", "champion", "latest", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "finding_macro_f1" in compared.stdout
    assert "McNemar" in compared.stdout
    assert "trained on different data" in compared.stdout
    assert "would not be promoted: it is worse in finding_macro_f1" in compared.stdout
    refused = command("promote", "latest", cwd=tmp_path)
    assert refused.returncode == 3, "told apart from an error"
    assert "not promoted: it is worse in finding_macro_f1" in refused.stdout
    forced = command("promote", "2", "--force", cwd=tmp_path)
    assert forced.returncode == 0
    assert "forced" in forced.stdout
    of_champion = _client(tmp_path).get_model_version_by_alias("findings", "champion").run_id
    (predictions,) = (tmp_path / "mlruns").rglob(f"{of_champion}/artifacts/predictions")
    shutil.rmtree(predictions)
    lost = command("promote", "1", cwd=tmp_path)
    assert lost.returncode in (1, 3)
    assert "Traceback" not in lost.stderr
    forced = command("promote", "1", "--force", cwd=tmp_path)
    assert forced.returncode == 0
    assert "forced, although " in forced.stdout
    unknown = command("promote", "77", cwd=tmp_path)
    assert unknown.returncode == 1
    assert "'77'" in unknown.stderr
