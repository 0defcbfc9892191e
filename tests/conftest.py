"""A store with a champion, trained once on a small corpus by the installed command."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from corpora import write_corpus

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Tiny models are quickest on one thread, and many threads on a busy machine wait for each other."""

REPOSITORY = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).with_name("findings")
SMALL = ["model.characters=3", "model.words=1"]


def command(*arguments, cwd, uri=None, **kwargs):
    """Run the installed `findings`; returns the completed process."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "COMP_LINE", "COMP_POINT")}
    if uri:
        environment["MLFLOW_TRACKING_URI"] = uri
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **kwargs,
    )


@dataclass(frozen=True)
class Store:
    """A folder that was trained in: its MLflow store, its corpus, and what the command printed."""

    folder: Path
    corpus: Path
    uri: str
    output: str


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """The user's cache folder is left alone, by this process and by those that it starts."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def store(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("store")
    done = command("train", "data=local", f"data.folder={corpus}", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return Store(folder, corpus, f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", done.stdout)


@pytest.fixture(scope="session")
def rivals(tmp_path_factory, corpus):
    """A store with two versions: the champion and one that can hardly learn. Nothing may be promoted in it."""
    folder = tmp_path_factory.mktemp("rivals")
    done = command("train", "-m", "model.C=10,0.00001", "data=local", f"data.folder={corpus}", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return Store(folder, corpus, f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", done.stdout)


@pytest.fixture
def connected(store, monkeypatch):
    """This process connected to the store."""
    from findings import tracking

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    tracking.connect({"uri": store.uri, "experiment": "findings"}, create=False)
    return store
