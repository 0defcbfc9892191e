import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from findings import manifest, models, taxonomy
from findings.errors import FindingsError
from findings.models import bare_heading

SETTINGS = {
    "family": "tfidf",
    "words": 2,
    "characters": 4,
    "C": 3.0,
    "C_themes": 3.0,
    "class_weight": "balanced",
    "heading_weight": 1.0,
    "heading_dropout": 0.5,
}
LABELS = taxonomy.from_dict(
    {
        "name": "small",
        "findings": [{"id": i, "title": i.title(), "definition": i} for i in ("strength", "concern", "none")],
        "themes": [{"id": i, "title": i.title(), "definition": i} for i in ("workforce", "voice", "front_door")],
    }
)
FRAMES = {
    "strength": ("{} is excellent.", "Staff are proud of {}.", "{} has improved greatly."),
    "concern": ("{} is too weak.", "{} has been neglected.", "Too little is done about {}."),
    "none": ("The report has a page on {}.", "Members asked about {}.", "{} was item four."),
}
TOPICS = {"workforce": "recruitment of social workers", "voice": "listening to children", "front_door": "the duty desk"}
HEADINGS = {"workforce": "Leaders: good", "voice": "Children", "front_door": ""}


def small_frame():
    return pd.DataFrame(
        [
            {"sentence": frame.format(TOPICS[theme]), "heading": HEADINGS[theme], "finding": finding, "themes": [theme]}
            for finding, theme in product(FRAMES, TOPICS)
            for frame in FRAMES[finding]
        ]
    )


@pytest.fixture(scope="module")
def model():
    rows = models.examples(small_frame(), LABELS)
    return models.train(SETTINGS, rows, rows, LABELS, seed=1)


@pytest.fixture
def saved(model, tmp_path):
    models.save(model, tmp_path / "model")
    return tmp_path / "model"


def alike(left, right):
    return (
        np.array_equal(left.finding_probabilities, right.finding_probabilities)
        and np.array_equal(left.theme_probabilities, right.theme_probabilities)
        and np.array_equal(left.themes, right.themes)
    )


# Headings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "heading",
    [
        "The impact of leaders: good",
        "The impact of leaders: Good.",
        "The impact of leaders is inadequate",
        "The impact of leaders are: outstanding",
        "The impact of leaders – requires improvement to be good",
        "The impact of leaders – REQUIRES IMPROVEMENT",
        "The impact of leaders  requires  improvement",
        "The impact of leaders\u00a0- requires\nimprovement to be good. ",
        "The impact of leaders (adequate)",
        "The impact of leaders",
    ],
)
def test_grade_is_taken_off_the_heading(heading):
    assert bare_heading(heading) == "The impact of leaders"


@pytest.mark.parametrize("heading", ["Good", "inadequate", "Requires improvement to be good", "", "  ", None])
def test_heading_of_a_grade_alone_is_empty(heading):
    assert bare_heading(heading) == ""


@pytest.mark.parametrize(
    "heading",
    [
        "What needs to improve",
        "Good practice in Examplemoor",
        "Inadequate housing and its effects",
        "Summary.",
        "Next steps:",
        "Goods",
    ],
)
def test_heading_without_a_grade_stays(heading):
    assert bare_heading(heading) == heading


@pytest.mark.parametrize("filler", [" ", "-", ".", "\n", ": "])
def test_heading_may_be_as_long_as_a_book(filler):
    """A pattern that tried every start would not come to an end here."""
    assert bare_heading("Leaders" + filler * 500_000 + ": good").startswith("Leaders")


# Rows → examples ---------------------------------------------------------------------------------


def test_examples_hold_indices_and_indicators():
    frame = pd.DataFrame(
        {
            "sentence": ["One.", "Two.", "Three."],
            "heading": ["Leaders: good", "", "Children"],
            "finding": ["none", "strength", "concern"],
            "themes": [[], ["front_door", "workforce"], np.array(["voice"])],
        }
    )
    made = models.examples(frame, LABELS)
    assert made.sentences == ["One.", "Two.", "Three."]
    assert made.headings == ["Leaders", "", "Children"]
    assert made.findings.tolist() == [2, 0, 1]
    assert made.themes.tolist() == [[False] * 3, [True, False, True], [False, True, False]]


def test_examples_of_no_rows_keep_their_width():
    made = models.examples(small_frame().head(0), LABELS)
    assert made.findings.shape == (0,)
    assert made.themes.shape == (0, 3)


# Prediction --------------------------------------------------------------------------------------


def test_model_learns_its_training_sentences(model):
    frame = small_frame()
    predictions = model.predict(frame["sentence"].tolist(), frame["heading"].tolist())
    rows = models.examples(frame, LABELS)
    assert (predictions.findings == rows.findings).all()
    assert (predictions.themes & rows.themes).sum() == rows.themes.sum()
    assert np.allclose(predictions.finding_probabilities.sum(axis=1), 1)


def test_missing_heading_is_an_empty_one(model):
    sentences = small_frame()["sentence"].tolist()
    none = model.predict(sentences)
    assert alike(none, model.predict(sentences, [""] * len(sentences)))
    assert alike(none, model.predict(sentences, [None] * len(sentences)))


