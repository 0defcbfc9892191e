import json
import os.path
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier

from findings import models, taxonomy, tfidf
from findings.errors import FindingsError
from findings.models import Examples
from findings.tfidf import FILE, TRUSTED, TfidfClassifier

SETTINGS = {
    "family": "tfidf",
    "words": 2,
    "characters": 5,
    "C": 3.0,
    "C_themes": 1.0,
    "class_weight": "balanced",
    "heading_weight": 1.0,
    "heading_dropout": 1.0,
}
LABELS = taxonomy.from_dict(
    {
        "name": "small",
        "findings": [
            {"id": i, "title": i.title(), "definition": i} for i in ("strength", "concern", "recommendation", "none")
        ],
        "themes": [{"id": i, "title": i.title(), "definition": i} for i in ("workforce", "voice", "front_door")],
    }
)
FRAMES = (
    ("In Examplemoor, {} is strong.", "Inspectors praised {}.", "{} is now much better.", "{} works well."),
    ("In Examplemoor, {} is poor.", "Inspectors worried about {}.", "{} has got worse.", "{} does not work."),
    ("Improve {} by spring.", "The council should strengthen {}.", "Ensure that {} is checked.", "Review {} soon."),
    ("Page 4 lists {}.", "The chair asked about {}.", "There were 12 questions on {}.", "{} was discussed."),
)
TOPICS = ("the training of staff", "the voice of the child", "the response to referrals")
HEADINGS = ("Staff", "Children's views", "")


def small(findings=range(4), themes=range(3)):
    rows = [(f, t, text) for f, t in product(findings, themes) for text in FRAMES[f]]
    return Examples(
        [text.format(TOPICS[t]) for _, t, text in rows],
        [HEADINGS[t] for _, t, _ in rows],
        np.array([f for f, _, _ in rows]),
        np.eye(3, dtype=bool)[[t for _, t, _ in rows]],
    )


def unfitted(**settings):
    return TfidfClassifier.from_settings(SETTINGS | settings, LABELS, seed=1)


@pytest.fixture(scope="module")
def fitted():
    classifier = unfitted()
    classifier.fit(small(), small())
    return classifier


@pytest.fixture
def folder(fitted, tmp_path):
    fitted.save(tmp_path)
    return tmp_path


def test_without_characters_it_still_labels_and_is_stored(tmp_path):
    rows, classifier = small(), unfitted(characters=0)
    classifier.fit(rows, rows)
    ours = classifier.scores(rows.sentences, rows.headings)
    assert (ours.findings.argmax(axis=1) == rows.findings).mean() > 0.9
    assert not any(name.startswith("characters__") for name in classifier.features.get_feature_names_out())
    classifier.save(tmp_path)
    assert same(ours, TfidfClassifier.load(tmp_path).scores(rows.sentences, rows.headings))


def same(left, right):
    return np.array_equal(left.findings, right.findings) and np.array_equal(left.themes, right.themes)


# Fitting and scoring -----------------------------------------------------------------------------


def test_labels_of_training_sentences_come_back(fitted):
    rows = small()
    scores = fitted.scores(rows.sentences, rows.headings)
    assert scores.findings.shape == (48, 4)
    assert scores.themes.shape == (48, 3)
    assert (scores.findings.argmax(axis=1) == rows.findings).all()
    assert (scores.themes.argmax(axis=1) == rows.themes.argmax(axis=1)).all()


def test_same_seed_same_scores(fitted):
    again = unfitted()
    again.fit(small(), small())
    assert same(again.scores(small().sentences, small().headings), fitted.scores(small().sentences, small().headings))


def test_heading_speaks_for_its_theme(fitted):
    with_heading = fitted.scores(["This was looked at."], ["Children's views"]).themes[0]
    without = fitted.scores(["This was looked at."], [""]).themes[0]
    assert with_heading[1] - without[1] > max(with_heading[0] - without[0], with_heading[2] - without[2])


def test_heading_weight_of_zero_ignores_headings():
    classifier = unfitted(heading_weight=0.0, heading_dropout=0.0)
    classifier.fit(small(), small())
    sentences = small().sentences
    assert same(classifier.scores(sentences, ["Staff"] * 48), classifier.scores(sentences, [""] * 48))


