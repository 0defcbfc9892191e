"""A classifier that goes by single words, and servers around it or around the champion, over real HTTP."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

import numpy as np
from conftest import COMMAND
from uvicorn import Server

from findings import server, taxonomy
from findings.calibration import Calibration, Scores
from findings.endpoint import Endpoint, Served
from findings.models import Model

LABELS = taxonomy.load()
SIGNS = {"good": "strength", "late": "concern", "should": "recommendation"}


class Words:
    """`good`, `late` and `should` decide; `slow` takes its time, `boom` raises. `seen` holds the sizes of
    the calls. While `gate` is closed, calls wait."""

    def __init__(self):
        self.seen = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def scores(self, sentences, headings):
        self.seen.append(len(sentences))
        self.entered.set()
        assert self.gate.wait(60)
        findings = np.zeros((len(sentences), len(LABELS.findings)))
        themes = np.full((len(sentences), len(LABELS.themes)), -3.0)
        for row, sentence in enumerate(sentences):
            if "boom" in sentence:
                raise KeyError(sentence)
            if "slow" in sentence:
                time.sleep(0.01)
            found = next((finding for word, finding in SIGNS.items() if word in sentence), "none")
            findings[row, LABELS.finding_ids.index(found)] = 4
            themes[row, 0] = 3.0 if "leaders" in sentence.lower() else -3.0
        return Scores(findings, themes)


def model():
    return Model("words", Words(), Calibration(1.0, 1.0, 0.0, (0.5,) * len(LABELS.themes)), LABELS)


@dataclass
class Running:
    """A server in a thread of this process."""

    endpoint: Endpoint
    port: int

    @property
    def words(self):
        return self.endpoint.served.model.classifier

    def ask(self, method, path, body=None, headers=None):
        return ask(self.port, method, path, body, headers)


@contextlib.contextmanager
def running(limits=None, token="", words=None):
    endpoint = Endpoint(Served(words or model(), "findings", "1"), limits, token)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        made = Server(server.configure(server.Settings("", seconds=60), lambda: endpoint))
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Running(endpoint, port)
        finally:
            made.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@contextlib.contextmanager
def started(store, *options, uri=None, token=None, folder=None):
    """`findings serve` in a process of its own: (process, port, path of its log)."""
    environment = {name: value for name, value in os.environ.items() if name != "FINDINGS_TOKEN"}
    environment |= {"MLFLOW_TRACKING_URI": uri or store.uri} | ({"FINDINGS_TOKEN": token} if token is not None else {})
    log = (folder or store.folder) / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", "0", *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            line = process.stdout.readline()
            told = re.search(r"http://\S+:(\d+)/", line)
            assert told, (line, log.read_text())
            yield process, int(told[1]), log
        finally:
            process.kill()
            process.wait(30)
            process.stdout.close()


def ask(port, method, path, body=None, headers=None):
    """(status, headers, JSON or bytes) of one request; a body that is not bytes is sent as JSON."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        told = json.loads(data) if data and response.headers.get_content_type() == "application/json" else data
        return response.status, response.headers, told
    finally:
        connection.close()


def until(condition, seconds=60):
    """Wait until it holds; fail where it never does."""
    end = time.monotonic() + seconds
    while not (held := condition()):
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)
    return held
