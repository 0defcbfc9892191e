"""Does `findings serve` withstand whatever is sent to it?

    python benchmarks/hostile_requests.py [NUMBER] [--seed N] [--schemathesis]

Starts the server of the champion in the working directory's store, sends it NUMBER (20,000) generated
requests, eight at a time, and prints what went wrong (an answer of 5xx, a traceback or a path of the machine
in an answer, an answer that echoes, a refusal that is not one sentence, no answer where one is due), its memory
and its usual time to answer before and after. `--schemathesis` has that tool add its own, from /openapi.json.
Exit status 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import io
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SENTENCES = ["Too many visits are late.", "Leaders know their services well.", "The quality of plans.", "Été 😀 ½"]
LEAK = re.compile(rb'Traceback|File "|site-packages|\.py\b|/tmp/|/root/|/home/|\bException\b|0x[0-9a-f]{8}')
PATHS = ["/invocations", "/sentences", "/ping", "/health", "/version", "/live", "/ready", "/metrics", "/labels", "/"]
TIMEOUT = 120
DOCUMENTS = threading.Semaphore(4)
"""The server reads a few documents at a time and tells others to come again, which is right but a 503."""


@dataclass
class Attempt:
    """Bytes to send, in parts with a pause (seconds) before each but the first.

    Attributes:
        answer: whether the server owes one: not to a client that leaves, or never says what it wants.
        leave: stop sending, and listening, after the last part.
        half: stop sending, but listen on.
    """

    kind: str
    parts: list[bytes]
    pause: float = 0.0
    answer: bool = True
    leave: bool = False
    half: bool = False
    document: bool = False


@dataclass
class Report:
    """What was sent and what went wrong."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


# Requests -----------------------------------------------------------------------------------------


def request(
    body: bytes, path: str = "/invocations", method: str = "POST", kind: str | None = "application/json", *more: str
) -> bytes:
    """A well-formed request around a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "Connection: close", *more]
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def value(r: random.Random, depth: int = 0) -> Any:
    """Any value of JSON, and a few that are none."""
    simple: list[Callable[[], Any]] = [
        lambda: None,
        lambda: r.random() < 0.5,
        lambda: r.choice([0, -1, 2**63, 10**400, -(10**30)]),
        lambda: r.choice([0.1, 1e308, float("inf"), float("-inf"), float("nan")]),
        lambda: r.choice(SENTENCES),
        lambda: "".join(chr(r.randrange(0x110000)) for _ in range(r.randrange(20))),
        lambda: r.choice(
            ["", " ", "\x00", "\u202e", "\ud800", "x" * r.choice([100, 60_000]), "=1+1", "null", "__class__"]
        ),
    ]
    if depth > 3 or r.random() < 0.6:
        return r.choice(simple)()
    if r.random() < 0.5:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    keys = ["sentence", "heading", "columns", "data", "index", "params", "__proto__", ""]
    return {r.choice(keys): value(r, depth + 1) for _ in range(r.randrange(4))}


def forms(r: random.Random) -> dict[str, Any]:
    """Something like one of MLflow's forms, with anything in it."""
    column = [value(r) for _ in range(r.randrange(5))]
    shapes = [
        {"dataframe_split": {"columns": ["sentence", "heading"], "data": [[value(r), value(r)] for _ in column]}},
        {"dataframe_split": value(r)},
        {"dataframe_split": {"columns": value(r), "data": value(r)}},
        {"dataframe_records": [{"sentence": v, "heading": value(r)} for v in column]},
        {"dataframe_records": value(r)},
        {"inputs": {"sentence": column, "heading": value(r)}},
        {"inputs": value(r)},
        {"inputs": column},
        {"instances": value(r), "params": value(r)},
        {"inputs": SENTENCES, "instances": SENTENCES},
    ]
    return r.choice(shapes)


def valid(r: random.Random) -> Attempt:
    return Attempt("valid", [request(json.dumps({"inputs": r.sample(SENTENCES, 2)}).encode())])


def types(r: random.Random) -> Attempt:
    return Attempt("types", [request(json.dumps(forms(r)).encode())])


def deep(r: random.Random) -> Attempt:
    depth = r.choice([500, 5_000, 100_000])
    opening, closing = r.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
    middle = opening * depth + b"1" + closing * depth * (r.random() < 0.5)
    body = b'{"inputs": ' + middle[:900_000] + b"}" * (r.random() < 0.5)
    return Attempt("deep", [request(body)])


