"""Stand-off annotations: made, checked, found again in their reports, built into a dataset."""

import json
import re
import shutil

import pandas as pd
import pytest
from conftest import REPOSITORY, SMALL, command
from corpora import Paper, change, learnable, write, write_corpus, write_report, write_standoff

from findings import dataset, parsed, standoff, taxonomy
from findings.annotations import SPLITS, InvalidCorpusError
from findings.documents import Document
from findings.errors import FindingsError
from findings.sentences import Sentence, fingerprint
from findings.standoff import Mark

LABELS = taxonomy.load()
SHARED = REPOSITORY.parent / "shared"

PAPERS = [
    Paper(
        f"{name} Parva",
        split,
        (
            (f"Two inspectors came to {name} in the second week of {month}.", "none", ""),
            (f"Carers in {name} are proud of what {thing} brings to families.", "strength", "voice"),
            (f"Nobody in {name} answers the telephone at night when {thing} fails.", "concern", "front_door"),
            (f"The number of {thing} visits to every family should be raised.", "recommendation", "early_help"),
        ),
        published=published,
    )
    for name, split, month, thing, published in (
        ("Testbury", "train", "March", "the toy library", "2024-03-12"),
        ("Draftley", "validation", "May", "a choir", "2022-05-03"),
        ("Pilotby", "test", "June", "the allotment", ""),
    )
]


@pytest.fixture
def folder(tmp_path):
    return write_standoff(tmp_path / "standoff", PAPERS)


def build(folder):
    return dataset.build_standoff(folder, folder / "reports", name="small", source="ofsted", taxonomy=LABELS)


# Making and reading -------------------------------------------------------------------------------


def test_they_hold_no_text(folder):
    told = "".join((folder / name).read_text(encoding="utf-8") for name in ("reports.csv", "annotations.csv"))
    assert "telephone" not in told
    assert "Main findings" not in told


def test_what_is_written_is_what_is_read(folder):
    marks = standoff.read(folder)
    assert standoff.check(marks, LABELS) == []
    assert [report.authority for report in marks.reports] == ["Draftley Parva", "Pilotby Parva", "Testbury Parva"]
    assert {report.source_file_id for report in marks.reports} == {"1001", "1002", "1003"}
    assert all(len(report.sha256) == 64 for report in marks.reports)
    assert [report.published for report in marks.reports] == ["2022-05-03", "", "2024-03-12"]
    first = marks.marks[0]
    sentence = PAPERS[1].sentences[0][0]
    assert (first.sentence_id, first.page, first.sha256) == ("1002-0", 1, fingerprint(sentence))
    assert first.letters == sum(char.isalnum() for char in sentence)
    before = (folder / "annotations.csv").read_bytes()
    standoff.write(marks)
    assert (folder / "annotations.csv").read_bytes() == before


def test_the_command_makes_them_from_annotated_sentences(folder, tmp_path):
    arguments = ["annotate", "standoff", folder / "rows.jsonl", "--pdfs", folder / "reports", "--annotator", "author"]
    done = command(*arguments, "--out", tmp_path / "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{tmp_path / 'again'}: 12 sentences of 3 reports, 3 with a known SHA-256"
    assert (tmp_path / "again" / "annotations.csv").read_bytes() == (folder / "annotations.csv").read_bytes()
    assert command("data", "check", tmp_path / "again", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "a", "source_file_id": "7", "authority', "rows.jsonl:2: a torn line"),
        ('["a"]', "rows.jsonl:2: not an annotated sentence"),
        ('{"id": "a", "source_file_id": "7", "authority": "X", "page": 1, "finding": "none"}', "no 'sentence'"),
        (
            '{"id": "a", "source_file_id": "7", "authority": "X", "page": "one", "sentence": "A", "finding": "none"}',
            "2:",
        ),
        (
            '{"id": "a", "source_file_id": "1", "authority": "Y", "page": 1, "sentence": "A", "finding": "none"}',
            "other",
        ),
        ('{"id": "a", "source_file_id": "7", "authority": "X", "page": 1, "sentence": "A", "finding": "fine"}', "fine"),
        (
            '{"id": "one", "source_file_id": "7", "authority": "X", "page": 1, "sentence": "A", "finding": "none"}',
            "uniq",
        ),
    ],
)
def test_a_torn_line_is_named_and_nothing_is_written(tmp_path, line, words):
    good = '{"id": "one", "source_file_id": "1", "authority": "X", "page": 1, "sentence": "A.", "finding": "none"}'
    (tmp_path / "rows.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    done = command("annotate", "standoff", "rows.jsonl", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_authority_goes_into_one_split_whatever_else_there_is():
    names = [f"Place {number}" for number in range(2000)]
    splits = pd.Series([standoff.split_of(name) for name in names]).value_counts(normalize=True)
    assert splits.to_dict() == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.03)
    assert standoff.split_of("PLACE 7") == standoff.split_of("Place 7")


