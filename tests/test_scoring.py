import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from conftest import COMMAND, command
from corpora import FRAMES, NEUTRAL

from findings import piles, registry, scoring, serving
from findings.errors import FindingsError

SENTENCES = [
    *(frame.replace("{x}", "pathway plans").replace("{a}", "Testbury") for some in FRAMES.values() for frame in some),
    *(text.replace("{a}", "Testbury") for text in NEUTRAL),
]
ROWS = 3 * scoring.PART + 5


@pytest.fixture(scope="module")
def model(store):
    from findings import tracking

    tracking.connect({"uri": store.uri, "experiment": "findings"}, create=False)
    return registry.load(registry.require_champion("findings"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A CSV file of more rows than three parts hold."""
    path = tmp_path_factory.mktemp("large") / "large.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["urn", "sentence"])
        writer.writerows([f"{n:06}", SENTENCES[n % len(SENTENCES)]] for n in range(ROWS))
    return path


def small(folder, sentences=SENTENCES, **columns):
    pq.write_table(pa.table({"sentence": sentences, **columns}), folder / "pile.parquet")
    return folder / "pile.parquet"


def look(path):
    return piles.look_through(path, path.parent / "out")


def test_scores_are_the_models_in_the_form_of_the_contract(model, tmp_path):
    headings = ["The impact of leaders", None, ""] * 14
    pile = look(small(tmp_path, SENTENCES, heading=headings[: len(SENTENCES)], urn=range(len(SENTENCES))))
    outcome = scoring.score(pile, model, "the champion", tmp_path / "out")
    assert outcome == scoring.Outcome(len(SENTENCES), 0, 0)
    read = ds.dataset(tmp_path / "out", format="parquet").to_table()
    assert read.column_names == ["sentence_id", "sentence", "heading", "urn", *scoring.ANSWER.names]
    assert read.schema.field("finding_probabilities").type == pa.map_(pa.string(), pa.float64())
    expected = serving.answer(model, model.predict(SENTENCES, headings[: len(SENTENCES)]))
    for name in ("finding", "themes"):
        assert read[name].to_pylist() == expected[name].tolist()
    assert np.allclose(read["finding_probability"], expected["finding_probability"])
    for name in ("finding_probabilities", "theme_probabilities"):
        for given, wanted in zip(read[name].to_pylist(), expected[name], strict=True):
            assert [key for key, _ in given] == list(wanted)
            assert [value for _, value in given] == pytest.approx(list(wanted.values()), abs=1e-6)
    assert set(read["labelled_by"].to_pylist()) == {"the champion"}
    assert read["note"].null_count == len(SENTENCES)
    assert len(pd.read_parquet(tmp_path / "out")) == len(SENTENCES)


def test_what_cannot_be_scored_has_a_note_and_no_labels(model, tmp_path):
    long = "x" * (scoring.MAX_CHARACTERS + 1)
    sentences = [None, "Plans drift.", " \t\n", long, ""]
    outcome = scoring.score(look(small(tmp_path, sentences)), model, "it", tmp_path / "out")
    assert outcome.notes == 4
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert [row["sentence"] for row in rows] == sentences
    assert [row["note"] for row in rows] == [scoring.EMPTY, None, scoring.EMPTY, scoring.TOO_LONG, scoring.EMPTY]
    for row in rows:
        answered = [row[name] is not None for name in scoring.ANSWER.names[:5]]
        assert answered == [row["note"] is None] * 5


@pytest.mark.parametrize("sentences", [[], [None, None]])
def test_a_pile_without_a_sentence_gives_as_many_rows(model, tmp_path, sentences):
    path = tmp_path / "pile.parquet"
    pq.write_table(pa.table({"sentence": pa.array(sentences, pa.string())}), path)
    scoring.score(look(path), model, "it", tmp_path / "out")
    read = pd.read_parquet(tmp_path / "out")
    assert len(read) == len(sentences)
    assert {"finding", "themes", "note"} <= set(read.columns)


def started(large, out, store):
    """`findings score` as a process of its own."""
    arguments = [str(a) for a in (COMMAND, "score", large, "--out", out, "--tracking-uri", store.uri)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=large.parent)


def wait_for(path, process):
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(f"{path} was never made")


def test_stopped_and_killed_it_goes_on_with_nothing_lost_or_doubled(large, store, model, tmp_path):
    out = tmp_path / "out"
    first = started(large, out, store)
    wait_for(out / "part-00000.parquet", first)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=120)
    assert first.returncode == 130, told
    assert "stopped" in told
    assert not list(out.glob(".*.tmp"))

    second = started(large, out, store)
    wait_for(out / "part-00001.parquet", second)
    second.kill()
    second.communicate(timeout=120)
    (out / ".part-00002.parquet.tmp").write_bytes(b"half of a part")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}

    done = command("score", large, "--out", out, cwd=tmp_path, uri=store.uri)
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} rows scored by findings version 1" in done.stdout
    assert "of them before" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert sorted(p.name for p in out.iterdir()) == [
        "_SUCCESS",
        "_scoring.json",
        *(f"part-{n:05}.parquet" for n in range(4)),
    ]
    whole = ds.dataset(out, format="parquet").to_table(columns=["sentence_id", "urn", "sentence", "finding"])
    assert whole["urn"].to_pylist() == [f"{n:06}" for n in range(ROWS)]
    assert whole["sentence_id"].to_pylist() == [f"large-{n}" for n in range(1, ROWS + 1)]
    predictions = model.predict(SENTENCES)
    labels = [model.taxonomy.finding_ids[i] for i in predictions.findings]
    assert whole["finding"].to_pylist() == [labels[n % len(SENTENCES)] for n in range(ROWS)]
    assert pq.ParquetFile(out / "part-00000.parquet").num_row_groups == scoring.PART // piles.ROWS

    by = json.loads((out / scoring.STATE).read_text())["labelled_by"]
    assert scoring.score(look(large), model, by, out) == scoring.Outcome(ROWS, ROWS, 0)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_torn_part_is_written_again(model, tmp_path):
    pile = look(small(tmp_path))
    scoring.score(pile, model, "it", tmp_path / "out")
    part = tmp_path / "out" / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:-9])
    assert scoring.score(pile, model, "it", tmp_path / "out").before == 0
    assert part.read_bytes() == whole


def test_another_pile_model_or_content_under_the_same_name_is_refused(model, tmp_path):
    pile = look(small(tmp_path))
    scoring.score(pile, model, "it", tmp_path / "out")
    with pytest.raises(FindingsError, match="out: it holds scores by another model"):
        scoring.score(pile, model, "another", tmp_path / "out")
    other = look(small(tmp_path, SENTENCES[1:]))
    with pytest.raises(FindingsError, match="out: it holds scores of another pile"):
        scoring.score(other, model, "it", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("mine")
    with pytest.raises(FindingsError, match=r"mine: it holds 'thesis\.docx'"):
        scoring.score(pile, model, "it", tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.docx"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FindingsError, match="file: is a file"):
        scoring.score(pile, model, "it", tmp_path / "file")
    (tmp_path / "out" / scoring.STATE).write_text("{")
    with pytest.raises(FindingsError, match="cannot be read"):
        scoring.score(pile, model, "it", tmp_path / "out")


def test_two_at_once_do_not_write_into_one_folder(model, tmp_path):
    pile = look(small(tmp_path))
    refused, going, tried = [], threading.Event(), threading.Event()

    def tell(done):
        if done:
            going.set()
            assert tried.wait(60)

    first = threading.Thread(target=scoring.score, args=(pile, model, "it", tmp_path / "out", tell))
    first.start()
    assert going.wait(60)
    try:
        scoring.score(pile, model, "it", tmp_path / "out")
    except FindingsError as error:
        refused.append(str(error))
    tried.set()
    first.join()
    assert "another scoring is writing there" in refused[0]
    assert scoring.score(pile, model, "it", tmp_path / "out").before == len(SENTENCES)


def test_a_column_that_scoring_adds_is_refused_in_the_pile(model, tmp_path):
    pile = look(small(tmp_path, Finding=SENTENCES))
    with pytest.raises(FindingsError, match="has a column 'Finding'"):
        scoring.score(pile, model, "it", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_and_what_is_there_is_kept(model, large, tmp_path):
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    pile, out = look(large), tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def tell(done):
        if done > scoring.PART:  # in the second part
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    try:
        with pytest.raises(FindingsError, match=r"out: File too large\. .*the same command goes on") as refusal:
            scoring.score(pile, model, "it", out, tell)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(refusal.value)
    assert sorted(p.name for p in out.iterdir()) == ["_scoring.json", "part-00000.parquet"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_told(model, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(FindingsError, match="Permission denied"):
        scoring.score(look(small(tmp_path)), model, "it", tmp_path / "out")


def test_the_command_scores_documents_and_names_what_it_cannot_read(store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.md").write_text("# Visit\n\n## Leaders\n\nPlans drift. Visits are late.\n")
    (tmp_path / "in" / "bad.pdf").write_text("no PDF")
    done = command("score", "in", "--out", "scores.parquet", "--version", "1", cwd=tmp_path, uri=store.uri)
    assert done.returncode == 1
    assert "bad.pdf" in done.stderr
    read = pd.read_parquet(tmp_path / "scores.parquet")
    assert f"{len(read)} rows scored by findings version 1" in done.stdout
    assert {"Plans drift.", "Visits are late."} <= set(read["sentence"])
    shutil.rmtree(tmp_path / "in")
    done = command("score", "in", "--out", "scores.parquet", cwd=tmp_path, uri=store.uri)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "in: no such file or folder. Check the name."