def numbers(r: random.Random) -> Attempt:
    number = r.choice(
        [b"9" * r.choice([400, 5_000, 500_000]), b"1e" + b"9" * 50, b"-0." + b"0" * 1000 + b"1", b"0x1", b"1_0"]
    )
    return Attempt("numbers", [request(b'{"inputs": [' + number + b"]}")])


def broken(r: random.Random) -> Attempt:
    """A valid body with some of its bytes changed, left out or repeated."""
    body = bytearray(json.dumps({"dataframe_records": [{"sentence": s, "heading": None} for s in SENTENCES]}).encode())
    for _ in range(r.randrange(1, 6)):
        at = r.randrange(len(body))
        body[at : at + r.randrange(3)] = r.randbytes(r.randrange(3))
    return Attempt("broken", [request(bytes(body))])


def keys_twice(r: random.Random) -> Attempt:
    body = r.choice([b'{"inputs": ["a"], "inputs": ["b"]}', b'{"inputs": [{"sentence": "a", "sentence": "b"}]}'])
    return Attempt("keys twice", [request(body)])


def packed(r: random.Random) -> Attempt:
    body = gzip.compress(b"[" + b" " * r.choice([10, 2**24]), 1)
    encoding = r.choice(["gzip", "deflate", "br", "gzip, gzip", "x"])
    return Attempt(
        "packed", [request(body, "/invocations", "POST", "application/json", f"Content-Encoding: {encoding}")]
    )


def content_types(r: random.Random) -> Attempt:
    kinds = [
        None,
        "",
        "text/plain",
        "application/json; charset=utf-16",
        ";;;",
        "application/json;" * 20,
        "multipart/form-data",
    ]
    kind = r.choice([*kinds, "application/vnd.apache.parquet", "\xff", 'APPLICATION/JSON ; CHARSET="UTF-8"'])
    return Attempt("content types", [request(json.dumps({"inputs": SENTENCES}).encode(), kind=kind)])


def comma_separated(r: random.Random) -> Attempt:
    bodies = [
        b"sentence\n" + r.randbytes(50),
        b'sentence\n"',
        b"a,b\n1,2",
        b"sentence\n" + b"x\n" * 3000,
        b"\n\n\n",
        b"\xef\xbb\xbf",
    ]
    bodies += [
        b"sentence,sentence\na,b",
        b"sentence\n" + b'"' * 10_000,
        b"sentence\n" + b"," * 100_000,
        b"sentence\n=1+1\n",
    ]
    return Attempt("CSV", [request(r.choice(bodies), kind="text/csv")])


def large(r: random.Random) -> Attempt:
    body = json.dumps({"inputs": [r.choice(SENTENCES)] * r.choice([2_001, 30_000])}).encode()
    if r.random() < 0.5:
        body = b'{"inputs": ["' + b"x" * r.choice([60_000, 1_100_000, 3_000_000]) + b'"]}'
    return Attempt("large", [request(body)])


def paths(r: random.Random) -> Attempt:
    odd = [
        "/../../etc/passwd",
        "/%00",
        "/%ff%fe",
        "//",
        "/a" * 2_000,
        "/?" + "a=b&" * 500,
        "/invocations/",
        "/;/",
        "*",
        "/\xe9",
    ]
    method = r.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "PROPFIND"])
    return Attempt("paths", [request(b"", r.choice(odd + PATHS), method)], answer=True)


def headers(r: random.Random) -> Attempt:
    more = [
        f"X-Request-ID: {r.choice(['a b', 'x' * 5_000, '<b>', chr(233)])}",
        "Host: example.invalid",
        "Origin: http://example.invalid",
        "Authorization: Bearer " + "x" * r.choice([1, 9_000]),
        "Expect: 100-continue",
        "Upgrade: " + r.choice(["h2c", "websocket"]) + "\r\nConnection: Upgrade",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Content-Length: 5",
        "Content-Length: -1",
        "Content-Length: " + "9" * 40,
        "X: " + "y" * r.choice([1_000, 70_000]),
        "\r\n".join(f"X-{i}: y" for i in range(r.choice([50, 3_000]))),
        "no colon",
        "X: \x00",
        ": empty",
        " folded: yes",
    ]
    body = json.dumps({"inputs": SENTENCES}).encode()
    chosen = r.sample(more, r.randrange(1, 3))
    return Attempt("headers", [request(body, "/invocations", "POST", "application/json", *chosen)], answer=False)


