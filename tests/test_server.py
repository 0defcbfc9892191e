"""The process: its start, its end, its workers, the champion it follows. Real processes and signals."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import words
from conftest import command
from mlflow import MlflowClient

from findings import server
from findings.errors import FindingsError

SENTENCE = {"inputs": ["Too many visits are late."]}
TOKEN = {"Authorization": "Bearer a-secret"}
HEAD = (
    b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a-secret\r\n"
    b"Content-Type: application/json\r\nContent-Length: 27\r\n\r\n"
)


@pytest.fixture(scope="module")
def own(store, tmp_path_factory):
    """A registry of its own, whose champion may change: (uri, client)."""
    path = tmp_path_factory.mktemp("own") / "mlflow.db"
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database:
        database.execute("VACUUM INTO ?", (str(path),))
    uri = f"sqlite:///{path}"
    return uri, MlflowClient(uri, uri)


def half_asked(port):
    """A connection on which half a request was sent, once the server has it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(HEAD + b'{"inputs":')
    words.until(lambda: b"findings_requests_in_flight 2.0" in words.ask(port, "GET", "/metrics", headers=TOKEN)[2])
    return connection


def rest(connection):
    """Send the other half; all that the server answers."""
    connection.sendall(b' ["Plans drift"]}')
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


def test_a_new_champion_answers_without_a_restart_and_a_broken_one_does_not(own, store, tmp_path):
    uri, client = own
    folder = client.get_model_version_download_uri("findings", "1")
    with words.started(store, "--reload-seconds", "0.2", uri=uri, folder=tmp_path) as (process, port, log):

        def version():
            status, headers, told = words.ask(port, "POST", "/invocations", SENTENCE)
            assert status == 200, told
            return headers["X-Model-Version"]

        def logged(event):
            return [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == event]

        assert version() == "1"
        second = client.create_model_version("findings", folder).version
        client.set_registered_model_alias("findings", "champion", second)
        words.until(lambda: version() == "2")
        assert logged("new champion")[0]["before"] == "1"

        (tmp_path / "broken" / "artifacts" / "model").mkdir(parents=True)
        (tmp_path / "broken" / "artifacts" / "model" / "model.json").write_text("{}")
        third = client.create_model_version("findings", (tmp_path / "broken").as_uri()).version
        client.set_registered_model_alias("findings", "champion", third)
        failed = words.until(lambda: logged("no new champion"))[0]
        assert "Train it again" in failed["reason"]
        assert failed["kept"] == version() == "2"
        assert b"findings_reload_failures_total 0.0" not in words.ask(port, "GET", "/metrics")[2]

        client.set_registered_model_alias("findings", "champion", "1")
        words.until(lambda: version() == "1")
        assert b"findings_model_version 1.0" in words.ask(port, "GET", "/metrics")[2]

        connection = half_asked(port)
        process.send_signal(signal.SIGTERM)
        words.until(lambda: refuses(port))
        assert process.poll() is None
        assert rest(connection).startswith(b"HTTP/1.1 200")
        assert process.wait(60) == 0
        assert "Traceback" not in log.read_text()


def test_workers_share_an_address_count_together_and_end_with_ctrl_c(own, tmp_path, store):
    with words.started(store, "--workers", "2", uri=own[0], folder=tmp_path, token="a-secret") as (process, port, log):
        for _ in range(6):
            assert words.ask(port, "POST", "/invocations", SENTENCE, TOKEN)[0] == 200
        assert words.ask(port, "POST", "/invocations", SENTENCE)[0] == 401

        def told():
            return words.ask(port, "GET", "/metrics", headers=TOKEN)[2].decode()

        # A request is counted after its answer has gone out.
        words.until(lambda: 'findings_requests_total{path="/invocations",status="200"} 6.0' in told())
        words.until(lambda: told().count("findings_model_version{") == 2)
        connection = half_asked(port)
        process.send_signal(signal.SIGINT)
        assert rest(connection).startswith(b"HTTP/1.1 200")
        assert process.wait(60) == 130
        lines = log.read_text().splitlines()
        assert lines.pop() == "stopped"
        answered = {line["pid"] for line in map(json.loads, lines) if line["event"] == "request"}
        assert answered
        assert process.pid not in answered
        assert "a-secret" not in log.read_text()


