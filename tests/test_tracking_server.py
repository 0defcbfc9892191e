"""Tracking for a team: a real MLflow server with passwords on a real PostgreSQL."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from conftest import COMMAND, SMALL

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
if not SERVERS:
    pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)", allow_module_level=True)
pytest.importorskip("psycopg", reason="psycopg is not installed")

ADMIN, PASSWORD = "admin", "correct horse 4711"
ANALYST, SECRET = "analyst", "battery staple 0815"


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def database():
    """The address of an own PostgreSQL, which root must start as another user."""
    folder = Path(tempfile.mkdtemp(prefix="findings-postgres-", dir="/tmp"))
    user = {"user": "postgres"} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
    port = free_port()

    def run(name, *arguments):
        call = [str(SERVERS[-1] / name), "-D", str(folder / "data"), *arguments]
        done = subprocess.run(call, **user, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    (folder / "password").write_text("of the database")
    (folder / "password").chmod(0o644)
    secured = ("--auth=scram-sha-256", f"--pwfile={folder / 'password'}")
    run("initdb", "-U", "mlflow", *secured, "--no-sync", "--encoding=UTF8", "--locale=C")
    listening = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    # Its output must not be a pipe that the server would keep open.
    run("pg_ctl", "--wait", "--timeout=240", "-l", str(folder / "log"), "-o", listening, "start")
    yield f"postgresql+psycopg://mlflow:of%20the%20database@127.0.0.1:{port}/postgres"
    run("pg_ctl", "--mode=immediate", "stop")
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Server:
    address: str
    artifacts: Path


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    settings = {
        "default_permission": "EDIT",
        "auth_cache_ttl_seconds": "60",
        "database_uri": database.replace("%", "%%"),
        "admin_username": ADMIN,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    (folder / "auth.ini").write_text("[mlflow]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    port = free_port()
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
    }
    arguments = [COMMAND.with_name("mlflow"), "server", "--app-name", "basic-auth", "--backend-store-uri", database]
    arguments += ["--artifacts-destination", folder / "artifacts", "--port", port, "--workers", 1]
    with (folder / "log").open("w") as log:
        call = [str(a) for a in arguments]
        running = subprocess.Popen(call, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert running.poll() is None, (folder / "log").read_text()
            try:
                requests.get(f"{address}/health", timeout=10).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.2)
        made = {"username": ANALYST, "password": SECRET}
        requests.post(
            f"{address}/api/2.0/mlflow/users/create", json=made, auth=(ADMIN, PASSWORD), timeout=60
        ).raise_for_status()
        yield Server(address, folder / "artifacts")
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(timeout=60)


def findings(*arguments, cwd, uri="", user=ANALYST, password=SECRET):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment |= {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    environment |= {"MLFLOW_TRACKING_URI": uri} if uri else {}
    call = [str(COMMAND), *map(str, arguments)]
    return subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_a_team_trains_registers_and_scores_through_the_server(server, corpus, tmp_path):
    training = ("train", "tracking=server", "data=local", f"data.folder={corpus}", *SMALL)
    done = findings(*training, cwd=tmp_path, uri=server.address)
    assert done.returncode == 0, done.stderr
    assert "champion: there was no champion yet" in done.stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nothing is kept on this side

    def ask(path, **question):
        url = f"{server.address}/api/2.0/mlflow/{path}"
        return requests.get(url, params=question, auth=(ANALYST, SECRET), timeout=60).json()

    version = ask("registered-models/alias", name="findings", alias="champion")["model_version"]
    run = ask("runs/get", run_id=version["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    kept = [path for path in server.artifacts.rglob("*") if path.is_file()]
    assert {"config.yaml", "model.json", "test.parquet"} <= {path.name for path in kept}
    assert SECRET not in json.dumps(run) + done.stdout + done.stderr
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]

    (tmp_path / "a.jsonl").write_text('{"sentence": "Plans drift for too many children."}\n')
    done = findings("score", "a.jsonl", "--out", "out", cwd=tmp_path, uri=server.address)
    assert done.returncode == 0, done.stderr
    assert "1 rows scored by findings version 1" in done.stdout


@pytest.mark.parametrize(
    ("verb", "wrong"),
    [(["train", "tracking=server"], {"password": "wrong"}), (["score", "a.jsonl", "--out", "out"], {"user": "nobody"})],
    ids=["a wrong password", "an unknown user"],
)
def test_who_may_not_in_is_told_in_one_sentence(server, verb, wrong, corpus, tmp_path):
    data = ["data=local", f"data.folder={corpus}"] if verb[0] == "train" else []
    done = findings(*verb, *data, cwd=tmp_path, uri=server.address, **wrong)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"{server.address}: it does not take this user name and password. "
        "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to yours."
    )
    assert not list(tmp_path.iterdir())


def test_no_address_is_told(corpus, tmp_path):
    done = findings("train", "tracking=server", "data=local", f"data.folder={corpus}", cwd=tmp_path)
    told = "findings train: the setting 'tracking.uri' has no value. Give tracking.uri=... or set MLFLOW_TRACKING_URI."
    assert (done.returncode, done.stderr.strip()) == (1, told)
