import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import pandas as pd
import pytest
from corpora import Paper, change, write, write_corpus

from findings import dataset, taxonomy
from findings.annotations import KINDS, SPLITS, InvalidCorpusError, read_corpus
from findings.errors import FindingsError
from findings.sentences import sentences

DATA = Path(__file__).parent.parent / "data"
LABELS = taxonomy.load()


@pytest.fixture
def folder(tmp_path):
    return write_corpus(tmp_path / "corpus")


def build(folder):
    return dataset.build(folder, name="small", source="local", taxonomy=LABELS)


def by_id(built):
    return pd.concat(built.rows.values()).set_index("sentence_id")


# Building ----------------------------------------------------------------------------------------


def test_build_has_every_label_in_every_split(folder):
    built = build(folder)
    assert list(built.rows) == list(SPLITS)
    assert sum(built.counts.values()) == len(read_corpus(folder).annotations) == 150
    for frame in built.rows.values():
        assert list(frame.columns) == list(dataset.COLUMNS)
        assert set(frame["finding"]) == set(LABELS.finding_ids)
        assert set(frame["themes"].explode().dropna()) == set(LABELS.theme_ids)
        assert set(frame["kind"]) == set(KINDS)
        assert set(frame["source"]) == {"local"}


def test_no_authority_on_two_sides(folder):
    sides = [set(frame["authority"]) for frame in build(folder).rows.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 8


def test_row_has_the_place_of_its_sentence(tmp_path):
    said = (
        ("The hall was built in 1931.", "none", ""),
        ("Staff know the children well.", "strength", "voice"),
        ("Read every file before the meeting.", "recommendation", "assessment_planning management_oversight"),
    )
    other = {"train": "Trains ran late.", "test": "Proof was wanting."}
    papers = [Paper(f"Place {split}", split, ((text, "none", ""),)) for split, text in other.items()]
    papers.append(Paper("Place validation", "validation", said))
    frame = build(write(tmp_path / "corpus", papers)).rows["validation"]
    assert frame["heading"].tolist() == ["Background", "Main findings", "What needs to improve"]
    assert frame["list_item"].tolist() == [False, False, True]
    assert frame["page"].tolist() == [1, 1, 1]
    assert frame["themes"].tolist() == [[], ["voice"], ["assessment_planning", "management_oversight"]]
    assert frame["published"].tolist() == ["2024-03-12"] * 3
    assert frame["sentence"].tolist() == [sentence for sentence, *_ in said]


def test_page_is_counted_in_pdf(tmp_path):
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    folder = write_corpus(tmp_path / "corpus")
    entry = read_corpus(folder).documents[0]
    lines = ("Carers are proud of their work.", "Nobody answers the telephone at night.")
    name = f"{entry.document_id}.pdf"
    drawn = canvas.Canvas(str(folder / "documents" / name))
    for line in lines:
        drawn.drawString(72, 600, line)
        drawn.showPage()
    drawn.save()
    change(folder / "documents.csv", 2, file=name)
    text = read_corpus(folder).documents[0].document.text
    rows = [f"p-{n},{text.index(s)},{text.index(s) + len(s)},none,,author,{s}\n" for n, s in enumerate(lines)]
    header = "sentence_id,start,end,finding,themes,annotator,sentence\n"
    (folder / "annotations" / f"{entry.document_id}.csv").write_text(header + "".join(rows), encoding="utf-8")
    assert by_id(build(folder)).loc[["p-0", "p-1"], "page"].tolist() == [1, 2]


def test_digest_is_the_same_twice_and_changes_with_a_label(folder):
    before = build(folder)
    assert build(folder).sha256 == before.sha256
    assert len(before.sha256) == 64
    path = sorted((folder / "annotations").iterdir())[0]
    change(path, 2, themes="voice leadership")
    themes = build(folder).sha256
    change(path, 2, themes="leadership voice")
    turned = build(folder).sha256
    change(path, 2, finding="concern")
    assert len({before.sha256, themes, turned, build(folder).sha256}) == 4


def test_a_share_of_the_training_documents_is_part_of_a_larger_one(folder):
    whole = build(folder)
    small, large = (dataset.with_train_share(whole, share) for share in (0.3, 0.7))
    ids = [set(built.rows["train"]["document_id"]) for built in (small, large, whole)]
    assert ids[0] < ids[1] < ids[2]
    for built, chosen in ((small, ids[0]), (large, ids[1])):
        of_whole = whole.rows["train"]
        expected = of_whole[of_whole["document_id"].isin(chosen)].reset_index(drop=True)
        pd.testing.assert_frame_equal(built.rows["train"], expected)
        for split in ("validation", "test"):
            pd.testing.assert_frame_equal(built.rows[split], whole.rows[split])
        assert built.notes == (
            f"{len(expected):,} of {len(of_whole):,} training sentences, of {len(chosen):,} documents, are learnt from",
        )
    assert len({built.sha256 for built in (small, large, whole)}) == 3
    assert dataset.with_train_share(whole, 1.0) is whole


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        (0.0, "data.train_share: 0 is not above 0 and at most 1"),
        (1.5, "data.train_share: 1.5 is not above 0 and at most 1"),
        (1e-9, "data.train_share: 1e-09 leaves no training document. Give a larger share."),
    ],
)
def test_a_share_that_cannot_be(folder, share, reason):
    with pytest.raises(FindingsError) as caught:
        dataset.with_train_share(build(folder), share)
    assert str(caught.value) == reason


