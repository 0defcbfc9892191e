"""A few hundred of the hostile requests that `benchmarks/hostile_requests.py` sends by the thousand."""

import sys

import pytest
import words
from conftest import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import hostile_requests


def test_hostile_requests_are_refused_or_answered_and_the_server_goes_on():
    with words.running() as running:
        report = hostile_requests.run(running.port, 400, seed=2)
        assert report.failures == []
        assert report.sent.total() == 400
        assert len(report.sent) >= 15
        assert min(report.statuses) == 200
        assert running.ask("POST", "/invocations", {"inputs": ["good"]})[0] == 200


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"", "no answer"),
        (b"HTTP/1.1 500 X\r\n\r\n{}", "500"),
        (b"HTTP/1.1 400 X\r\n\r\nTraceback (most recent call last)", "inside"),
        (b'HTTP/1.1 400 X\r\n\r\n{"message": "no file /tmp/x."}', "inside"),
        (b"HTTP/1.1 400 X\r\n\r\n" + b"x" * 2000, "2000 bytes"),
        (b'HTTP/1.1 400 X\r\n\r\n{"message": "wrong"}', "no refusal in one sentence"),
        (b'HTTP/1.1 400 X\r\n\r\n{"error_code": "X", "message": "Send text.", "request_id": ""}', ""),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", ""),
    ],
)
def test_its_judgement(answer, wrong):
    attempt = hostile_requests.Attempt("types", [])
    found = hostile_requests.judge(attempt, answer)[1]
    assert wrong in found
    assert bool(found) == bool(wrong)
