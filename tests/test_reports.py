"""Reports at hand: their names, and what damage shows."""

import shutil

import pytest
from corpora import Paper, write_report

from findings import parsed, reports
from findings.reports import AtHand, Report

PAPER = Paper(
    "Examplemoor",
    "train",
    (
        ("The visit to Examplemoor lasted two days.", "none", ""),
        ("Staff know the children well.", "strength", "voice"),
        ("Read every file before the meeting.", "recommendation", "assessment_planning"),
    ),
)


@pytest.fixture
def path(tmp_path):
    write_report(tmp_path / "101.pdf", PAPER)
    return tmp_path / "101.pdf"


def report(sha256=""):
    return Report("101", "inspection_report", "Examplemoor", "", "", "train", sha256)


def test_the_annotated_file_comes_before_a_changed_one(path):
    folder = path.parent
    right = report(parsed.sha256(path))
    assert reports.at_hand(right, folder) == AtHand(path, changed=False)
    changed = folder / "101.changed.pdf"
    shutil.copy(path, changed)
    assert reports.at_hand(right, folder) == AtHand(path, changed=False)
    assert reports.at_hand(report("0" * 64), folder) == AtHand(changed, changed=True)
    changed.unlink()
    assert reports.at_hand(report("0" * 64), folder) == AtHand(path, changed=True)
    assert reports.at_hand(report(), folder) == AtHand(path, changed=False)
    path.unlink()
    assert reports.at_hand(report(), folder) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"<html><body>Sorry</body></html>", "an HTML page, not a PDF"),
        (b"PK\x03\x04", "not a PDF"),
        (b"%PDF-1.7\n" + b"x" * 9000, "the PDF is cut short"),
    ],
)
def test_damage(tmp_path, content, problem):
    (tmp_path / "a.pdf").write_bytes(content)
    assert reports.damage(tmp_path / "a.pdf") == problem


def test_a_whole_pdf_has_no_damage(path):
    assert reports.damage(path) is None


def test_where_what_is_not_shipped_is_kept():
    assert reports.home("ofsted").name == "ofsted"
    assert (reports.home("ofsted").parents[1] / "pyproject.toml").is_file()  # these tests run in a checkout