def test_what_was_lost_of_the_annotations_is_told(folder):
    assert dataset.unlabelled(read_corpus(folder)) == ()
    first, second = sorted((folder / "annotations").iterdir())[:2]
    first.unlink()
    lines = second.read_text(encoding="utf-8").splitlines(keepends=True)
    second.write_text("".join(lines[:-2]), encoding="utf-8")
    told = (
        f"{folder}: without annotations: 1 documents: {first.stem}",
        f"{folder}: sentences without a label: 2: {second.stem} (2)",
    )
    assert dataset.unlabelled(read_corpus(folder)) == told
    assert build(folder).notes[:2] == told


def test_violations_stop_the_build(folder):
    path = sorted((folder / "annotations").iterdir())[0]
    change(path, 2, finding="praise")
    with pytest.raises(InvalidCorpusError) as caught:
        build(folder)
    (violation,) = caught.value.violations
    assert str(caught.value) == str(violation)
    assert str(violation).startswith(f"{path}:2: unknown finding 'praise'.")
    assert dataset.check(folder, taxonomy=LABELS)[0] == [violation]


@pytest.mark.parametrize("split", SPLITS)
def test_empty_split(tmp_path, split):
    papers = [
        Paper(f"Place {other}", other, ((f"The visit to {other} lasted two days.", "none", ""),))
        for other in SPLITS
        if other != split
    ]
    folder = write(tmp_path / "corpus", papers)
    with pytest.raises(InvalidCorpusError) as caught:
        build(folder)
    told = str(caught.value)
    assert told.startswith(f"{folder / 'documents.csv'}: the split '{split}' is empty. Give at least one authority")
    assert "\n" not in told
    assert [str(violation) for violation in dataset.check(folder, taxonomy=LABELS)[0]] == [told]


# Near-duplicates ---------------------------------------------------------------------------------

TWIN = "Social workers in the north team visit children often and listen to them with patience."
NEARLY = "Social workers in the north team visit children often, and listen to them with great patience."


def twins(tmp_path, first, second, *, splits=("train", "test")):
    """The small corpus with one sentence more in each of two new authorities."""
    folder = write_corpus(tmp_path / "corpus")
    more = [
        Paper(name, split, ((text, "none", ""),))
        for name, split, text in zip(("Placeholder Heath", "Inventham"), splits, (first, second), strict=True)
    ]
    write(tmp_path / "more", more)
    for part in ("documents", "annotations"):
        for path in (tmp_path / "more" / part).iterdir():
            path.rename(folder / part / path.name)
    added = (tmp_path / "more" / "documents.csv").read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    with (folder / "documents.csv").open("a", encoding="utf-8") as file:
        file.writelines(added)
    return folder, *(folder / "annotations" / f"{paper.document_id}.csv" for paper in more)


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "validation"), ("validation", "test")])
@pytest.mark.parametrize("second", [TWIN, NEARLY, TWIN.upper()])
def test_near_duplicate_across_splits(tmp_path, second, splits):
    folder, one, other = twins(tmp_path, TWIN, second, splits=splits)
    with pytest.raises(InvalidCorpusError) as caught:
        build(folder)
    told = str(caught.value)
    assert told.startswith(f"{one}:2: nearly the same as {other}:2 in {splits[1]} (cosine ")
    assert told.endswith("Rewrite or remove one, or put both authorities into one split.")
    assert "\n" not in told
    assert [str(violation) for violation in dataset.check(folder, taxonomy=LABELS)[0]] == [told]