def no_http(r: random.Random) -> Attempt:
    sent = [
        r.randbytes(200),
        b"\x16\x03\x01" + r.randbytes(100),
        b"GET\r\n\r\n",
        b"GET /ping\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    return Attempt("no HTTP", [r.choice(sent)], answer=False, half=True)


def leaving(r: random.Random) -> Attempt:
    """Part of a request, or all of it, and gone."""
    whole = request(json.dumps({"inputs": SENTENCES * r.choice([1, 100])}).encode())
    cut = r.choice([0, 10, len(whole) // 2, len(whole) - 1, len(whole)])
    return Attempt("leaving", [whole[:cut]], answer=False, leave=True)


def half_closed(r: random.Random) -> Attempt:
    whole = request(json.dumps({"inputs": SENTENCES}).encode())
    return Attempt("half closed", [whole[: r.choice([20, len(whole) - 5, len(whole)])]], answer=False, half=True)


def slow(r: random.Random) -> Attempt:
    whole = request(json.dumps({"inputs": SENTENCES}).encode())
    size = len(whole) // 8
    return Attempt("slow", [whole[i : i + size] for i in range(0, len(whole), size)], pause=0.03)


def ahead(r: random.Random) -> Attempt:
    """Several requests sent at once on one connection."""
    one = request(json.dumps({"inputs": SENTENCES}).encode()).replace(b"Connection: close\r\n", b"")
    return Attempt("ahead", [one * r.randrange(2, 6) + request(b"{}")])


def texts(r: random.Random) -> Attempt:
    text = r.choice(
        ["." * 10_000, "A. " * 3_000, "\n" * 10_000, "[" * 5_000, "(" * 5_000 + ".", value(r), "\u202e", " | " * 4_000]
    )
    return Attempt("texts", [request(json.dumps({"text": text}).encode(), "/sentences")], document=True)


def documents(r: random.Random) -> Attempt:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * r.choice([10, 2**26]))
        archive.writestr("[Content_Types].xml", r.choice([b"", b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>"]))
    contents = [
        r.randbytes(500),
        b"%PDF-1.4\n" + r.randbytes(500),
        out.getvalue(),
        b"<div>" * 3_000,
        b"<table>" * 500,
        b"",
    ]
    name = r.choice(["a.pdf", "a.docx", "a.html", "a.md", "a.txt", "a.exe", "../a.txt", "a.txt%00.pdf", "%ff.html", ""])
    return Attempt(
        "documents",
        [request(r.choice(contents), f"/sentences?name={name}", kind="application/octet-stream")],
        document=True,
    )


KINDS = {
    valid: 8, types: 24, deep: 4, numbers: 4, broken: 12, keys_twice: 2, packed: 3, content_types: 5,
    comma_separated: 6, large: 2, paths: 6, headers: 8, no_http: 3, leaving: 4, half_closed: 3, slow: 1, ahead: 2,
    texts: 1, documents: 1,
}  # fmt: skip
"""How often each of them, in a hundred."""


# Sending and judging ------------------------------------------------------------------------------


def send(port: int, attempt: Attempt) -> bytes:
    """All that the server answers until it closes the connection."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        try:
            for number, part in enumerate(attempt.parts):
                if number:
                    time.sleep(attempt.pause)
                connection.sendall(part)
            if attempt.leave:
                return b""
            if attempt.half:
                connection.shutdown(socket.SHUT_WR)
            elif not attempt.answer:
                connection.settimeout(3)  # it may wait for more
            while part := connection.recv(2**16):
                received += part
        except (ConnectionError, TimeoutError):
            if attempt.answer and not received:
                raise
    return bytes(received)


def judge(attempt: Attempt, received: bytes) -> tuple[list[int], str]:
    """The statuses in an answer, and what is wrong with it; nothing where all is right."""
    answers = re.split(rb"(?=HTTP/1\.1 \d{3} )", received)[1:]
    answers = [answer for answer in answers if not answer.startswith(b"HTTP/1.1 100")]
    statuses = [int(answer[9:12]) for answer in answers]
    if not answers:
        return statuses, "no answer" if attempt.answer else ""
    for status, answer in zip(statuses, answers, strict=True):
        body = answer.partition(b"\r\n\r\n")[2]
        if status >= 500:
            return statuses, f"{status}: {body[:200]!r}"
        if attempt.kind == "valid" and status != 200:
            return statuses, f"a valid request is answered {status}: {body[:200]!r}"
        if status < 400:
            continue
        if leak := LEAK.search(answer):
            return statuses, f"it tells of the inside: {leak.group()!r}"
        if len(body) > 1_000:
            return statuses, f"a refusal of {len(body)} bytes"
        if body:
            told = json.loads(body)
            if set(told) != {"error_code", "message", "request_id"} or not re.fullmatch(
                r"[^\n]{5,400}\.", told["message"]
            ):
                return statuses, f"no refusal in one sentence: {body[:200]!r}"
    return statuses, ""


def run(port: int, number: int, seed: int = 0, at_once: int = 8) -> Report:
    """Send so many requests, and judge what comes back."""
    report, lock = Report(), threading.Lock()
    chosen = random.Random(seed).choices(list(KINDS), list(KINDS.values()), k=number)

    def one(place: int) -> None:
        attempt = chosen[place](random.Random(f"{seed}/{place}"))
        try:
            if attempt.document:
                with DOCUMENTS:
                    received = send(port, attempt)
            else:
                received = send(port, attempt)
            statuses, wrong = judge(attempt, received)
        except (OSError, ValueError) as error:
            statuses, wrong = [], f"{type(error).__name__}: {error}"
        with lock:
            report.sent[attempt.kind] += 1
            report.statuses.update(statuses)
            if wrong:
                report.failures.append(f"{attempt.kind} (seed {seed}, number {place}): {wrong}")

    with ThreadPoolExecutor(at_once) as pool:
        for _ in pool.map(one, range(number)):
            pass
    return report


# The server ---------------------------------------------------------------------------------------


@contextmanager
def served() -> Iterator[tuple[int, int]]:
    """(process id, port) of `findings serve`."""
    command = Path(sys.executable).with_name("findings")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([command, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not (told := re.search(r":(\d+)/ ", line)):
                log.seek(0)
                sys.exit(log.read().decode() or "the server did not start")
            yield process.pid, int(told[1])
        finally:
            process.terminate()
            process.wait(60)


def memory(pid: int) -> float:
    """Resident MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def usual(port: int) -> float:
    """Milliseconds to answer one sentence: the least of five medians, as other work on the machine only adds."""
    return min(median(port) for _ in range(5))


def median(port: int, times: int = 100) -> float:
    """The median time, in milliseconds, of one sentence's answer on one connection."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    for _ in range(times):
        begun = time.perf_counter()
        connection.request(
            "POST", "/invocations", b'{"inputs": ["Too many visits are late."]}', {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        took.append(time.perf_counter() - begun)
    connection.close()
    return statistics.median(took) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description="Send hostile requests to findings serve.")
    parser.add_argument("number", nargs="?", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schemathesis", action="store_true", help="also what that tool generates")
    options = parser.parse_args()
    with served() as (pid, port):
        usual(port)
        run(port, max(200, options.number // 20), options.seed + 1)  # caches and pools fill: that is no leak
        before = memory(pid), usual(port)
        begun = time.perf_counter()
        report = run(port, options.number, options.seed)
        seconds = time.perf_counter() - begun
        failed = bool(report.failures)
        if options.schemathesis and (tool := shutil.which("schemathesis", path=str(Path(sys.executable).parent))):
            address = f"http://127.0.0.1:{port}/openapi.json"
            checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
            done = subprocess.run([tool, "run", address, "--checks", checks, "-n", "300", "--seed", "1"], check=False)
            failed |= done.returncode != 0
        after = memory(pid), usual(port)
    for failure in report.failures[:30]:
        print(failure)
    print(f"{report.sent.total()} requests in {seconds:.0f} s, {len(report.failures)} failures")
    print("kinds: " + ", ".join(f"{kind} {number}" for kind, number in report.sent.most_common()))
    print("answers: " + ", ".join(f"{status} {number}" for status, number in sorted(report.statuses.items())))
    print(f"memory: {before[0]:.0f} MiB before, {after[0]:.0f} after ({after[0] / before[0] - 1:+.1%})")
    print(f"one sentence, median: {before[1]:.2f} ms before, {after[1]:.2f} after")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
