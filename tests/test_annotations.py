import pytest
from corpora import Paper, append, cells, change, drop_column, write

from findings import annotations, taxonomy
from findings.annotations import InvalidCorpusError, Violation, check, read_corpus
from findings.errors import FindingsError

LABELS = taxonomy.load()
PAPERS = (
    Paper(
        "Examplemoor",
        "train",
        (
            ("Visits to children happen on time and have a clear purpose.", "strength", "assessment_planning"),
            ("Plans are too long and hard for parents to follow.", "concern", "assessment_planning voice"),
            ("Record the reason for every decision.", "recommendation", "management_oversight"),
        ),
    ),
    Paper(
        "Draftley",
        "validation",
        (
            ("Foster carers feel valued by the council.", "strength", "children_in_care"),
            ("The meeting began at six.", "none", ""),
        ),
        kind="minutes",
        ending="txt",
    ),
    Paper("Pilotby", "test", (("Too many young people leave care without a home.", "concern", "care_leavers"),)),
)
FIRST, SECOND, THIRD = (f"annotations/{paper.document_id}.csv" for paper in PAPERS)
TABLE = "documents.csv"


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "corpus", PAPERS)


def violations(folder):
    return check(read_corpus(folder), LABELS)


def test_sound_corpus_has_no_violation(folder):
    corpus = read_corpus(folder)
    assert check(corpus, LABELS) == []
    assert [entry.authority for entry in corpus.documents] == ["Examplemoor", "Draftley", "Pilotby"]
    assert len(corpus.annotations) == 6


def test_annotation_is_read_with_its_place(folder):
    corpus = read_corpus(folder)
    found = next(a for a in corpus.annotations if a.sentence.startswith("Plans"))
    document = next(entry.document for entry in corpus.documents if entry.document_id == found.document_id)
    assert document.text[found.start : found.end] == found.sentence
    assert (found.finding, found.themes) == ("concern", ("assessment_planning", "voice"))
    assert found.place == f"{folder / FIRST}:3"


FINDINGS = "strength, concern, recommendation, none"
VIOLATIONS = {
    "unknown finding": (FIRST, 2, {"finding": "praise"}, f"unknown finding 'praise'. Use one of {FINDINGS}."),
    "no finding": (FIRST, 2, {"finding": ""}, f"unknown finding ''. Use one of {FINDINGS}."),
    "unknown theme": (FIRST, 3, {"themes": "voice parking"}, "unknown theme 'parking'. Use one of leadership,"),
    "too many themes": (
        FIRST,
        2,
        {"themes": "voice workforce leadership early_help"},
        "themes 'voice workforce leadership early_help': give at most 3, each once.",
    ),
    "theme twice": (FIRST, 2, {"themes": "voice voice"}, "themes 'voice voice': give at most 3, each once."),
    "no annotator": (SECOND, 2, {"annotator": ""}, "no annotator. Say who or what gave the labels."),
    "span moved": (FIRST, 2, {"start": 3}, "the span does not match its sentence. Characters 3 to"),
    "span before the text": (FIRST, 2, {"start": -9}, "the span does not match its sentence. Characters -9 to"),
    "span beyond the text": (THIRD, 2, {"end": 9999}, "correct the span or the text."),
    "span turned round": (THIRD, 2, {"end": 1}, "correct the span or the text."),
    "sentence reworded": (FIRST, 2, {"sentence": "Visits happen late."}, "the span does not match its sentence."),
    "unknown kind": (TABLE, 2, {"kind": "memo"}, "unknown kind 'memo'. Use one of inspection_report, visit_letter,"),
    "unknown split": (TABLE, 2, {"split": "dev"}, "unknown split 'dev'. Use one of train, validation, test."),
    "no authority": (TABLE, 3, {"authority": " "}, "no authority. Name the council"),
    "no date": (TABLE, 4, {"published": "12 March"}, "published '12 March' is no date. Write YYYY-MM-DD"),
    "day that is not": (TABLE, 4, {"published": "2023-02-29"}, "published '2023-02-29' is no date."),
    "date without hyphens": (TABLE, 4, {"published": "20230228"}, "published '20230228' is no date."),
    "week date": (TABLE, 4, {"published": "2023-W09-2"}, "published '2023-W09-2' is no date."),
    "missing file": (TABLE, 2, {"file": "lost.md"}, "lost.md is missing. Put it there or remove the row."),
    "no file": (TABLE, 2, {"file": ""}, "is missing. Put it there or remove the row."),
    "value over two lines": (FIRST, 2, {"finding": "str\nength"}, "unknown finding 'str ength'. Use one of"),
}