def test_near_duplicate_within_a_split_is_let_be(tmp_path):
    folder, *_ = twins(tmp_path, TWIN, NEARLY, splits=("test", "test"))
    assert build(folder).counts["test"] == 34


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "validation"), ("validation", "test")])
@pytest.mark.parametrize("second", ["Minutes of the last meeting", "LAST MEETING: minutes of the"])
def test_short_furniture_may_recur_and_stays_in_the_later_split(tmp_path, second, splits):
    folder, *_ = twins(tmp_path, "Minutes of the last meeting", second, splits=splits)
    built = build(folder)
    assert sum(built.counts.values()) == 151
    assert second in built.rows[splits[1]]["sentence"].tolist()
    assert built.notes == (f"left out because nearly the same as one of a later split: 1 of local from {splits[0]}",)


def test_short_furniture_is_in_a_split_once(tmp_path):
    folder, *_ = twins(tmp_path, "Minutes of the last meeting", "Minutes of the last meeting:", splits=("test", "test"))
    built = build(folder)
    assert sum(built.counts.values()) == 151
    assert built.notes == ("short lines that recur in a split are in it once: 1 left out",)


def test_other_order_of_the_same_words_stays_in_the_later_split(tmp_path):
    other = "With patience, social workers listen often to children in the north team, and visit them."
    folder, *_ = twins(tmp_path, TWIN, other, splits=("train", "test"))
    assert dataset.check(folder, taxonomy=LABELS)[0] == []
    built = build(folder)
    assert sum(built.counts.values()) == 151
    assert other in built.rows["test"]["sentence"].tolist()


def test_sentence_of_six_words_may_not_recur(tmp_path):
    folder, *_ = twins(tmp_path, "Minutes of the last meeting approved", "Minutes of the last meeting approved")
    with pytest.raises(InvalidCorpusError, match="nearly the same"):
        build(folder)


def test_same_words_about_something_else_are_no_duplicate(tmp_path):
    folder, *_ = twins(tmp_path, TWIN, "Social workers in the south team seldom keep records of meetings with schools.")
    assert sum(build(folder).counts.values()) == 152


def test_near_duplicates_of_few_texts():
    assert dataset.near_duplicates([]) == []
    assert dataset.near_duplicates(["alone here"]) == []
    ((left, right, cosine),) = dataset.near_duplicates(["red kite", "blue boat", "red kite"])
    assert (left, right) == (0, 2)
    assert cosine == pytest.approx(1)


def test_near_duplicates_are_found_over_blocks():
    texts = [f"sentence number{n} speaks of topic{n}" for n in range(1200)]
    texts[1150] = texts[3]
    assert [pair[:2] for pair in dataset.near_duplicates(texts)] == [(3, 1150)]


# Writing and loading -----------------------------------------------------------------------------


def test_dataset_dict_has_class_labels(folder):
    built = build(folder)
    made = built.to_dataset_dict()
    assert made.num_rows == built.counts
    features = made["train"].features
    assert features["published"].dtype == "date32"
    assert list(features) == list(dataset.COLUMNS)
    assert features["finding"] == datasets.ClassLabel(names=LABELS.finding_ids)
    assert features["themes"] == datasets.List(datasets.ClassLabel(names=LABELS.theme_ids))
    assert features["page"].dtype == "int32"
    assert features["list_item"].dtype == "bool"
    for split, frame in built.rows.items():
        assert [features["finding"].int2str(value) for value in made[split]["finding"]] == frame["finding"].tolist()
        named = [[LABELS.theme_ids[value] for value in values] for values in made[split]["themes"]]
        assert named == frame["themes"].tolist()
        assert made[split]["sentence"][:] == frame["sentence"].tolist()


def test_written_files_hold_the_rows(folder, tmp_path):
    built = build(folder)
    out = tmp_path / "new" / "folder"
    paths = dataset.write(built, out)
    assert paths == [out / f"{split}.jsonl" for split in SPLITS]
    for path, frame in zip(paths, built.rows.values(), strict=True):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert rows == frame.to_dict("records")
    assert sorted(out.iterdir()) == sorted(paths)
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in dataset.write(build(folder), out)] == first


def test_failed_write_leaves_the_old_files_and_nothing_else(folder, tmp_path):
    built = build(folder)
    paths = dataset.write(built, tmp_path / "out")
    before = [path.read_bytes() for path in paths]
    train = built.rows["train"].assign(finding="none")
    test = built.rows["test"].copy()
    test["page"] = test["page"].astype(object)
    test.at[len(test) - 1, "page"] = object()  # JSON has no form for it: the writing stops at the very last row
    with pytest.raises(TypeError, match="not JSON serializable"):
        dataset.write(replace(built, rows={**built.rows, "train": train, "test": test}), tmp_path / "out")
    assert [path.read_bytes() for path in paths] == before
    assert sorted((tmp_path / "out").iterdir()) == sorted(paths)


