import csv

import pytest
from corpora import Paper, change, write

from findings import tasks
from findings.annotations import read_corpus
from findings.errors import FindingsError
from findings.sentences import fingerprint

TEXT = """# Visit

First sentence of all. Second sentence, which is longer.

## Next steps

- Write more plans down.
- =SUM(A1) is how one row begins.
"""


@pytest.fixture
def visit(tmp_path):
    path = tmp_path / "visit.md"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_every_sentence_is_a_task_between_its_neighbours(visit):
    found = tasks.of_document(visit, "visit")
    assert [t.sentence_id for t in found] == ["visit-001", "visit-002", "visit-003", "visit-004"]
    assert [(t.before, t.after) for t in found[:2]] == [
        ("", "Second sentence, which is longer."),
        ("First sentence of all.", "Write more plans down."),
    ]
    assert found[-1].after == ""
    assert [(t.heading, t.list_item) for t in found[1:3]] == [("Visit", False), ("Next steps", True)]
    for task in found:
        assert TEXT[task.start : task.end] == task.sentence
        assert task.fingerprint == fingerprint(task.sentence)


def test_a_corpus_gives_its_annotated_sentences_and_documents_without_annotations(tmp_path):
    said = (
        ("Care leavers have homes.", "strength", "care_leavers"),
        ("Plans drift.", "concern", "assessment_planning"),
    )
    papers = (Paper("Testbury", "train", said), Paper("Mockshire", "test", said))
    corpus = write(tmp_path / "corpus", papers)
    (corpus / "annotations" / f"{papers[1].document_id}.csv").unlink()
    first = corpus / "annotations" / f"{papers[0].document_id}.csv"
    change(first, 2, sentence_id="own-id")
    found = tasks.of_corpus(read_corpus(corpus))
    assert [t.sentence_id for t in found] == [
        "own-id",
        f"{papers[0].document_id}-002",
        f"{papers[1].document_id}-001",
        f"{papers[1].document_id}-002",
    ]
    assert [t.heading for t in found[:2]] == ["Main findings", "Main findings"]
    assert (found[0].before, found[0].after) == ("", "Plans drift.")


def test_tasks_come_back_from_csv_with_their_text_from_the_document(visit, tmp_path):
    found = tasks.of_document(visit, "visit")
    path = tmp_path / "tasks.csv"
    tasks.write(path, reversed(found), {"uncertainty": [0.4, 0.3, 0.2, 0.1]})
    assert tasks.read(path) == list(reversed(found))
    with path.open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["sentence"] == "'=SUM(A1) is how one row begins."  # no formula for a spreadsheet
    assert first["uncertainty"] == "0.4"


def test_a_document_that_changed_since_is_named(visit, tmp_path):
    path = tmp_path / "tasks.csv"
    tasks.write(path, tasks.of_document(visit, "visit"))
    visit.write_text(TEXT.replace("Second sentence", "Secund sentence"), encoding="utf-8")
    with pytest.raises(FindingsError) as caught:
        tasks.read(path)
    assert str(caught.value) == f"{path}:3: {visit} does not hold this sentence there. Pick the sentences anew."
    visit.unlink()
    with pytest.raises(FindingsError, match=f"{path}:2: {visit}: No such file"):
        tasks.read(path)
