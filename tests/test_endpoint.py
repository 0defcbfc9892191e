"""The contract, which `findings serve` and plain `mlflow models serve` both keep; then what only the first does.
All over real HTTP."""

import io
import json
import logging
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from importlib.metadata import version

import pytest
import words
from conftest import COMMAND

from findings import endpoint, extracts, server
from findings.endpoint import Limits

SENTENCE = "Supervision is regular and helps staff."
ANSWERED = {
    "split": {"dataframe_split": {"columns": ["sentence", "heading"], "data": [[SENTENCE, "Leaders"]]}},
    "split, null heading": {"dataframe_split": {"columns": ["sentence", "heading"], "data": [[SENTENCE, None]]}},
    "split, no heading": {"dataframe_split": {"columns": ["sentence"], "data": [[SENTENCE]]}},
    "records": {"dataframe_records": [{"sentence": SENTENCE, "heading": "Leaders"}]},
    "records, null heading": {"dataframe_records": [{"sentence": SENTENCE, "heading": None}]},
    "inputs, columns": {"inputs": {"sentence": [SENTENCE], "heading": ["Leaders"]}},
    "inputs, rows": {"inputs": [{"sentence": SENTENCE}]},
    "5,000 words": {"dataframe_records": [{"sentence": "word " * 5000}]},
    "other languages": {"dataframe_records": [{"sentence": "儿童得到良好的支持。", "heading": "مرحبا"}]},
    "no letters": {"dataframe_records": [{"sentence": "😀 ..."}]},
    "empty text": {"dataframe_records": [{"sentence": ""}]},
}
REFUSED = {
    "null sentence": {"dataframe_records": [{"sentence": None}]},
    "a number": {"dataframe_records": [{"sentence": 5}]},
    "a number as heading": {"dataframe_records": [{"sentence": SENTENCE, "heading": 5}]},
    "no sentence column": {"dataframe_records": [{"text": SENTENCE}]},
    "no form": {"sentences": [SENTENCE]},
    "a bare list": [SENTENCE],
    "torn JSON": b'{"inputs": ["a',
}


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module", params=["findings serve", "mlflow models serve"])
def served(request, store, tmp_path_factory):
    """(name, address) of a running server."""
    port = free_port()
    folder = COMMAND.parent
    commands = {
        "findings serve": [folder / "findings", "serve", "--port", port],
        "mlflow models serve": [
            *(folder / "mlflow", "models", "serve", "-m", "models:/findings@champion"),
            *("--env-manager", "local", "--port", port),
        ],
    }
    environment = os.environ | {"MLFLOW_TRACKING_URI": store.uri, "PATH": f"{folder}:{os.environ['PATH']}"}
    log = (tmp_path_factory.mktemp("served") / "log").open("w+")
    arguments = [str(a) for a in commands[request.param]]
    running = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        assert running.poll() is None, log.seek(0) or log.read()
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=5)
            break
        except OSError:
            time.sleep(0.3)
    yield request.param, address
    os.killpg(running.pid, 15)
    running.wait(timeout=30)


