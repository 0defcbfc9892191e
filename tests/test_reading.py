import csv
import json
import re

import pytest

from findings import reading, registry
from findings.errors import FindingsError

TEXT = """# Visit to Examplemoor

## What needs to improve

- The timeliness of visits.
- =SUM(A1:A9) and other oddities.

## Findings

1. Supervision is regular. Too many plans drift.

<script>alert(1)</script>
"""


@pytest.fixture
def model(connected):
    return registry.load(registry.require_champion("findings"))


@pytest.fixture
def read(model, tmp_path):
    (tmp_path / "visit.md").write_text(TEXT)
    made = reading.read(tmp_path / "visit.md", model)
    reading.write(made, tmp_path, "visit", model)
    return made


def test_every_sentence_has_its_place_and_labels(read):
    found = {s.sentence: s for s in read.sentences}
    item = found["The timeliness of visits."]
    assert (item.heading, item.list_item, item.page) == ("What needs to improve", True, 1)
    assert found["Too many plans drift."].paragraph == 1
    assert all(0 < s.finding_probability <= 1 for s in read.sentences)
    assert all(TEXT[s.start : s.end].startswith(s.sentence[:5]) for s in read.sentences)


def test_json_lines_hold_one_sentence_each(read, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "visit.jsonl").read_text().splitlines()]
    assert [row["sentence"] for row in rows] == [s.sentence for s in read.sentences]
    assert rows[0]["document"] == "visit.md"


def test_csv_cells_cannot_run_as_formulas(read, tmp_path):
    with (tmp_path / "visit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(read.sentences)
    assert all(not str(value).startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    assert any(row["sentence"].startswith("'=SUM") for row in rows)


def test_html_is_self_contained_and_inert(read, tmp_path):
    page = (tmp_path / "visit.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href|url)\s*[=(]", page)
    assert "The timeliness of visits." in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    for mark in reading.MARKS.values():
        assert mark in page


def test_nothing_half_written_is_left(read, tmp_path):
    assert sorted(p.name for p in tmp_path.iterdir()) == ["visit.csv", "visit.html", "visit.jsonl", "visit.md"]


def test_files_takes_folders_and_names_what_is_missing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.txt").write_text("b")
    (tmp_path / "in" / "index.csv").write_text("not a document")
    assert reading.files([tmp_path / "in", tmp_path / "in" / "b.txt"]) == [tmp_path / "in" / "b.txt"]
    with pytest.raises(FindingsError, match=r"gone\.pdf: no such file"):
        reading.files([tmp_path / "gone.pdf"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FindingsError, match="empty: no document in this folder"):
        reading.files([tmp_path / "empty"])


def test_outputs_of_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    paths = [tmp_path / "a.pdf", tmp_path / "a.docx", tmp_path / "x" / "a.pdf", tmp_path / "b.txt"]
    names = reading.names(paths)
    assert len(set(names.values())) == 4
    assert names[tmp_path / "b.txt"] == "b"
