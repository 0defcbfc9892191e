import hashlib
import json
from datetime import date

import pytest

from findings import pages, reading, registry
from findings.about import About

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
    return reading.read(tmp_path / "visit.md", model, "the champion")


def test_every_sentence_has_its_place_and_labels(read):
    found = {s.sentence: s for s in read.sentences}
    item = found["The timeliness of visits."]
    assert (item.heading, item.list_item, item.page) == ("What needs to improve", True, 1)
    assert found["Too many plans drift."].paragraph == 1
    assert all(0 < s.finding_probability <= 1 for s in read.sentences)
    assert all(TEXT[s.start : s.end].startswith(s.sentence[:5]) for s in read.sentences)


def test_a_reading_holds_what_the_document_says_of_itself(read):
    assert (read.name, read.pages, read.labelled_by) == ("visit.md", 1, "the champion")
    assert read.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert isinstance(read.about, About)


def test_json_lines_hold_one_sentence_each(read, model, tmp_path):
    pages.write(read, tmp_path, "visit", model.taxonomy, date(2026, 1, 31))
    rows = [json.loads(line) for line in (tmp_path / "visit.jsonl").read_text().splitlines()]
    assert [row["sentence"] for row in rows] == [s.sentence for s in read.sentences]
    assert rows[0]["document"] == "visit.md"


def test_files_takes_folders_and_names_what_is_missing(tmp_path):
    (tmp_path / "in" / "readings").mkdir(parents=True)
    (tmp_path / "in" / "b.txt").write_text("b")
    (tmp_path / "in" / "readings" / "b.html").write_text("a result of before")
    (tmp_path / "in" / "index.csv").write_text("not a document")
    (tmp_path / "empty").mkdir()
    asked = [tmp_path / "in", tmp_path / "in" / "b.txt", tmp_path / "gone.pdf", tmp_path / "empty"]
    found, missing = reading.files(asked, tmp_path / "in" / "readings")
    assert found == [tmp_path / "in" / "b.txt"]
    assert ["gone.pdf: no such file" in missing[0], "empty: no document" in missing[1]] == [True, True]


def test_results_of_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    paths = ["report.pdf", "report.docx", "report.pdf.txt", "x/report.pdf", "REPORT.txt", "b.txt", f"{'l' * 250}.txt"]
    names = reading.names([tmp_path / path for path in paths])
    assert len({name.casefold() for name in names.values()}) == len(paths)
    assert names[tmp_path / "b.txt"] == "b"
    assert max(map(len, names.values())) <= 110