def post(address, body, content_type="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/invocations", data=data, headers={"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("case", ANSWERED)
def test_is_answered_with_labels(served, case):
    status, text = post(served[1], ANSWERED[case])
    assert status == 200, text
    (row,) = json.loads(text)["predictions"]
    assert set(row) == {
        "finding",
        "finding_probability",
        "finding_probabilities",
        "themes",
        "theme_probabilities",
    }


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_a_clear_4xx(served, case):
    status, text = post(served[1], REFUSED[case])
    assert 400 <= status < 500, text
    assert "Traceback" not in text
    assert "site-packages" not in text
    assert json.loads(text)["message"]


@pytest.mark.parametrize("form", ["inputs", "dataframe_records", "dataframe_split"])
def test_an_empty_list_is_answered_or_refused_but_never_fails(served, form):
    body = {form: {"columns": ["sentence", "heading"], "data": []} if form == "dataframe_split" else []}
    status, text = post(served[1], body)
    assert status == 200 or 400 <= status < 500, text
    assert "Traceback" not in text
    if served[0] == "findings serve":
        assert json.loads(text) == {"predictions": []}


def test_findings_serve_takes_a_plain_list_of_strings(served):
    if served[0] != "findings serve":
        pytest.skip("MLflow's schema check refuses a list of strings before a model with named columns sees it")
    status, text = post(served[1], {"inputs": [SENTENCE, "Plans drift."]})
    assert status == 200
    assert len(json.loads(text)["predictions"]) == 2


def test_findings_serve_limits_the_body_and_the_type(served):
    if served[0] != "findings serve":
        pytest.skip("plain MLflow has no limit on the body")
    status, text = post(served[1], {"inputs": ["x" * (2**20 + 1)]})
    assert status == 413
    assert "larger" in text
    assert post(served[1], {"inputs": [SENTENCE]}, "text/plain")[0] == 415
    assert post(served[1], b"[" * 20000)[0] == 400


def test_both_ways_give_the_same_answer_as_the_model(served, store):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    model = mlflow.pyfunc.load_model("models:/findings@champion")
    rows = [{"sentence": SENTENCE, "heading": "Leaders"}, {"sentence": "Plans drift.", "heading": None}]
    expected = model.predict(rows).to_dict("records")
    status, text = post(served[1], {"dataframe_records": rows})
    assert status == 200
    assert json.loads(text)["predictions"] == json.loads(json.dumps(expected))


# What only `findings serve` does --------------------------------------------------------------------

TEXT = "Leaders are good. Visits are late.\n\n- The plan should be better."


@pytest.fixture(scope="module")
def small():
    """A server with small limits, around a classifier of words."""
    with words.running(Limits(body=20_000, rows=50, seconds=20)) as running:
        yield running


@pytest.fixture
def log(small):
    """The lines of the log, as they are written."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(server.JsonLines())
    logger = logging.getLogger("findings.endpoint")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


def refused(answer, status):
    """The message of a refusal, whose form is checked."""
    given, headers, told = answer
    assert given == status, told
    assert set(told) == {"error_code", "message", "request_id"}
    assert headers["X-Request-ID"] == told["request_id"]
    message = told["message"]
    assert message.endswith(".")
    assert len(message) < 200
    assert "\n" not in message
    assert "Traceback" not in message
    assert "/tmp" not in message
    return message


def raw(port, *parts):
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while more := connection.recv(65536):
            received += more
    return received


def test_csv_is_answered_as_json_is(small):
    status, _, told = small.ask("POST", "/invocations", b"sentence\nLeaders are good.\n", {"Content-Type": "text/csv"})
    assert (status, told["predictions"][0]["finding"]) == (200, "strength")
    assert told == small.ask("POST", "/invocations", {"inputs": ["Leaders are good."]})[2]


def test_the_answer_names_the_models_version(small):
    assert small.ask("POST", "/invocations", {"inputs": []})[1]["X-Model-Version"] == "1"
    assert small.ask("GET", "/ping")[2] == {"status": "ok", "model": "findings version 1"}
    assert small.ask("GET", "/version")[2].decode() == version("mlflow")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/invocations/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%00", 404),
        ("GET", "/invocations", 405),
        ("DELETE", "/ping", 405),
        ("OPTIONS", "/invocations", 405),
        ("PUT", "/sentences", 405),
    ],
)
def test_wrong_paths_and_methods(small, method, path, status):
    answer = small.ask(method, path)
    refused(answer, status)
    assert (answer[1]["Allow"] is not None) == (status == 405)


def test_head_is_answered_without_a_body(small):
    assert small.ask("HEAD", "/ping")[::2] == (200, b"")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"inputs": ["x"] * 51}, {}, 413),
        ({"inputs": ["x" * 20_001]}, {}, 413),
        ({"inputs": ["x" * 900_000]}, {}, 413),
        ({"inputs": [None]}, {}, 400),
        ({"inputs": ["x"]}, {"Content-Encoding": "gzip"}, 415),
        ({"inputs": ["x"]}, {"Content-Type": "text/plain"}, 415),
        (b"{}", {}, 415),
    ],
)
def test_what_a_client_gets_wrong(small, body, headers, status):
    refused(small.ask("POST", "/invocations", body, headers), status)
    assert small.ask("POST", "/invocations", {"inputs": ["good"]})[0] == 200


def test_a_body_without_a_declared_length_is_limited_too(small):
    lines = ("POST /invocations HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Connection: close")
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    assert raw(small.port, head, chunk * 100 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_a_models_own_bug_is_told_as_such_and_only_its_place_is_logged(small, log):
    message = refused(small.ask("POST", "/invocations", {"inputs": ["boom, a secret"]}), 500)
    assert "secret" not in message
    failure = next(line for line in words.until(lambda: len(log()) > 1 and log()) if line["event"] == "failure")
    assert failure["error"][-1] == "KeyError"
    assert any("words.py" in place for place in failure["error"])
    assert "secret" not in json.dumps(log())
    assert small.ask("POST", "/invocations", {"inputs": ["good"]})[0] == 200


def test_the_log_has_a_line_a_request_without_its_text(small, log):
    _, headers, _ = small.ask(
        "POST", "/invocations?q=secret", {"inputs": ["secret", "secret"]}, {"X-Request-ID": "abc-1"}
    )
    small.ask("GET", "/secret")
    first, second = words.until(lambda: len(log()) == 2 and log())
    assert headers["X-Request-ID"] == "abc-1"
    told = {key: first[key] for key in ("id", "method", "path", "status", "rows")}
    assert told == {"id": "abc-1", "method": "POST", "path": "/invocations", "status": 200, "rows": 2}
    assert first["milliseconds"] > 0
    assert (second["path"], second["status"]) == ("other", 404)
    assert "secret" not in json.dumps([first, second])


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "é"])
def test_an_id_that_is_not_sane_is_replaced(small, given):
    made = small.ask("GET", "/ping", headers={"X-Request-ID": given.encode()})[1]["X-Request-ID"]
    assert made != given
    assert made.isalnum()


def test_metrics(small):
    small.ask("POST", "/invocations", {"inputs": ["good"] * 3})
    small.ask("POST", "/invocations", {})
    small.ask("GET", "/a")
    text = small.ask("GET", "/metrics")[2].decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['findings_requests_total{path="/invocations",status="200"}']) >= 1
    assert float(values['findings_requests_total{path="/invocations",status="400"}']) >= 1
    assert float(values['findings_requests_total{path="other",status="404"}']) >= 1
    assert float(values["findings_rows_total"]) >= 3
    assert float(values["findings_requests_in_flight"]) == 1
    assert float(values["findings_model_version"]) == 1
    assert float(values["process_resident_memory_bytes"]) > 0
    assert any(name.startswith("findings_request_seconds_bucket") for name in values)


def test_live_and_ready(small):
    assert small.ask("GET", "/live")[2] == {"status": "live"}
    assert small.ask("GET", "/ready")[2] == {"status": "ready", "model": "findings version 1"}


def test_every_answer_forbids_what_a_browser_need_not_do(small):
    for path in ("/ping", "/", "/nothing"):
        headers = small.ask("GET", path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5001", "127.0.0.1", "[::1]:80", "192.0.2.7:5001", "a.localhost"]
)
def test_hosts_that_are_this_machine(small, host):
    assert small.ask("GET", "/ping", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(("host", "status"), [("example.invalid", 421), ("localhost.example.invalid", 421), ("[", 400)])
def test_a_website_cannot_point_its_name_here(small, host, status):
    refused(small.ask("GET", "/ping", headers={"Host": host}), status)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.invalid"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_websites_may_not_ask(small, headers):
    refused(small.ask("POST", "/sentences", {"text": TEXT}, {"Host": "localhost", **headers}), 403)
    refused(small.ask("POST", "/invocations", {"inputs": ["x"]}, {"Host": "localhost", **headers}), 403)


def test_its_own_page_may_ask(small):
    same = {
        "Host": f"localhost:{small.port}",
        "Origin": f"http://localhost:{small.port}",
        "Sec-Fetch-Site": "same-origin",
    }
    assert small.ask("POST", "/invocations", {"inputs": ["good"]}, same)[0] == 200


GUARDED = [
    ("POST", "/invocations", {"inputs": ["x"]}),
    ("POST", "/sentences", {"text": "x"}),
    ("GET", "/metrics", None),
]
WRONG = [None, "", "Bearer", "Bearer wrong", "Basic a-secret", "Bearer a-secretx", "a-secret", "Bearer \xe9"]


def test_a_token_guards_what_answers_and_counts():
    with words.running(token="a-secret") as guarded:
        for method, path, body in GUARDED:
            for given in WRONG:
                headers = {} if given is None else {"Authorization": given.encode("latin-1")}
                answer = guarded.ask(method, path, body, headers)
                refused(answer, 401)
                assert answer[1]["WWW-Authenticate"] == "Bearer"
            assert guarded.ask(method, path, body, {"Authorization": "Bearer a-secret"})[0] == 200
        for path in ("/", "/serve.js", "/ping", "/health", "/version", "/live", "/ready", "/labels"):
            assert guarded.ask("GET", path)[0] == 200
        assert guarded.ask("GET", "/ping", headers={"Host": "example.invalid"})[0] == 200
        assert guarded.ask("GET", "/labels")[2]["token"] is True


def head(length):
    """The head of a request whose body is JSON of that many bytes."""
    lines = ("POST /invocations HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def test_a_request_that_takes_too_long_is_told_so_and_its_rows_are_dropped():
    with words.running(Limits(seconds=0.3)) as running:
        refused(running.ask("POST", "/invocations", {"inputs": ["slow"] * 1500}), 504)
        running.words.entered.clear()
        assert sum(running.words.seen) < 1500
        running.endpoint.limits = Limits()
        assert running.ask("POST", "/invocations", {"inputs": ["good"]})[0] == 200
    assert sum(running.words.seen) < 1500


def test_the_rows_of_a_client_that_left_are_dropped():
    with words.running() as running:
        running.words.gate.clear()
        body = json.dumps({"inputs": ["good"] * 1500}).encode()
        with socket.create_connection(("127.0.0.1", running.port)) as connection:
            connection.sendall(head(len(body)) + body)
            assert running.words.entered.wait(60)
        left = 'findings_requests_total{path="/invocations",status="499"} 1.0'
        words.until(lambda: left in running.ask("GET", "/metrics")[2].decode())
        running.words.gate.set()
        assert running.ask("POST", "/invocations", {"inputs": ["good"]})[0] == 200
    assert sum(running.words.seen) < 1500


def test_who_comes_when_too_much_waits_is_told_when_to_come_again():
    with words.running() as running:
        running.endpoint.batches.close()
        answer = running.ask("POST", "/invocations", {"inputs": ["good"]})
        refused(answer, 503)
        assert answer[1]["Retry-After"] == "5"
        refused(running.ask("GET", "/ready"), 503)
        assert running.ask("GET", "/live")[0] == 200


def test_a_slow_body_is_not_waited_for(small, monkeypatch):
    monkeypatch.setattr(endpoint, "BODY_SECONDS", 0.3)
    answer = raw(small.port, head(500), b"{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer


def test_a_new_model_answers_from_the_next_request_on(small):
    before = small.endpoint.served
    small.endpoint.serve(endpoint.Served(words.model(), "findings", "2"))
    assert small.ask("POST", "/invocations", {"inputs": ["good"]})[1]["X-Model-Version"] == "2"
    small.endpoint.serve(before)


# The page's own address -----------------------------------------------------------------------------


def test_a_text_is_cut_into_sentences_with_labels_and_places(small):
    status, headers, told = small.ask("POST", "/sentences", {"text": TEXT})
    assert status == 200, told
    assert headers["X-Model-Version"] == "1"
    assert (told["name"], told["pages"], told["model"]) == ("text", 1, "findings version 1")
    found = [(s["sentence"], s["heading"], s["finding"], s["themes"], s["list_item"]) for s in told["sentences"]]
    assert found == [
        ("Leaders are good.", "", "strength", ["leadership"], False),
        ("Visits are late.", "", "concern", [], False),
        ("The plan should be better.", "", "recommendation", [], True),
    ]


def document(text=TEXT):
    import docx

    made, out = docx.Document(), io.BytesIO()
    made.add_heading("Leaders")
    for line in text.split("\n\n"):
        made.add_paragraph(line)
    made.save(out)
    return out.getvalue()


def drop(running, name, content):
    headers = {"Content-Type": "application/octet-stream"}
    return running.ask("POST", f"/sentences?name={urllib.parse.quote(name)}", content, headers)


def test_documents_are_read(small):
    page = "<!doctype html><title>x</title><h1>Leaders</h1><p>Leaders are good. Visits are late.</p>"
    for name, content in (
        ("a.HTML", page.encode()),
        ("ä b.docx", document()),
        ("x/../c.md", b"# Leaders\n\nVisits are late."),
    ):
        status, _, told = drop(small, name, content)
        assert status == 200, told
        assert told["name"] == name
        assert ("Visits are late.", "Leaders") in [(s["sentence"], s["heading"]) for s in told["sentences"]]


def bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"<x>" + b" " * 150 * 2**20)
        archive.writestr("word/document.xml", b" " * 150 * 2**20)
    return out.getvalue()


HOSTILE = {
    "no ending": (415, "report", b"x"),
    "an unknown ending": (415, "report.exe", b"x"),
    "an ending that is a path": (415, "report./etc/passwd", b"x"),
    "empty": (422, "a.txt", b""),
    "no PDF": (422, "a.pdf", b"x"),
    "a torn PDF": (422, "a.pdf", b"%PDF-1.7\n1 0 obj << /Type /Catalog /Pages 2 0 R >>"),
    "no Word file": (422, "a.docx", b"PK\x03\x04 rest"),
    "a Word file that unpacks to far more": (422, "a.docx", bomb),
    "a deep page": (422, "a.html", b"<div>" * 5_000 + b"x"),
    "more sentences than the page shows": (422, "a.txt", b"A plan. " * (extracts.MAX_SENTENCES + 1)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_documents_are_refused_in_one_sentence(small, case):
    status, name, content = HOSTILE[case]
    message = refused(drop(small, name, content() if callable(content) else content), status)
    assert "findings-" not in message


def test_a_document_is_limited_in_bytes(small, monkeypatch):
    monkeypatch.setattr(extracts, "MAX_BYTES", 1000)
    refused(drop(small, "a.txt", b"Visits are late. " * 100), 413)
    assert drop(small, "a.txt", b"Visits are late. " * 50)[0] == 200


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": " \n"}, {"text": 5}, [], b"{", b"\xff"])
def test_texts_that_are_none(small, body):
    refused(small.ask("POST", "/sentences", body, {"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("text", ["...", "\ud800"])
def test_texts_without_a_word(small, text):
    answer = small.ask("POST", "/sentences", {"text": text})
    assert (answer[0], answer[2].get("sentences", [])) in ((200, []), (422, []))


def test_a_reader_that_takes_too_long_is_killed(small, monkeypatch):
    monkeypatch.setattr(extracts, "SECONDS", 0.0)
    assert refused(small.ask("POST", "/sentences", {"text": TEXT}), 422) == extracts.TOO_MUCH


def test_characters_that_would_reorder_or_hide_text_are_shown_by_their_numbers(small):
    _, _, told = small.ask("POST", "/sentences", {"text": "Leaders are \u202egood\u202c here. Visits <b>are</b> late."})
    shown = [s["sentence"] for s in told["sentences"]]
    assert shown == ["Leaders are [U+202E]good[U+202C] here.", "Visits <b>are</b> late."]


def test_the_labels_come_with_titles_and_signs(small):
    _, _, told = small.ask("GET", "/labels")
    assert {finding["id"]: finding["mark"] for finding in told["findings"]}["concern"] == "!"
    assert len(told["themes"]) == 13
    assert told["token"] is False


def test_a_document_at_a_time_too_many_is_told_when_to_come_again(small):
    small.endpoint.parsers._present += extracts.AT_ONCE + extracts.WAITING
    try:
        answer = small.ask("POST", "/sentences", {"text": TEXT})
        refused(answer, 503)
        assert answer[1]["Retry-After"] == "5"
    finally:
        small.endpoint.parsers._present -= extracts.AT_ONCE + extracts.WAITING
    assert small.ask("POST", "/sentences", {"text": TEXT})[0] == 200