def test_case_quotes_and_numbers_make_no_difference(fitted):
    plain = fitted.scores(["The child's plan of 12 May doesn't help 3,400 families."], ["Staff"])
    other = fitted.scores(["THE CHILD’S PLAN OF 7 MAY DOESN’T HELP 16 FAMILIES."], ["STAFF"])
    assert same(plain, other)


@pytest.mark.parametrize("headings", [[""] * 48, ["–", "1", "", "x"] * 12])
def test_corpus_without_headings_can_be_learnt(headings, tmp_path):
    """News and notes have none: there are no words to weigh then."""
    rows = small()
    rows = Examples(rows.sentences, headings, rows.findings, rows.themes)
    classifier = unfitted()
    classifier.fit(rows, rows)
    scores = classifier.scores(rows.sentences, ["Staff"] * 48)
    assert (scores.findings.argmax(axis=1) == rows.findings).all()
    classifier.save(tmp_path)
    assert same(TfidfClassifier.load(tmp_path).scores(rows.sentences, ["Staff"] * 48), scores)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        " ",
        "…",
        "?!",
        "supervision " * 5000,
        "x" * 50_000,
        "Дети рассказали о своей жизни.",
        "子どもたちは安心している。",
        "يشعر الأطفال بالأمان",
        "👩‍👧 👍",
        "a\x00b\u202e\ud800",
        "1,2.3,4",
    ],
)
def test_any_text_gets_finite_scores(fitted, sentence):
    scores = fitted.scores([sentence, "Inspectors praised the training of staff."], [sentence, ""])
    assert np.isfinite(scores.findings).all()
    assert np.isfinite(scores.themes).all()
    assert scores.findings[1].argmax() == 0


# Normal form and negation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("plans are clear", "plans are clear"),
        (
            "plans are not clear to families at all",
            "plans are not clear not_clear to not_to families not_families at all",
        ),
        ("not clear, and late", "not clear not_clear and late"),
        ("staff don't know why", "staff don't know not_know why not_why"),
        ("without delay", "without delay not_delay"),
        ("too few visits", "too few not_few visits not_visits"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_words_in_the_reach_of_a_negation_are_marked(text, marked):
    assert tfidf._negated(text) == marked


# Threads -----------------------------------------------------------------------------------------


def test_eight_threads_score_as_one(fitted):
    rows = small()
    alone = fitted.scores(rows.sentences, rows.headings)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fitted.scores(rows.sentences, rows.headings), range(64)))
    assert all(same(answer, alone) for answer in answers)


def test_eight_threads_predict_their_own_sentences():
    rows = small()
    model = models.train(SETTINGS, rows, rows, LABELS, seed=1)
    alone = [model.predict([s], [h]) for s, h in zip(rows.sentences, rows.headings, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda s, h: model.predict([s], [h]), rows.sentences, rows.headings))
    for one, other in zip(alone, answers, strict=True):
        assert np.array_equal(one.finding_probabilities, other.finding_probabilities)
        assert np.array_equal(one.themes, other.themes)


# Files -------------------------------------------------------------------------------------------


def test_loaded_classifier_scores_the_same(fitted, folder):
    rows = small()
    again = TfidfClassifier.load(folder)
    assert same(again.scores(rows.sentences, rows.headings), fitted.scores(rows.sentences, rows.headings))


def test_loaded_classifier_can_be_saved_again(fitted, folder, tmp_path):
    TfidfClassifier.load(folder).save(tmp_path)
    assert same(TfidfClassifier.load(tmp_path).scores(["A plan."], ["Staff"]), fitted.scores(["A plan."], ["Staff"]))


def test_file_holds_every_trusted_type_and_no_other(folder):
    assert tfidf._types(folder / FILE) == TRUSTED


def is_pickle(data):
    """Protocol 2 and later begin with 0x80 and their number; 0 and 1 with an opcode and end with a stop."""
    return data[:1] == b"\x80" or (data[-1:] == b"." and data[:1] in b"(]}c")


def test_no_pickle_in_the_folder(tmp_path):
    rows = small()
    models.save(models.train(SETTINGS, rows, rows, LABELS, seed=1), tmp_path)
    members = []
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            assert path.suffix in (".json", ".skops")
            members.append((path.name, path.read_bytes()))
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    members.extend((name, archive.read(name)) for name in archive.namelist())
    assert {Path(name).suffix for name, _ in members} == {".json", ".skops", ".npy"}
    assert not [name for name, data in members if is_pickle(data)]
    for name, data in members:
        if name.endswith(".npy"):
            assert b"'descr': '|O'" not in data[:128], name