def test_heading_counts_and_its_grade_does_not(model):
    sentence = ["Something was said."]
    good, bad = model.predict(sentence, ["Children: good"]), model.predict(sentence, ["Children is inadequate"])
    assert alike(good, bad)
    assert not alike(good, model.predict(sentence))


def test_no_sentences_give_empty_predictions(model):
    for predictions in (model.predict([]), model.predict([], [])):
        assert predictions.finding_probabilities.shape == (0, 3)
        assert predictions.theme_probabilities.shape == (0, 3)
        assert predictions.themes.shape == (0, 3)
        assert predictions.findings.tolist() == []


def test_a_sentence_has_the_same_labels_alone_and_in_company(model):
    sentences = small_frame()["sentence"].tolist()
    together = model.predict(sentences)
    for i, sentence in enumerate(sentences):
        alone = model.predict([sentence])
        assert np.allclose(alone.finding_probabilities[0], together.finding_probabilities[i])
        assert np.allclose(alone.theme_probabilities[0], together.theme_probabilities[i])


def test_same_seed_same_model(model):
    rows = models.examples(small_frame(), LABELS)
    again = models.train(SETTINGS, rows, rows, LABELS, seed=1)
    assert alike(model.predict(rows.sentences), again.predict(rows.sentences))


@pytest.mark.parametrize(
    ("kept", "label", "share"),
    [
        (lambda row: row.finding != "concern", "concern", "no"),
        (lambda row: row.themes != ["voice"], "voice", "no"),
        (lambda row: row.themes == ["voice"], "workforce", "no"),
        (lambda row: row.finding == "strength", "strength", "every"),
    ],
)
def test_label_that_cannot_be_learnt_is_named(kept, label, share):
    frame = small_frame()
    rows = models.examples(frame[[kept(row) for row in frame.itertuples()]], LABELS)
    with pytest.raises(FindingsError, match=f"the label '{label}' is on {share} training sentence") as caught:
        models.train(SETTINGS, rows, rows, LABELS, seed=1)
    assert "Annotate more" in str(caught.value)


def test_unknown_family_is_named(model):
    rows = models.examples(small_frame(), LABELS)
    with pytest.raises(FindingsError, match=r"'oracle'.*tfidf"):
        models.train({"family": "oracle"}, rows, rows, LABELS, seed=1)


# Saving ------------------------------------------------------------------------------------------


def test_saved_model_predicts_the_same(model, saved):
    again = models.load(saved)
    frame = small_frame()
    arguments = frame["sentence"].tolist(), frame["heading"].tolist()
    assert alike(model.predict(*arguments), again.predict(*arguments))
    assert again.taxonomy == model.taxonomy
    assert again.calibration == model.calibration
    assert again.family == "tfidf"


def test_saving_twice_overwrites(model, saved):
    models.save(model, saved)
    assert alike(model.predict(["A sentence."]), models.load(saved).predict(["A sentence."]))


def change(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")
    manifest.write(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"family": "tfidf"}', "\x00\x01"])
def test_torn_card_is_refused_in_one_line(saved, text):
    (saved / "model.json").write_text(text, encoding="utf-8")
    manifest.write(saved)
    with pytest.raises(FindingsError, match=r"model\.json: not a model of ours") as caught:
        models.load(saved)
    assert "\n" not in str(caught.value)


def test_card_that_is_not_text_is_refused(saved):
    (saved / "model.json").write_bytes(b"\xff\xfe\xfa")
    manifest.write(saved)
    with pytest.raises(FindingsError, match="not a model of ours"):
        models.load(saved)


@pytest.mark.parametrize(
    "values",
    [
        {"calibration": {"temperature": 1}},
        {"calibration": []},
        {"calibration": {"temperature": 1, "theme_scale": 1, "theme_offset": 0, "thresholds": [0.5]}},
        {"calibration": {"temperature": "warm", "theme_scale": 1, "theme_offset": 0, "thresholds": [0.5, 0.5, 0.5]}},
        {"taxonomy": []},
        {"taxonomy": {"findings": [], "themes": []}},
    ],
)
def test_card_with_a_wrong_part_is_refused(saved, values):
    change(saved, **values)
    with pytest.raises(FindingsError, match=r"model\.json: (not a model of ours|'findings' is empty)"):
        models.load(saved)


def test_card_of_a_family_to_come_is_refused(saved):
    change(saved, family="oracle")
    with pytest.raises(FindingsError, match=r"unknown family 'oracle'.*tfidf"):
        models.load(saved)


@pytest.mark.parametrize("name", ["model.json", "tfidf.skops", "manifest.json"])
def test_a_changed_byte_is_refused_whatever_file_it_is_in(saved, name):
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    with pytest.raises(FindingsError, match="not the file that was stored with the model"):
        models.load(saved)


@pytest.mark.parametrize("name", ["model.json", "tfidf.skops"])
def test_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(FindingsError, match=name):
        models.load(saved)
