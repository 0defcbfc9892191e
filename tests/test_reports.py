"""Reports at hand: their names, damage, and sentences that are parsed once."""

import json
import shutil

import pytest
from corpora import Paper, write_report

from findings import documents, reports
from findings.errors import FindingsError
from findings.reports import AtHand, Report
from findings.sentences import sentences

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
    right = report(reports.sha256(path))
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


def test_sentences_are_kept_and_are_the_same(path, tmp_path):
    store = tmp_path / "parsed"
    read = documents.read(path)
    for _ in range(2):
        document, cut = reports.parse(path, store)
        assert cut == sentences(read)
        assert (document.text, document.page_starts, document.format) == (read.text, read.page_starts, "pdf")
    (kept,) = store.iterdir()
    assert kept.name == f"{reports.sha256(path)}.json"
    held = json.loads(kept.read_text(encoding="utf-8"))
    held["sentences"][0][0] = "From what was kept."
    kept.write_text(json.dumps(held), encoding="utf-8")
    assert reports.parse(path, store)[1][0].text == "From what was kept."
    kept.write_text(json.dumps(held | {"parser": "an older one"}), encoding="utf-8")
    assert reports.parse(path, store)[1] == sentences(read)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"parser": 1}'])
def test_what_was_kept_and_is_torn_is_made_anew(path, tmp_path, content):
    store = tmp_path / "parsed"
    expected = reports.parse(path, store)
    (kept,) = store.iterdir()
    whole = kept.read_bytes()
    kept.write_text(content, encoding="utf-8")
    assert reports.parse(path, store) == expected or reports.parse(path, store)[1] == expected[1]
    assert kept.read_bytes() == whole


def test_without_room_nothing_is_kept_and_nothing_is_lost(path, tmp_path):
    (tmp_path / "in the way").write_text("")
    assert len(reports.parse(path, tmp_path / "in the way")[1]) == len(reports.parse(path, tmp_path / "parsed")[1])


def test_a_torn_pdf_is_named(path, tmp_path):
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(FindingsError, match=r"101\.pdf: "):
        reports.parse(path, tmp_path / "parsed")


def test_where_what_is_not_shipped_is_kept(monkeypatch, tmp_path):
    assert reports.home("ofsted").name == "ofsted"
    assert (reports.home("ofsted").parents[1] / "pyproject.toml").is_file()  # these tests run in a checkout
