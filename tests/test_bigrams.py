from itertools import pairwise

import numpy as np
import pytest
import torch
from test_tfidf import small
from test_transformer import encoder  # noqa: F401 - a fixture

from findings import tokens, transformer
from findings.bigrams import BUCKETS, Bigrams, shares
from findings.calibration import Scores
from findings.models import Examples

VOCABULARY = 1000


def batch(*rows):
    """Rows of (ids, segments) as tensors: ids, mask, segments."""
    made = tokens.pad(tokens.Tokens([r[0] for r in rows], [r[1] for r in rows]), range(len(rows)), 0)
    return tuple(torch.from_numpy(part) for part in (made.ids, made.mask, made.segments))


def random_table():
    made = Bigrams(VOCABULARY, 4, 3)
    torch.manual_seed(1)
    made.table.weight.normal_()
    made.bias.normal_()
    made.shares.copy_(torch.tensor([0.5, 2.0]))
    return made


@pytest.fixture(scope="module")
def encoded(encoder):  # noqa: F811
    _, tokenizer = transformer.load_encoder(str(encoder))
    rows = small()
    return tokens.encode(tokenizer, rows.sentences, rows.headings)


# Features ----------------------------------------------------------------------------------------


def test_scores_are_the_sum_over_tokens_and_pairs_by_the_root_of_their_number():
    made = random_table()
    ids = [2, 7, 3, 9, 9, 3]
    segments = [0, 0, 0, 1, 1, 1]
    marked = [i + VOCABULARY * s for i, s in zip(ids, segments, strict=True)]
    pairs = [(31337 * a + 7919 * b + 17) % BUCKETS for a, b in pairwise(marked)]
    rows = made.table.weight[torch.tensor(marked + pairs)]
    expected = rows.sum(0) / np.sqrt(11) + made.bias
    findings, themes = made(*batch((ids, segments)))
    torch.testing.assert_close(findings[0], expected[:4] * 0.5)
    torch.testing.assert_close(themes[0], expected[4:] * 2.0)


def test_company_and_padding_make_no_difference():
    made = random_table()
    short, long = ([2, 5, 3], [0, 0, 0]), ([2, 6, 3, *range(20, 60), 3], [0, 0, 0] + [1] * 41)
    together = made(*batch(short, long))
    for number, row in enumerate((short, long)):
        for part, alone in zip(together, made(*batch(row)), strict=True):
            torch.testing.assert_close(part[number], alone[0])


def test_a_sentence_has_the_same_features_under_a_heading_and_alone():
    made = Bigrams(VOCABULARY, 4, 3)
    sentence = [5, 6, 7]
    alone, _ = made.places(*batch(([2, *sentence, 3], [0] * 5)))
    under, _ = made.places(*batch(([2, 8, 3, *sentence, 3], [0, 0, 0, 1, 1, 1, 1])))
    heading, _ = made.places(*batch(([2, *sentence, 3, 9, 3], [0] * 5 + [1, 1])))
    own = set(alone[0].tolist()[1:4]) | set(alone[0].tolist()[6:8])
    assert own < set(under[0].tolist())
    assert not own & set(heading[0].tolist()), "as a heading the same words are other features"


def test_tokens_of_a_large_vocabulary_share_the_table():
    made = Bigrams(250_000, 4, 3)
    places, _ = made.places(*batch(([2, 249_999, 249_998], [0, 0, 0])))
    assert places.min() >= 0
    assert places.max() < BUCKETS


# Fitting -----------------------------------------------------------------------------------------


def test_unfitted_it_says_nothing():
    findings, themes = Bigrams(VOCABULARY, 4, 3)(*batch(([2, 5, 3], [0, 0, 0])))
    assert findings.abs().max() == 0 == themes.abs().max()


def test_it_learns_the_labels_and_the_same_ones_each_time(encoded):
    rows = small()
    fitted, again = Bigrams(VOCABULARY, 4, 3), Bigrams(VOCABULARY, 4, 3)
    for made in (fitted, again):
        made.fit(encoded, rows, seed=1)
    found = fitted.scores(encoded)
    assert (found.findings.argmax(axis=1) == rows.findings).mean() > 0.9
    assert ((found.themes > 0) == rows.themes).mean() > 0.9
    torch.testing.assert_close(fitted.table.weight, again.table.weight)


def test_fitted_it_counts_as_its_shares_say(encoded):
    rows = small()
    made = Bigrams(VOCABULARY, 4, 3)
    made.fit(encoded, rows, seed=1)
    inputs = batch((encoded.ids[0], encoded.segments[0]))
    assert made(*inputs)[0].abs().max() == 0, "until its shares are known"
    made.shares.fill_(0.5)
    whole = made.scores(tokens.Tokens(encoded.ids[:1], encoded.segments[:1]))
    assert np.allclose(made(*inputs)[0].numpy(), 0.5 * whole.findings, atol=1e-6)
    assert np.allclose(made(*inputs)[1].numpy(), 0.5 * whole.themes, atol=1e-6)


# Shares ------------------------------------------------------------------------------------------


def noisy(seed, strength):
    """Scores that know the labels of 2,000 sentences as far as noise lets them."""
    random = np.random.default_rng(seed)
    return Scores(
        strength * np.eye(4)[TRUTH.findings] + random.normal(size=(2000, 4)),
        strength * (2.0 * TRUTH.themes - 1) + random.normal(size=(2000, 3)),
    )


_RANDOM = np.random.default_rng(0)
TRUTH = Examples([], [], _RANDOM.integers(0, 4, 2000), _RANDOM.random((2000, 3)) < 0.3)


def test_what_knows_nothing_counts_nothing():
    findings, themes = shares(noisy(1, 2.0), noisy(2, 0.0), TRUTH)
    assert findings < 0.1
    assert themes < 0.1


def test_what_knows_half_as_much_counts_about_half():
    findings, themes = shares(noisy(1, 2.0), noisy(2, 1.0), TRUTH)
    assert findings == pytest.approx(0.5, abs=0.1)
    assert themes == pytest.approx(0.5, abs=0.1)


def test_a_share_is_one_at_most():
    findings, themes = shares(noisy(1, 0.2), noisy(2, 3.0), TRUTH)
    assert (findings, themes) == pytest.approx((1, 1), abs=1e-3)