class Home:
    """A type of nobody's list."""


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"features": RandomForestClassifier(), "findings": [], "themes": []}, "RandomForestClassifier"),
        ({"features": os.path.join, "findings": [], "themes": []}, "join"),
        ({"features": np.sin, "findings": [], "themes": []}, "sin"),
        ({"features": Home(), "findings": [], "themes": []}, "Home"),
        ({"features": {1, 2}, "findings": [], "themes": []}, "set"),
        (RandomForestClassifier(), "RandomForestClassifier"),
    ],
)
def test_other_types_are_refused_by_name(tmp_path, parts, named):
    skops.io.dump(parts, tmp_path / FILE)
    with pytest.raises(FindingsError, match=f"{named}, which is not trusted. It is not loaded") as caught:
        TfidfClassifier.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_trusted_model_with_a_function_inside_is_refused(fitted, tmp_path):
    vectorizer = unfitted().features.transformers[0][1].set_params(tokenizer=os.path.split)
    parts = {"features": fitted.features, "findings": fitted.findings, "themes": [vectorizer]}
    skops.io.dump(parts, tmp_path / FILE)
    with pytest.raises(FindingsError, match="split, which is not trusted"):
        TfidfClassifier.load(tmp_path)


@pytest.mark.parametrize(("name", "module"), [("system", "posix"), ("dict", "builtins"), ("str", "builtins")])
@pytest.mark.parametrize("loader", ["FunctionNode", "TypeNode", "ObjectNode", "ConstructorFromReduceNode"])
def test_a_node_in_disguise_runs_nothing(tmp_path, name, module, loader):
    """Either the type is not of the list, or it is and the loader that the file names is for others."""
    marker = tmp_path / "ran"
    skops.io.dump({"features": [f"touch {marker}"], "findings": [], "themes": []}, tmp_path / FILE)
    with zipfile.ZipFile(tmp_path / FILE) as archive:
        schema = json.loads(archive.read("schema.json"))
    command = schema["content"]["features"]
    disguise = {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, "content": command}
    schema["content"]["features"] = disguise
    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    with pytest.raises(FindingsError, match="not trusted" if name == "system" else "damaged"):
        TfidfClassifier.load(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [1, 2],
        "text",
        None,
        np.zeros(3),
        {},
        {"features": "x", "findings": [], "themes": []},
        {"features": [1], "findings": "x", "themes": []},
        {"features": None, "findings": None, "themes": None},
    ],
)
def test_trusted_types_in_another_form_are_refused(tmp_path, parts):
    skops.io.dump(parts, tmp_path / FILE)
    with pytest.raises(FindingsError, match="damaged or missing"):
        TfidfClassifier.load(tmp_path)


@pytest.mark.parametrize("schema", ["", "[]", "3", "{}", "null", '{"__class__": 4}', "[" * 100_000])
def test_nonsense_descriptions_are_refused(tmp_path, schema):
    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(FindingsError, match=FILE):
        TfidfClassifier.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_torn_file_is_refused_in_one_line(folder, share):
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FindingsError, match=r"tfidf\.skops: damaged or missing. Train the model again") as caught:
        TfidfClassifier.load(folder)
    assert "\n" not in str(caught.value)


def test_flipped_bits_are_refused_or_harmless(fitted, folder):
    whole = (folder / FILE).read_bytes()
    expected = fitted.scores(["Inspectors praised the staff."], [""])
    chance, refused = random.Random(3), 0
    for _ in range(40):
        torn = bytearray(whole)
        torn[chance.randrange(len(torn))] ^= 1 << chance.randrange(8)
        (folder / FILE).write_bytes(torn)
        try:
            assert same(TfidfClassifier.load(folder).scores(["Inspectors praised the staff."], [""]), expected)
        except FindingsError:
            refused += 1
    assert refused > 20


def test_too_large_a_description_is_not_unpacked(folder, monkeypatch):
    monkeypatch.setattr(tfidf, "MAX_DESCRIPTION", 10)
    with pytest.raises(FindingsError, match="too large"):
        TfidfClassifier.load(folder)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(FindingsError, match="damaged or missing"):
        TfidfClassifier.load(tmp_path / "nowhere")
