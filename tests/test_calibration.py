import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import f1_score

from findings import calibration
from findings.calibration import Calibration, Scores, decide_themes
from findings.taxonomy import MAX_THEMES


def draw(n=20_000, findings=4, themes=5, seed=0):
    """Log-odds, and truth drawn from the very probabilities that they mean."""
    rng = np.random.default_rng(seed)
    finding_scores = rng.normal(0, 2, (n, findings))
    theme_scores = rng.normal(-1, 2, (n, themes))
    uniform = rng.random((n, 1))
    truth = (softmax(finding_scores, axis=1).cumsum(axis=1) < uniform).sum(axis=1).clip(max=findings - 1)
    return finding_scores, theme_scores, truth, rng.random((n, themes)) < expit(theme_scores)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fit_recovers_the_temperature(temperature):
    finding_scores, theme_scores, findings, themes = draw()
    fitted = calibration.fit(Scores(finding_scores * temperature, theme_scores), findings, themes)
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, 1.0), (2.0, -1.5)])
def test_fit_recovers_scale_and_offset_of_the_themes(scale, offset):
    finding_scores, theme_scores, findings, themes = draw()
    fitted = calibration.fit(Scores(finding_scores, (theme_scores - offset) / scale), findings, themes)
    assert fitted.theme_scale == pytest.approx(scale, rel=0.05)
    assert fitted.theme_offset == pytest.approx(offset, abs=0.06)


def test_fitted_probabilities_mean_what_they_say():
    finding_scores, theme_scores, findings, themes = draw()
    scores = Scores(finding_scores * 4, theme_scores * 4 + 3)
    fitted = calibration.fit(scores, findings, themes)
    for probabilities, truth in (
        (fitted.finding_probabilities(scores).ravel(), np.eye(4)[findings].ravel()),
        (fitted.theme_probabilities(scores).ravel(), themes.ravel()),
    ):
        for low in np.arange(0, 1, 0.2):
            inside = (probabilities >= low) & (probabilities < low + 0.2)
            assert truth[inside].mean() == pytest.approx(probabilities[inside].mean(), abs=0.03)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e-6])
def test_finding_probabilities_sum_to_one_and_keep_the_order(size):
    scores = Scores(np.random.default_rng(1).normal(0, size, (200, 4)), np.full((200, 3), -size))
    fitted = Calibration(1.7, 0.9, 0.1, (0.5, 0.5, 0.5))
    probabilities = fitted.finding_probabilities(scores)
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == scores.findings.argmax(axis=1)).all()
    themes = fitted.theme_probabilities(scores)
    assert np.isfinite(themes).all()
    assert ((themes >= 0) & (themes <= 1)).all()


def test_thresholds_are_better_than_one_half():
    finding_scores, theme_scores, findings, themes = draw(n=3000)
    scores = Scores(finding_scores, theme_scores - 1.5)
    fitted = calibration.fit(scores, findings, themes)
    assert len(fitted.thresholds) == themes.shape[1]
    probabilities = fitted.theme_probabilities(scores)
    own = f1_score(themes, probabilities >= np.array(fitted.thresholds), average="micro")
    assert own > f1_score(themes, probabilities >= 0.5, average="micro")


def test_threshold_of_a_theme_never_seen_is_the_common_one():
    """With one frequent theme its own best threshold and the common one are the same."""
    finding_scores, theme_scores, findings, themes = draw(n=2000, themes=2)
    theme_scores[:, 1], themes[:, 1] = -30, False
    frequent, unseen = calibration.fit(Scores(finding_scores, theme_scores), findings, themes).thresholds
    assert unseen == pytest.approx(frequent)


def test_threshold_of_a_rare_theme_is_pulled_to_the_common_one():
    finding_scores, theme_scores, findings, themes = draw(n=2000, themes=2)
    themes[:, 1] = False
    theme_scores[:, 1] = -6
    theme_scores[:5, 1], themes[:5, 1] = 5, True
    scores = Scores(finding_scores, theme_scores)
    fitted = calibration.fit(scores, findings, themes)
    common, rare = fitted.thresholds
    # Anything from 0.1 on separates the five sentences, so that on their own they would get 0.1.
    assert fitted.theme_probabilities(scores)[5:, 1].max() < 0.1
    assert rare == pytest.approx((5 * 0.1 + calibration.SHRINK * common) / (5 + calibration.SHRINK), abs=0.02)


def test_a_theme_is_given_from_its_threshold_on():
    given = decide_themes(np.array([[0.30, 0.30], [0.29, 0.31]]), (0.30, 0.31))
    assert given.tolist() == [[True, False], [False, True]]


def test_at_most_three_themes_and_those_the_most_probable():
    probabilities = np.random.default_rng(2).random((300, 13))
    given = decide_themes(probabilities, (0.3,) * 13)
    assert given.sum(axis=1).max() == MAX_THEMES
    for row, chosen in zip(probabilities, given, strict=True):
        above = sorted(row[row >= 0.3], reverse=True)[:MAX_THEMES]
        assert sorted(row[chosen], reverse=True) == above


def test_a_probable_theme_below_its_threshold_takes_no_place():
    given = decide_themes(np.array([[0.8, 0.7, 0.6, 0.5, 0.4]]), (0.9, 0.1, 0.1, 0.1, 0.1))
    assert given.tolist() == [[False, True, True, True, False]]


def test_equal_probabilities_still_give_three_themes():
    assert decide_themes(np.full((2, 6), 0.5), (0.5,) * 6).sum(axis=1).tolist() == [3, 3]


@pytest.mark.parametrize("themes", [1, 2, 3])
def test_few_themes_are_all_given(themes):
    assert decide_themes(np.full((4, themes), 0.9), (0.5,) * themes).all()


def test_no_sentences_no_decisions():
    assert decide_themes(np.zeros((0, 13)), (0.5,) * 13).shape == (0, 13)


def test_calibration_survives_json():
    fitted = Calibration(1.234567890123, 0.1, -2.5, (0.1, 1 / 3, 0.9))
    assert calibration.from_dict(json.loads(json.dumps(fitted.as_dict()))) == fitted
