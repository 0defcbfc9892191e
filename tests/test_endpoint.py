"""Both ways of serving, over real HTTP: `findings serve` and plain `mlflow models serve`."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import COMMAND

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
    assert post(served[1], {"inputs": [SENTENCE]}, "text/csv")[0] == 400
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
