from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from corpora import write_standoff
from test_standoff import LABELS as FULL
from test_standoff import PAPERS, build
from test_tfidf import LABELS, SETTINGS, small

from findings import models, silver, standoff
from findings.errors import FindingsError


@pytest.fixture
def reports(tmp_path):
    """Three reports, in each of which the sentences with a concern lost their labels."""
    folder = write_standoff(tmp_path / "standoff", PAPERS)
    marks = standoff.read(folder)
    standoff.write(replace(marks, marks=tuple(mark for mark in marks.marks if mark.finding != "concern")))
    return folder


@pytest.fixture(scope="module")
def teacher():
    return models.train(SETTINGS, small(), small(), LABELS, seed=1)


def test_only_unlabelled_sentences_of_training_authorities_are_taken(reports):
    frame = silver.unlabelled(build(reports), reports, reports / "reports")
    (sentence,) = frame["sentence"]
    assert sentence == PAPERS[0].sentences[2][0]
    assert frame["heading"].tolist() == ["Main findings"]


def test_an_authority_that_is_measured_on_gives_nothing(reports):
    marks = standoff.read(reports)
    standoff.write(replace(marks, reports=tuple(replace(r, split="train") for r in marks.reports)))
    built = build(write_standoff(reports.parent / "other", PAPERS))
    frame = silver.unlabelled(built, reports, reports / "reports")
    assert frame.empty  # every sentence is labelled in the other folder, or of its validation and test authorities


def test_reports_that_are_not_at_hand_are_passed_over(reports):
    built = build(reports)
    (reports / "reports" / "1001.pdf").unlink()
    assert silver.unlabelled(built, reports, reports / "reports").empty


def test_labels_are_the_teachers_mean_probabilities(teacher):
    other = models.train(SETTINGS | {"C": 0.1}, small(), small(), LABELS, seed=1)
    frame = pd.DataFrame({"sentence": small().sentences, "heading": ["Staff: good"] * 48})
    given = silver.label(frame, [teacher, other])
    each = [t.predict(small().sentences, ["Staff"] * 48).finding_probabilities for t in (teacher, other)]
    assert np.allclose(given.finding_targets, (each[0] + each[1]) / 2)
    assert given.finding_targets.argmax(axis=1).tolist() == given.findings.tolist()
    assert given.headings == ["Staff"] * 48
    assert (given.themes.sum(axis=1) <= 3).all()


def test_teachers_of_different_labels_are_refused(teacher):
    other = replace(teacher, taxonomy=FULL)
    with pytest.raises(FindingsError, match="Name teachers of one taxonomy"):
        silver.label(pd.DataFrame({"sentence": ["A."], "heading": [""]}), [teacher, other])


def test_gold_keeps_its_labels_beside_silver(teacher):
    gold = small()
    given = silver.label(pd.DataFrame({"sentence": gold.sentences[:5], "heading": [""] * 5}), [teacher])
    both = silver.add(gold, given)
    assert len(both.sentences) == len(both.findings) == len(both.finding_targets) == len(both.theme_targets) == 53
    assert (both.finding_targets[:48].argmax(axis=1) == gold.findings).all()
    assert set(np.unique(both.finding_targets[:48])) == {0.0, 1.0}
    assert np.allclose(both.finding_targets[48:], given.finding_targets)
