import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from conftest import COMMAND, command
from corpora import FRAMES, NEUTRAL

from findings import piles, registry, scoring
from findings.errors import FindingsError

pytest.importorskip("pyspark", reason="pyspark is not installed")
if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
    pytest.skip("there is no Java, which Spark needs", allow_module_level=True)

SENTENCES = [
    *(frame.replace("{x}", "pathway plans").replace("{a}", "Testbury") for some in FRAMES.values() for frame in some),
    *(text.replace("{a}", "Testbury") for text in NEUTRAL),
]


@pytest.fixture(scope="module")
def spark():
    """A session in this process, as a notebook on a cluster has one."""
    import sys

    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"], os.environ["SPARK_LOCAL_IP"] = sys.executable, "127.0.0.1"
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.memory", "512m").config("spark.log.level", "OFF").getOrCreate()
    yield session
    session.stop()
    del os.environ["PYSPARK_PYTHON"], os.environ["SPARK_LOCAL_IP"]


@pytest.fixture(scope="module")
def champion(store):
    from findings import tracking

    tracking.connect({"uri": store.uri, "experiment": "findings"}, create=False)
    return registry.require_champion("findings")


def read(folder):
    return ds.dataset(folder, format="parquet").to_table()


def assert_same(here, there):
    """Row by row the same, in the same order; probabilities to six digits."""
    assert there.column_names == here.column_names
    for name in here.column_names:
        ours, theirs = here[name].to_pylist(), there[name].to_pylist()
        if "probabilit" not in name:
            assert theirs == ours, name
    for name in ("finding_probabilities", "theme_probabilities"):
        for ours, theirs in zip(here[name].to_pylist(), there[name].to_pylist(), strict=True):
            assert (theirs is None) == (ours is None)
            assert dict(theirs or {}) == pytest.approx(dict(ours or {}), abs=2e-6)


def test_an_existing_session_gives_what_the_local_engine_gives(spark, champion, tmp_path):
    from findings import spark as engine

    odd = [
        None,
        "",
        " \t",
        "\u00a0",
        "\u2003",
        "x" * (scoring.MAX_CHARACTERS + 1),
        "\x1c",
        "🦉" * scoring.MAX_CHARACTERS,
    ]
    rows = [*SENTENCES * 3, *odd]
    folder = tmp_path / "a pile+more%20"
    folder.mkdir()
    for number in range(3):  # the first the smallest: Spark itself begins with the largest
        some = rows[: len(odd)] if number == 0 else rows[number * 50 :]
        part = pa.table(
            {"sentence": some, "heading": ["Leaders", None] * (len(some) // 2) + [None] * (len(some) % 2),
             "Urn no.": range(len(some)), "scores": [[1, 2]] * len(some)}
        )  # fmt: skip
        pq.write_table(part, folder / f"part {number}.parquet", row_group_size=20)
    by = f"{champion} (run {champion.run_id[:8]})"
    scoring.score(piles.look_through(folder, tmp_path), registry.load(champion), by, tmp_path / "here")
    outcome = engine.score(str(folder), champion, by, str(tmp_path / "there"))
    here = read(tmp_path / "here")
    assert outcome == scoring.Outcome(len(here), 0, here["note"].drop_null().length())
    assert outcome.notes >= 4
    assert_same(here, read(tmp_path / "there"))
    # A pile that is scored has columns that scoring adds.
    with pytest.raises(FindingsError, match="has a column 'finding'"):
        engine.score(str(tmp_path / "there"), champion, by, str(tmp_path / "again"))
    with pytest.raises(FindingsError, match="there: it is there already"):
        engine.score(str(folder), champion, by, str(tmp_path / "there"))
    assert spark.range(1).count() == 1  # it goes on


def test_wrong_piles_are_told_in_one_line(spark, champion, tmp_path):
    from findings import spark as engine

    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    pq.write_table(pa.table({"sentence": [1]}), tmp_path / "numbers.parquet")
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "text.parquet").read_bytes()[:-9])
    (tmp_path / "empty").mkdir()
    for name, words in {
        "none.parquet": "none.parquet: no such file",
        "text.parquet": "no column 'sentence' among text",
        "numbers.parquet": "'sentence' holds bigint",
        "torn.parquet": "torn.parquet: ",
        "empty": "no Parquet file in it",
    }.items():
        with pytest.raises(FindingsError) as refusal:
            engine.score(str(tmp_path / name), champion, "it", str(tmp_path / "out"))
        assert words in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