@pytest.mark.parametrize(("file", "row", "changed", "message"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_violation_names_file_row_and_remedy_in_one_line(folder, file, row, changed, message):
    change(folder / file, row, **changed)
    (found,) = violations(folder)
    assert str(found).startswith(f"{folder / file}:{row}: ")
    assert message in str(found)
    assert "\n" not in str(found)


def test_empty_date_is_allowed(folder):
    change(folder / TABLE, 2, published="")
    assert violations(folder) == []


def test_sentence_id_is_unique_across_documents(folder):
    change(folder / THIRD, 2, sentence_id=cells(folder / FIRST, 3)[0])
    (found,) = violations(folder)
    assert found.place == f"{folder / THIRD}:2"
    assert f"is not unique. It is at {folder / FIRST}:3 too; give each sentence its own." in found.message


def test_document_id_is_unique(folder):
    append(folder / TABLE, cells(folder / TABLE, 3))
    (found,) = violations(folder)
    assert found.place == f"{folder / TABLE}:5"
    assert f"is not unique. It is at {folder / TABLE}:3 too; give each its own." in found.message


@pytest.mark.parametrize("spelling", ["Examplemoor", " examplemoor", "EXAMPLEMOOR"])
def test_authority_in_two_splits(folder, spelling):
    change(folder / TABLE, 4, authority=spelling)
    (found,) = violations(folder)
    assert found.place == f"{folder / TABLE}:4"
    assert f"authority '{spelling}' is in two splits." in found.message
    assert f"Move all its documents to one split ({folder / TABLE}:2 says train)." in found.message


@pytest.mark.parametrize("absolute", [False, True])
def test_path_outside_documents(folder, tmp_path, absolute):
    inside = folder / "documents" / cells(folder / TABLE, 2)[1]
    outside = inside.rename(tmp_path / "elsewhere.md")
    change(folder / TABLE, 2, file=outside if absolute else "../../elsewhere.md")
    (found,) = violations(folder)
    assert str(found) == f"{folder / TABLE}:2: file 'elsewhere.md' lies outside documents/. Move it there."


def test_link_that_leads_outside_documents(folder, tmp_path):
    inside = folder / "documents" / cells(folder / TABLE, 2)[1]
    inside.symlink_to(inside.rename(tmp_path / "elsewhere.md"))
    (found,) = violations(folder)
    assert "lies outside documents/" in found.message


def test_overlapping_spans_name_both(folder):
    path = folder / FIRST
    identifier, start, end, *_ = cells(path, 2)
    text = "Visits to children happen on time"
    append(path, (f"{identifier}-b", start, int(start) + len(text), "none", "", "author", text))
    (found,) = violations(folder)
    assert found.place == f"{path}:5"
    assert found.message == f"the span overlaps that of {path}:2. Label each sentence once."
    assert int(end) > int(start)


def test_every_span_inside_a_longer_one_is_told(folder):
    path = folder / FIRST
    start = int(cells(path, 2)[1])
    whole = "Visits to children happen on time and have a clear purpose."
    for number, piece in enumerate(("Visits", "clear purpose.")):
        begin = start + whole.index(piece)
        append(path, (f"piece-{number}", begin, begin + len(piece), "none", "", "author", piece))
    assert [found.place for found in violations(folder)] == [f"{path}:5", f"{path}:6"]


def test_span_is_compared_by_letters_and_digits(folder):
    change(folder / FIRST, 2, sentence="Visits  to children happen on time - and have a “clear” purpose")
    assert violations(folder) == []


def test_unreadable_document_is_told_once(folder):
    name = cells(folder / TABLE, 2)[1]
    (folder / "documents" / name).rename(folder / "documents" / "torn.pdf")
    (folder / "documents" / "torn.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    change(folder / TABLE, 2, file="torn.pdf")
    (found,) = violations(folder)
    assert found.place == f"{folder / TABLE}:2"
    assert found.message.startswith("its file cannot be read: ")
    assert "Fetch the file again." in found.message
    assert "\n" not in str(found)


def test_empty_dataset(folder):
    for path in (folder / "annotations").iterdir():
        path.unlink()
    (found,) = violations(folder)
    assert str(found) == f"{folder}: the dataset is empty: no annotations. Add annotations/<id>.csv."


def test_annotations_without_their_document(folder):
    (folder / THIRD).rename(folder / "annotations" / "nowhere_2024_news.csv")
    with pytest.raises(InvalidCorpusError) as caught:
        read_corpus(folder)
    told = str(caught.value)
    assert told.startswith(f"{folder / 'annotations' / 'nowhere_2024_news.csv'}:1: annotations without their document")
    assert "Add the document to documents.csv or remove the file." in told
    assert "\n" not in told


def test_no_corpus_in_the_folder(tmp_path):
    with pytest.raises(FindingsError, match=r"documents\.csv: no such file\. A corpus folder holds") as caught:
        read_corpus(tmp_path / "missing")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("file", "column"), [(TABLE, "authority"), (FIRST, "themes")])
def test_missing_column(folder, file, column):
    drop_column(folder / file, column)
    with pytest.raises(FindingsError) as caught:
        read_corpus(folder)
    assert str(caught.value).startswith(f"{folder / file}:1: no column '{column}'. The first line names: ")
    assert "\n" not in str(caught.value)


def test_file_without_a_line(folder):
    (folder / FIRST).write_text("", encoding="utf-8")
    with pytest.raises(FindingsError, match=":1: no column 'sentence_id'"):
        read_corpus(folder)


@pytest.mark.parametrize("row", [("only", "three", "cells"), tuple("12345678")])
def test_torn_row(folder, row):
    append(folder / FIRST, row)
    with pytest.raises(FindingsError) as caught:
        read_corpus(folder)
    assert str(caught.value) == f"{folder / FIRST}:5: a torn row. Give it 7 columns."


def test_span_that_is_no_number(folder):
    change(folder / FIRST, 3, start="ten")
    with pytest.raises(FindingsError) as caught:
        read_corpus(folder)
    assert str(caught.value) == f"{folder / FIRST}:3: start and end must be whole numbers."


@pytest.mark.parametrize("content", [b'sentence_id,"start\n', "sentence_id\nEg\u00e9".encode("latin-1")])
def test_file_that_is_no_csv(folder, content):
    (folder / FIRST).write_bytes(content)
    with pytest.raises(FindingsError) as caught:
        read_corpus(folder)
    assert str(caught.value).startswith(f"{folder / FIRST}")
    assert "\n" not in str(caught.value)


def test_folder_in_place_of_a_file(folder):
    (folder / FIRST).unlink()
    (folder / FIRST).mkdir()
    with pytest.raises(FindingsError, match="Check that it is a file that you may read"):
        read_corpus(folder)


@pytest.mark.parametrize("row", [1, 3])
def test_a_blank_row_before_others_may_be_a_lost_one(folder, row):
    lines = (folder / FIRST).read_text(encoding="utf-8").splitlines()
    (folder / FIRST).write_text("\n".join([*lines[:row], "", *lines[row:]]) + "\n", encoding="utf-8")
    with pytest.raises(FindingsError) as caught:
        read_corpus(folder)
    assert str(caught.value) == f"{folder / FIRST}:{row + 1}: a blank row. Restore what it held, or remove it."


def test_blank_rows_at_the_end_are_let_pass(folder):
    with (folder / FIRST).open("a", encoding="utf-8") as file:
        file.write("\n\n")
    assert violations(folder) == []


def test_nul_bytes_are_a_torn_row(folder):
    change(folder / TABLE, 2, file="minutes\0.txt")
    with pytest.raises(FindingsError) as caught:
        read_corpus(folder)
    assert str(caught.value) == f"{folder / TABLE}:2: a torn row (NUL bytes). Restore the file from a copy."


def test_spreadsheet_byte_order_mark_is_let_pass(folder):
    for file in (TABLE, FIRST):
        (folder / file).write_bytes(b"\xef\xbb\xbf" + (folder / file).read_bytes())
    assert violations(folder) == []


def test_all_violations_are_found_and_five_are_shown(folder):
    for row in (2, 3, 4):
        change(folder / FIRST, row, finding="praise", annotator="")
    found = violations(folder)
    assert len(found) == 6
    lines = str(InvalidCorpusError(found)).splitlines()
    assert lines[:5] == [str(violation) for violation in found[:5]]
    assert lines[5:] == ["... and 1 more: `findings data check` lists them all."]
    assert InvalidCorpusError(found).violations == found
    assert str(InvalidCorpusError([Violation("a.csv:2", "wrong. Mend it.")])) == "a.csv:2: wrong. Mend it."


def test_written_annotations_read_the_same(folder):
    before = read_corpus(folder)
    original = (folder / FIRST).read_bytes()
    mine = [a for a in before.annotations if a.place.startswith(str(folder / FIRST))]
    annotations.write_annotations(folder / FIRST, mine)
    assert (folder / FIRST).read_bytes() == original
    assert read_corpus(folder) == before


def test_failed_write_leaves_the_old_file_and_nothing_else(folder):
    original = (folder / FIRST).read_bytes()
    names = sorted(path.name for path in (folder / "annotations").iterdir())

    def torn():
        yield read_corpus(folder).annotations[0]
        raise OSError("the disk is full")

    with pytest.raises(FindingsError, match=f"{FIRST}: the disk is full. Nothing half-written is left."):
        annotations.write_annotations(folder / FIRST, torn())
    assert (folder / FIRST).read_bytes() == original
    assert sorted(path.name for path in (folder / "annotations").iterdir()) == names
