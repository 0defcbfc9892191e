"""The wheel in an environment of its own place, away from the checkout."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import REPOSITORY, SMALL


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(REPOSITORY)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel unpacked, put before the checkout's own package."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(installed, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "findings", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_wheel_holds_configuration_page_and_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "findings/conf/train.yaml",
        "findings/conf/model/tfidf.yaml",
        "findings/conf/sweep/tfidf.yaml",
        "findings/reading.html",
        "findings/reading.css",
        "findings/reading.js",
        "findings/comparison.html",
        "findings/comparison.css",
        "findings/model_card.md",
        "findings/data/behaviour.yaml",
        "findings/py.typed",
        "findings/data/authored/documents.csv",
        "findings/data/ofsted/annotations.csv",
        "findings/data/GUIDE.md",
    ):
        assert name in names
    assert not [n for n in names if n.startswith("findings/tests") or "mlruns" in n or n.endswith(("jsonl", "pdf"))]


def test_the_wheel_trains_and_reads_without_the_checkout(installed, corpus, tmp_path):
    where = subprocess.run(
        [sys.executable, "-c", "import findings, findings.conf; print(findings.__file__, findings.conf.__path__)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(REPOSITORY / "src") not in where
    assert str(REPOSITORY / "conf") not in where
    done = run(installed, "train", "data=local", f"data.folder={corpus}", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "a.txt").write_text("Supervision is regular. Plans drift for too many children.")
    done = run(installed, "read", "a.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len([json.loads(x) for x in (tmp_path / "readings" / "a.jsonl").read_text().splitlines()]) == 2
    done = run(installed, "data", "check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert str(installed) in done.stdout


def test_an_installed_package_keeps_reports_in_the_users_cache(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pdfs").mkdir()
    done = run(installed, "data", "fetch", "--folder", "pdfs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"0 of 314 reports are in {tmp_path / 'cache' / 'findings' / 'ofsted' / 'reports'}" in done.stdout