def test_starting_needs_neither_mlflow_nor_torch_nor_pandas():
    code = """
import sys
from findings import cli, endpoint, server
heavy = {"mlflow", "torch", "transformers", "datasets", "sklearn", "matplotlib", "pandas", "hydra"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("options", "words_"),
    [
        (["--workers", "0"], "--workers 0: give a number above 0"),
        (["--time-limit", "-1"], "--time-limit -1.0: give"),
        (["--reload-seconds", "nan"], "--reload-seconds nan: give"),
        (["--model", "nothing"], "no champion of 'nothing'"),
        (["--host", "256.0.0.1"], "Choose another with --host or --port"),
        (["--port", "99999"], "Choose another with --host or --port"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(store, options, words_):
    done = command("serve", *options, cwd=store.folder, uri=store.uri)
    assert done.returncode == 1
    assert words_ in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_that_is_taken_is_told_in_one_line(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("serve", "--port", taken.getsockname()[1], cwd=store.folder, uri=store.uri)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "in use" in done.stderr


@pytest.mark.parametrize("given", ["", "a b", "é", "a\n"])
def test_a_token_that_no_header_can_hold_is_refused(monkeypatch, given):
    monkeypatch.setenv("FINDINGS_TOKEN", given)
    with pytest.raises(FindingsError, match="Set another"):
        server.token()


def test_the_token_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("FINDINGS_TOKEN", "a-secret")
    assert server.token() == "a-secret"
    assert "a-secret" not in repr(server.Settings("", token="a-secret"))
    monkeypatch.delenv("FINDINGS_TOKEN")
    assert server.token() == ""


# What comes before a request is one -----------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    with words.running() as running:
        yield running


def raw(port, *parts):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            while more := connection.recv(65536):
                answer += more
        except ConnectionError:  # it was closed while more was being sent
            pass
    return answer


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT example.invalid:80 HTTP/1.1\r\nHost: example.invalid\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_in_the_form_of_the_others(small, sent):
    head, _, body = raw(small.port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error_code"] == "BAD_REQUEST"


def test_a_head_without_end_is_refused(small):
    answer = raw(small.port, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX-A: ", *[b"x" * 8192] * 40)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")
    assert small.ask("GET", "/ping")[0] == 200


def test_a_head_that_takes_its_time_is_not_waited_for(small, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    assert raw(small.port, b"GET /ping HTTP/1.1\r\nHost: local").startswith(b"HTTP/1.1 408")
    assert raw(small.port).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("wish", ["h2c", "websocket"])
def test_a_wish_for_another_protocol_is_passed_over(small, wish):
    body = json.dumps({"inputs": ["good"]})
    lines = ("POST /invocations HTTP/1.1", "Host: localhost", f"Upgrade: {wish}", "Connection: Upgrade, close")
    head = "\r\n".join([*lines, "Content-Type: application/json", f"Content-Length: {len(body)}", "", ""])
    with socket.create_connection(("127.0.0.1", small.port), timeout=60) as connection:
        connection.sendall(head.encode())
        connection.sendall(body.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_requests_that_were_sent_ahead_are_answered_in_turn(small):
    one = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(small.port, one * 3 + last)
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.endswith(b'{"status": "live"}')


def test_an_error_is_logged_by_its_kind_and_places():
    import logging

    try:
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ValueError("secret") from error
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "failure", (), sys.exc_info())
    told = json.loads(server.JsonLines().format(record))
    assert "secret" not in json.dumps(told)
    assert [line for line in told["error"] if "Error" in line] == ["KeyError", "ValueError"]
    assert told["level"] == "error"