@pytest.mark.parametrize(
    ("table", "row", "cells", "message"),
    [
        ("annotations.csv", 3, {"page": "two"}, "page and letters must be whole numbers"),
        ("annotations.csv", 3, {"list_item": "yes"}, "list_item must be true or false"),
        ("annotations.csv", 3, {"page": 0}, "page and letters count from 1"),
        ("annotations.csv", 3, {"sha256": "abc"}, "sha256 is no SHA-256"),
        ("annotations.csv", 3, {"source_file_id": "77"}, "report '77' is not in reports.csv"),
        ("annotations.csv", 3, {"finding": "praise"}, "unknown finding 'praise'"),
        ("annotations.csv", 3, {"themes": "weather"}, "unknown theme 'weather'"),
        ("annotations.csv", 3, {"sentence_id": "1002-0"}, "sentence id '1002-0' is not unique"),
        ("annotations.csv", 3, {"annotator": ""}, "no annotator"),
        ("reports.csv", 3, {"source_file_id": "1002"}, "report '1002' is not unique"),
        ("reports.csv", 3, {"source_file_id": "../1"}, "must be letters and digits"),
        ("reports.csv", 3, {"split": "dev"}, "unknown split 'dev'"),
        ("reports.csv", 3, {"kind": "tweet"}, "unknown kind 'tweet'"),
        ("reports.csv", 3, {"authority": ""}, "no authority"),
        ("reports.csv", 3, {"authority": "DRAFTLEY PARVA"}, "authority 'DRAFTLEY PARVA' is in two splits"),
        ("reports.csv", 3, {"published": "May"}, "published 'May' is no date"),
        ("reports.csv", 3, {"sha256": "abc"}, "sha256 is no SHA-256"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_row(folder, table, row, cells, message):
    change(folder / table, row, **cells)
    with pytest.raises(FindingsError) as caught:
        build(folder)
    assert f"{folder / table}:{row}: " in str(caught.value)
    assert message in str(caught.value)


def test_a_torn_row_is_named(folder):
    path = folder / "annotations.csv"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FindingsError) as caught:
        build(folder)
    assert str(caught.value).startswith(f"{path}:13: a torn row")


def test_a_missing_table_is_named(folder):
    (folder / "annotations.csv").unlink()
    with pytest.raises(FindingsError, match=r"annotations\.csv: no such file.*findings annotate standoff"):
        build(folder)


# Finding the sentences again ----------------------------------------------------------------------


def document(*pages):
    """A document of pages of sentences, and its sentences."""
    text, starts, cut = "", [], []
    for number, page in enumerate(pages, 1):
        starts.append(len(text))
        for sentence in page:
            cut.append(
                Sentence(sentence, f"Heading {number}", number, None, False, len(text), len(text) + len(sentence))
            )
            text += sentence + "\n\n"
    return Document("a.pdf", "pdf", text, (), tuple(starts)), cut


def mark(sentence, page=1, name="a"):
    letters = standoff.count_letters(sentence)
    return Mark(name, "101", page, letters, fingerprint(sentence), False, "none", (), "author")


def found(pages, *marks):
    return standoff.locate(*document(*pages), marks)


PAGES = (
    ["Plans are clear.", "Staff say: “We know them.” It shows."],
    ["Plans are clear.", "10. Children wait, which is too long (see £5 note)."],
    ["Plans are clear.", "Café hours: 9 to 5."],
)


@pytest.mark.parametrize("page", [1, 2, 3])
def test_of_equal_sentences_the_nearest_page_is_taken(page):
    assert found(PAGES, mark("Plans are clear", page))["a"].page == page


def test_equal_sentences_get_a_place_each():
    marks = [mark("Plans are clear.", page, name) for page, name in ((3, "a"), (3, "b"), (1, "c"), (3, "d"))]
    places = found(PAGES, *marks)
    assert {places["c"].page, places["a"].page, places["b"].page} == {1, 2, 3}
    assert places["c"].page == 1
    assert len({(s.start, s.end) for s in places.values()}) == 3
    assert "d" not in places


@pytest.mark.parametrize(
    ("annotated", "text", "heading"),
    [
        ("We know them.", "“We know them.”", "Heading 1"),
        ("Plans are clear. Staff say: We know them. It shows.", None, "Heading 1"),
        ("10. Children wait", "10. Children wait,", "Heading 2"),
        ("which is too long (see £5 note)", "which is too long (see £5 note).", "Heading 2"),
        ("£5 note", "£5 note).", "Heading 2"),
        ("CAFÉ HOURS", "Café hours:", "Heading 3"),
    ],
)
def test_a_sentence_that_is_cut_elsewhere_is_found_in_the_text(annotated, text, heading):
    place = found(PAGES, mark(annotated))["a"]
    assert fingerprint(place.text) == fingerprint(annotated)
    assert place.text == (text or place.text)
    assert place.heading == heading
    assert "\n" not in place.text


@pytest.mark.parametrize("annotated", ["lans are clear", "Plans are unclear.", "Plans are clear and so on and on" * 99])
def test_what_is_not_there_is_not_found(annotated):
    assert found(PAGES, mark(annotated)) == {}


def test_nothing_is_found_in_an_empty_document():
    assert found([[]], mark("Plans are clear.")) == {}


# Building -----------------------------------------------------------------------------------------


def test_build_joins_text_and_labels(folder):
    built = build(folder)
    assert built.counts == {"train": 4, "validation": 4, "test": 4}
    rows = built.rows["train"].set_index("sentence_id")
    assert rows["sentence"].tolist() == [sentence for sentence, *_ in PAPERS[0].sentences]
    assert rows["finding"].tolist() == ["none", "strength", "concern", "recommendation"]
    assert rows["themes"].tolist() == [[], ["voice"], ["front_door"], ["early_help"]]
    assert rows["heading"].tolist() == ["Background", "Main findings", "Main findings", "What needs to improve"]
    assert rows["list_item"].tolist() == [False, False, False, True]
    for column, value in {"document_id": "ofsted-1001", "source": "ofsted", "annotator": "author", "page": 1}.items():
        assert set(rows[column]) == {value}
    assert built.rows["test"]["published"].tolist() == [""] * 4
    assert built.to_dataset_dict()["test"]["published"][:] == [None] * 4
    told = f"3 of 3 annotated reports are at hand in {folder / 'reports'}; in them 12 of 12 (100.00 %) annotated"
    assert built.notes == (f"{told} sentences were found, 9 of 9 (100.00 %) with a finding",)


def test_digest_is_the_same_parsed_or_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digests = {build(folder).sha256 for _ in range(2)}
    assert len(list(parsed.folder().iterdir())) == 3
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert digests == {build(folder).sha256}


def test_what_is_missing_is_said(folder):
    change(folder / "annotations.csv", 2, sha256="0" * 64)
    papers = [*PAPERS, Paper("Mockshire", "train", (("The hall in Mockshire was built in 1931.", "none", ""),))]
    shutil.rmtree(folder)
    write_standoff(folder, papers)
    change(folder / "annotations.csv", 2, sha256="0" * 64)
    (folder / "reports" / "1004.pdf").unlink()
    built = build(folder)
    assert sum(built.counts.values()) == 11
    first, lost, absent = built.notes
    assert "3 of 4 annotated reports" in first
    assert "11 of 12 (91.67 %)" in first
    assert lost == "not found: 1002-0"
    assert absent.startswith("1 reports (1 sentences) are not at hand: 1004. `findings data fetch` downloads them")


def test_a_changed_report_is_used_and_said(folder):
    path = folder / "reports" / "1001.pdf"
    fewer = Paper("Testbury Parva", "train", PAPERS[0].sentences[:3])
    write_report(path.with_name("1001.changed.pdf"), fewer)
    path.unlink()
    built = build(folder)
    assert built.counts["train"] == 3
    changed = path.with_name("1001.changed.pdf")
    assert f"{changed}: changed since it was annotated: 3 of 4 sentences found" in built.notes


def test_a_torn_report_is_named_and_the_others_go_on(folder):
    papers = [*PAPERS, Paper("Mockshire", "train", (("The hall in Mockshire was built in 1931.", "none", ""),))]
    shutil.rmtree(folder)
    write_standoff(folder, papers)
    path = folder / "reports" / "1004.pdf"
    path.write_bytes(path.read_bytes()[:300])
    built = build(folder)
    assert sum(built.counts.values()) == 12
    assert built.notes[0].startswith(f"{path}: ")
    assert "Fetch the file again" in built.notes[0]


def test_no_report_at_hand_is_told_in_one_line(folder):
    shutil.rmtree(folder / "reports")
    with pytest.raises(FindingsError) as caught:
        build(folder)
    told = str(caught.value)
    assert told.startswith(f"{folder / 'reports'}: none of the 3 annotated reports is at hand. `findings data fetch`")
    assert "\n" not in told


def test_a_split_without_reports_is_named(folder):
    (folder / "reports" / "1003.pdf").unlink()
    with pytest.raises(InvalidCorpusError, match=r"reports\.csv: the split 'test' is empty"):
        build(folder)


TWIN = "Social workers in the north team visit children often and listen to them with patience."


def test_near_duplicates_go_from_the_earlier_split(tmp_path):
    more = (TWIN, "strength", "voice")
    papers = [Paper(p.authority, p.split, (*p.sentences, more), published=p.published) for p in PAPERS]
    built = build(write_standoff(tmp_path / "standoff", papers))
    assert built.counts == {"train": 4, "validation": 4, "test": 5}
    note = (
        "left out because nearly the same as one of a later split: 1 of ofsted from train, 1 of ofsted from validation"
    )
    assert built.notes[-1] == note


def test_no_more_near_duplicates_go_than_must(tmp_path):
    chain = (  # each is nearly the same as the next, the first not as the last
        TWIN,
        "Social workers in the north team visit children often, and listen to them with great patience.",
        "Social workers in the north team visit children very often, and listen to them with great patience.",
    )
    assert [pair[:2] for pair in dataset.near_duplicates([*chain])] == [(0, 1), (1, 2)]
    papers = [
        Paper(p.authority, p.split, (*p.sentences, (text, "strength", "voice")), published=p.published)
        for p, text in zip(PAPERS, chain, strict=True)
    ]
    assert build(write_standoff(tmp_path / "standoff", papers)).counts == {"train": 5, "validation": 4, "test": 5}


# Together with the authored documents -------------------------------------------------------------


def build_all(corpus, folder):
    return dataset.build_all(corpus, folder, folder / "reports", name="all", taxonomy=LABELS)


def test_all_is_both_and_keeps_the_splits(folder, corpus):
    alone = dataset.build(corpus, name="small", source="authored", taxonomy=LABELS)
    built = build_all(corpus, folder)
    for split in SPLITS:
        assert built.counts[split] == alone.counts[split] + 4
        assert built.rows[split]["source"].tolist() == ["authored"] * alone.counts[split] + ["ofsted"] * 4
    assert build_all(corpus, folder).sha256 == built.sha256


def test_all_without_reports_is_the_documents_alone_and_says_so(folder, corpus):
    shutil.rmtree(folder / "reports")
    built = build_all(corpus, folder)
    alone = dataset.build(corpus, name="small", source="authored", taxonomy=LABELS)
    assert built.sha256 == alone.sha256
    assert "none of the 3 annotated reports is at hand" in built.notes[0]
    assert "alone: 150 sentences" in built.notes[1]


def test_all_is_strict_with_the_documents_and_lenient_with_the_reports(folder, tmp_path):
    papers = [
        Paper(name, split, ((f"The weather in {name} was {weather}.", "none", ""), *more))
        for name, split, weather, more in (
            ("Mockshire", "train", "wet, with hail at noon", ((TWIN, "strength", "voice"),)),
            ("Specimen Vale", "validation", "mild for the season", ()),
            ("Trialcombe", "test", "changing by the hour", ()),
        )
    ]
    corpus = write(tmp_path / "one", papers)
    real = [*PAPERS[:2], Paper("Pilotby Parva", "test", (*PAPERS[2].sentences, (TWIN, "strength", "voice")))]
    shutil.rmtree(folder)
    write_standoff(folder, real)
    built = build_all(corpus, folder)
    assert built.notes[-1].endswith("1 of authored from train")
    strict = [*papers[:2], Paper("Trialcombe", "test", ((TWIN, "strength", "voice"),))]
    with pytest.raises(InvalidCorpusError, match="nearly the same"):
        build_all(write(tmp_path / "two", strict), folder)


def test_an_authority_of_both_is_in_one_split(folder, tmp_path):
    papers = learnable()
    papers.append(Paper("TESTBURY PARVA", "test", (("Trams were withdrawn from the town long ago.", "none", ""),)))
    with pytest.raises(InvalidCorpusError, match="'Testbury Parva' is in two splits"):
        build_all(write(tmp_path / "corpus", papers), folder)


# The commands -------------------------------------------------------------------------------------


def test_data_build_writes_beside_the_annotations(folder, tmp_path):
    done = command("data", "build", "data=ofsted", f"data.folder={folder}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 annotated reports are at hand" in done.stderr
    assert f"SHA-256 {build(folder).sha256}" in done.stdout
    for split in SPLITS:
        lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["source"] for line in lines] == ["ofsted"] * 4


def test_data_build_of_all_writes_into_the_own_corpus_folder(folder, tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    overrides = ["data=all", f"data.folder={corpus}", f"data.standoff={folder}"]
    done = command("data", "build", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (corpus / "all").iterdir()) == sorted(SPLITS)
    assert "3 of 3 annotated reports" in done.stderr


def test_train_on_all_says_what_it_was(folder, corpus, tmp_path):
    overrides = ["data=all", f"data.folder={corpus}", f"data.standoff={folder}"]
    done = command("train", *overrides, *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 (100.00 %) annotated sentences were found" in done.stderr
    assert "data=all" in done.stdout
    assert list((tmp_path / "mlruns").rglob("dataset_notes.txt"))


def test_a_missing_folder_names_the_remedy(folder, tmp_path):
    overrides = ["data=ofsted", f"data.folder={folder}", f"data.reports={tmp_path / 'none'}"]
    done = command("data", "build", *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "findings data fetch" in done.stderr


# The annotations that ship ------------------------------------------------------------------------


def test_the_shipped_annotations_are_sound():
    marks = standoff.read(standoff.default_folder())
    assert standoff.check(marks, LABELS) == []
    splits = {report.source_file_id: report.split for report in marks.reports}
    sets = {name: [m for m in marks.marks if m.annotator == name] for name in {m.annotator for m in marks.marks}}
    first, second = sets.pop("language_model"), sets.pop("language_model_assisted")
    assert sets == {}
    assert len(first) == 6000
    assert {splits[mark.source_file_id] for mark in second} == {"train"}, "what a model helped to label measures none"
    assert {report.split for report in marks.reports} == set(SPLITS)
    assert all(report.split == standoff.split_of(report.authority) for report in marks.reports)
    shares = pd.Series([splits[mark.source_file_id] for mark in first]).value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.05)


def test_the_shipped_annotations_are_those_of_the_annotated_sentences(tmp_path):
    if not (SHARED / "gold").is_dir():
        pytest.skip("no annotated sentences in ../shared/gold")
    made = standoff.make(
        SHARED / "gold" / "reports.jsonl", tmp_path, annotator="language_model", pdfs=SHARED / "reports"
    )
    standoff.write(made)
    shipped = standoff.default_folder()
    assert (tmp_path / "reports.csv").read_bytes() == (shipped / "reports.csv").read_bytes()
    lines = (shipped / "annotations.csv").read_text().splitlines()
    first_set = [line for line in lines if not line.endswith(",language_model_assisted")]
    assert (tmp_path / "annotations.csv").read_text().splitlines() == first_set


def test_the_annotated_sentences_are_found_in_the_real_reports(tmp_path):
    if not (SHARED / "reports").is_dir() or not (SHARED / "gold").is_dir():
        pytest.skip("no real reports in ../shared/reports")
    out = tmp_path / "reports"
    done = command("data", "fetch", "--folder", SHARED / "reports", "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = standoff.default_folder()
    first, second = (
        dataset.build_standoff(folder, out, name="ofsted", source="ofsted", taxonomy=LABELS) for _ in range(2)
    )
    assert first.sha256 == second.sha256
    lines = (SHARED / "gold" / "reports.jsonl").read_text(encoding="utf-8").splitlines()
    gold = {row["id"]: row for row in map(json.loads, lines) if row["file"]}
    rows = pd.concat(first.rows.values()).set_index("sentence_id")
    second_set = [m for m in standoff.read(folder).marks if m.annotator == "language_model_assisted"]
    told = next(note for note in first.notes if "were found" in note).replace(",", "")
    all_found, all_sought, telling, telling_sought = map(
        int, re.search(r"in them (\d+) of (\d+) .* found (\d+) of (\d+)", told).groups()
    )
    findings = [*(row["finding"] for row in gold.values()), *(mark.finding for mark in second_set)]
    assert (all_sought, telling_sought) == (len(findings), sum(finding != "none" for finding in findings))
    assert all_found - len(second_set) >= 0.98 * len(gold)
    assert telling >= 0.995 * telling_sought
    for name, row in rows[rows["annotator"] == "language_model"].iterrows():
        assert fingerprint(row["sentence"]) == fingerprint(gold[name]["sentence"])
        assert (row["finding"], row["themes"]) == (gold[name]["finding"], gold[name]["themes"])