def test_written_files_load_as_a_dataset(folder, tmp_path):
    change(folder / "documents.csv", 2, published="")
    built = build(folder)
    files = {path.stem: str(path) for path in dataset.write(built, tmp_path / "out")}
    loaded = datasets.load_dataset(
        "json", data_files=files, features=dataset.features(LABELS), cache_dir=str(tmp_path / "cache")
    )
    made = built.to_dataset_dict()
    for split in SPLITS:
        assert loaded[split].features == made[split].features
        assert loaded[split].to_list() == made[split].to_list()
    dates = {str(date) for date in loaded["train"]["published"]}
    assert dates == {str(date or None) for date in built.rows["train"]["published"]}
    assert "None" in dates


# The corpus that ships ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authored():
    folder = dataset.default_folder()
    return read_corpus(folder), dataset.build(folder, name="authored", source="authored", taxonomy=LABELS)


def test_authored_corpus_is_the_default():
    assert dataset.default_folder().samefile(DATA / "authored")


def test_authored_corpus_is_sound_and_large_enough(authored):
    corpus, built = authored  # building it has found no violation
    kinds = Counter(entry.kind for entry in corpus.documents)
    assert sum(kinds.values()) >= 60
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 15
    assert sum(built.counts.values()) >= 1500
    for frame in built.rows.values():
        assert set(frame["finding"]) == set(LABELS.finding_ids)
        assert set(frame["themes"].explode().dropna()) == set(LABELS.theme_ids)


def test_every_sentence_of_the_authored_corpus_is_annotated(authored):
    corpus, _ = authored
    labelled = {(a.document_id, a.start, a.end, a.sentence) for a in corpus.annotations}
    found = {
        (entry.document_id, sentence.start, sentence.end, sentence.text)
        for entry in corpus.documents
        for sentence in sentences(entry.document)
    }
    assert sorted(found - labelled) == []
    assert sorted(labelled - found) == []


def test_every_authored_document_stands_in_the_table(authored):
    corpus, _ = authored
    files = {path.name for path in (corpus.folder / "documents").iterdir()}
    assert files == {entry.path.name for entry in corpus.documents}
    assert {a.document_id for a in corpus.annotations} == {entry.document_id for entry in corpus.documents}


@pytest.mark.parametrize("longest", [1, 2])
def test_authored_sentences_have_no_like_in_another_split_and_few_in_their_own(longest):
    built = dataset.build(dataset.default_folder(), name="authored", source="authored", taxonomy=LABELS)
    rows = pd.concat([frame.assign(split=split) for split, frame in built.rows.items()], ignore_index=True)
    pairs = dataset.near_duplicates(rows["sentence"].tolist(), longest=longest)
    splits = rows["split"].tolist()
    assert [pair for pair in pairs if splits[pair[0]] != splits[pair[1]]] == []
    assert len({right for _, right, _ in pairs}) < 0.01 * len(rows)


def test_authored_authorities_are_fictional(authored):
    lines = (Path(__file__).parent / "data" / "english_councils.txt").read_text(encoding="utf-8").splitlines()
    real = {line for line in lines if not line.startswith("#")}
    assert len(real) > 300
    corpus, _ = authored
    names = {" ".join(entry.authority.lower().replace("-", " ").split()) for entry in corpus.documents}
    assert names & real == set()


@pytest.mark.parametrize("split", SPLITS)
def test_built_files_that_ship_are_those_of_a_fresh_build(authored, tmp_path, split):
    shipped = DATA / "authored" / f"{split}.jsonl"
    if not shipped.is_file():
        pytest.skip("not built: `findings data build` writes it")
    dataset.write(authored[1], tmp_path)
    assert shipped.read_bytes() == (tmp_path / shipped.name).read_bytes()


def test_data_folder_loads_as_a_hugging_face_dataset(authored, tmp_path):
    if not all((DATA / "authored" / f"{split}.jsonl").is_file() for split in SPLITS):
        pytest.skip("not built: `findings data build` writes the files that data/README.md names")
    loaded = datasets.load_dataset(str(DATA), cache_dir=str(tmp_path))
    assert set(loaded) == set(SPLITS)
    made = authored[1].to_dataset_dict()
    for split in SPLITS:
        assert loaded[split].features == made[split].features
        assert loaded[split]["finding"][:] == made[split]["finding"][:]
        assert loaded[split]["themes"][:] == made[split]["themes"][:]
        assert loaded[split]["published"][:] == made[split]["published"][:]
