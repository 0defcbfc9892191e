import numpy as np
import pytest
from test_tfidf import LABELS, same, small
from test_transformer import encoder  # noqa: F401 - a fixture

from findings import models, static, tokens
from findings.errors import FindingsError
from findings.models import Examples
from findings.static import StaticClassifier

SETTINGS = {
    "family": "static",
    "teachers": [],
    "name": None,
    "dimensions": 16,
    "hidden": 32,
    "buckets": 1024,
    "epochs": 40,
    "batch_size": 8,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "heading_dropout": 0.3,
}


def unfitted(encoder, **settings):  # noqa: F811
    return StaticClassifier.from_settings(SETTINGS | {"name": str(encoder)} | settings, LABELS, seed=1)


@pytest.fixture(scope="module")
def watched():
    return []


@pytest.fixture(scope="module")
def fitted(encoder, watched):  # noqa: F811
    classifier = unfitted(encoder)
    classifier.fit(small(), small(), watched.append)
    return classifier


def scored(classifier):
    return classifier.scores(small().sentences, small().headings)


def test_both_heads_learn_their_labels(fitted):
    scores = scored(fitted)
    assert scores.findings.shape == (48, 4)
    assert (scores.findings.argmax(axis=1) == small().findings).mean() > 0.9
    assert (scores.themes.argmax(axis=1) == small().themes.argmax(axis=1)).mean() > 0.9


def test_same_seed_same_scores(encoder, fitted):  # noqa: F811
    again = unfitted(encoder)
    again.fit(small(), small())
    assert same(scored(again), scored(fitted))


def test_company_makes_no_difference(fitted):
    rows = small()
    alone = [fitted.scores([s], [h]).findings[0] for s, h in zip(rows.sentences, rows.headings, strict=True)]
    assert np.allclose(scored(fitted).findings, alone, atol=1e-4)


def test_it_tells_how_far_it_is(watched, fitted):
    assert [progress.epoch for progress in watched if progress.figures] == list(range(1, 41))
    assert watched[-1].share == 1


def test_a_teachers_probabilities_are_learnt_instead_of_the_labels(encoder):  # noqa: F811
    rows = small()
    turned = np.eye(4)[(rows.findings + 1) % 4]
    taught = Examples(
        rows.sentences, rows.headings, rows.findings, rows.themes, turned, 1.0 - rows.themes.astype(float)
    )
    classifier = unfitted(encoder)
    judge = Examples(rows.sentences, rows.headings, turned.argmax(axis=1), ~rows.themes)
    classifier.fit(taught, judge)
    assert (scored(classifier).findings.argmax(axis=1) == turned.argmax(axis=1)).mean() > 0.9


def test_word_order_can_be_told_apart(encoder):  # noqa: F811
    tokenizer = tokens.load(encoder / tokens.FILE)
    one, other = (static.features(tokenizer, [text], [""], 1024) for text in ("staff work well", "well work staff"))
    vocabulary = tokenizer.get_vocab_size()
    assert (one[:, :vocabulary] != other[:, :vocabulary]).nnz == 0
    assert (one != other).nnz > 0


def test_the_heading_has_columns_of_its_own(encoder):  # noqa: F811
    tokenizer = tokens.load(encoder / tokens.FILE)
    x = static.features(tokenizer, ["staff", "staff work"], ["", "staff"], 1024)
    vocabulary = tokenizer.get_vocab_size()
    assert x.shape == (2, 2 * vocabulary + 1024)
    assert x[:, vocabulary + 1024 :].sum(axis=1).ravel().tolist() == [[0.0, 1.0]]
    assert x[:, :vocabulary].sum(axis=1).ravel().tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("sentences", [[""], ["", "staff"], ["\ud800"], []])
def test_empty_and_strange_sentences_have_features(encoder, sentences):  # noqa: F811
    tokenizer = tokens.load(encoder / tokens.FILE)
    assert static.features(tokenizer, sentences, [""] * len(sentences), 1024).shape[0] == len(sentences)


def test_saved_and_loaded_it_answers_the_same(fitted, tmp_path):
    fitted.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"static.safetensors", "tokenizer.json"}
    assert same(scored(StaticClassifier.load(tmp_path)), scored(fitted))


@pytest.mark.parametrize("name", ["static.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00rubbish", None])
def test_a_damaged_model_is_named(fitted, tmp_path, name, damage):
    fitted.save(tmp_path)
    (tmp_path / name).unlink() if damage is None else (tmp_path / name).write_bytes(damage)
    with pytest.raises(FindingsError, match=f"{name}: damaged or missing. Train the model again."):
        StaticClassifier.load(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("dimensions", 1), ("buckets", 3), ("heading_dropout", 2)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(FindingsError, match=f"model.{name}={value}: out of range"):
        unfitted("anywhere", **{name: value})


def test_a_whole_model_of_it_is_stored_and_loaded(encoder, tmp_path):  # noqa: F811
    rows = small()
    model = models.train(SETTINGS | {"name": str(encoder)}, rows, rows, LABELS, 1)
    models.save(model, tmp_path / "model")
    again = models.load(tmp_path / "model")
    assert again.family == "static"
    assert np.array_equal(
        again.predict(rows.sentences, rows.headings).findings, model.predict(rows.sentences, rows.headings).findings
    )