# A cluster ----------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Cluster:
    """A standalone master and two workers with a core each, on loopback."""

    def __init__(self, folder):
        import pyspark

        self.folder, self.home = folder, Path(pyspark.__file__).parent
        self.port, self.page = free_port(), free_port()
        self.url = f"spark://127.0.0.1:{self.port}"
        self.processes = []
        host = ("--host", "127.0.0.1")
        self.start("master.Master", *host, "--port", self.port, "--webui-port", self.page)
        self.wait(lambda state: True)
        for number in range(2):
            where = ("--work-dir", folder / f"work{number}", "--webui-port", free_port())
            self.start("worker.Worker", *host, "--cores", 1, "--memory", "1g", *where, self.url)
        self.wait(lambda state: state["aliveworkers"] == 2)

    def start(self, name, *arguments):
        spark_class = self.home / "bin" / "spark-class"
        call = [str(a) for a in (spark_class, f"org.apache.spark.deploy.{name}", *arguments)]
        local = {"SPARK_HOME": str(self.home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
        with (self.folder / f"log{len(self.processes)}").open("w") as log:
            self.processes.append(
                subprocess.Popen(call, env=os.environ | local, stdout=log, stderr=log, start_new_session=True)
            )

    def wait(self, ready):
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/json/", timeout=10) as answer:
                    if ready(json.load(answer)):
                        return
            except OSError:
                pass
            assert all(p.poll() is None for p in self.processes), (self.folder / "log0").read_text()
            time.sleep(0.1)
        raise AssertionError((self.folder / "log1").read_text())

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


def test_a_worker_killed_in_the_middle_loses_nothing(cluster, store, champion, tmp_path):
    from findings.spark import ROWS_A_TASK

    count = 8 * ROWS_A_TASK
    table = pa.table({"sentence": [SENTENCES[n % len(SENTENCES)] for n in range(count)], "urn": range(count)})
    pq.write_table(table, tmp_path / "pile.parquet")
    out, arguments = tmp_path / "there", ["score", str(tmp_path / "pile.parquet"), "--tracking-uri", store.uri]
    settings = ["spark.executor.memory=512m", "spark.driver.memory=512m", "spark.ui.enabled=false"]
    conf = [word for setting in settings for word in ("--conf", setting)]
    call = [str(COMMAND), *arguments, "--out", str(out), "--engine", "spark", "--master", cluster.url, *conf]
    with (tmp_path / "log").open("w") as log:
        environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
        running = subprocess.Popen(call, stdout=log, stderr=log, cwd=tmp_path, env=environment)
        while not list(out.glob("_temporary/0/task_*")):  # the first of eight parts is written
            assert running.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        os.killpg(cluster.processes[1].pid, signal.SIGKILL)  # a worker and its executor
        cluster.processes[1].wait(timeout=60)
        assert running.wait(timeout=600) == 0, (tmp_path / "log").read_text()
    assert "Lost executor" in (tmp_path / "log").read_text()
    assert f"{count} rows scored by findings version 1" in (tmp_path / "log").read_text()
    by = f"{champion} (run {champion.run_id[:8]})"
    some = scoring.scored(pa.table({"sentence": SENTENCES}), registry.load(champion), by)
    here = some.take([n % len(SENTENCES) for n in range(count)]).add_column(1, "urn", table["urn"])
    assert_same(here.add_column(0, "sentence_id", [[f"pile-{n}" for n in range(1, count + 1)]]), read(out))


def test_a_master_that_is_not_there_and_settings_for_nothing_are_told(store, tmp_path):
    arguments = ("score", "pile.parquet", "--out", "out", "--tracking-uri", store.uri)
    done = command(*arguments, "--master", "local[2]", cwd=tmp_path)
    assert (
        done.stderr.strip()
        == "findings score: --master and --conf are for --engine spark. Add that, or leave them out."
    )
    done = command(*arguments, "--engine", "spark", "--master", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("no Spark at nowhere: ")
    done = command(*arguments, "--engine", "spark", "--conf", "spark.x", cwd=tmp_path)
    assert "--conf spark.x: write KEY=VALUE." in done.stderr
