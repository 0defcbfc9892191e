import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_transformer import encoder  # noqa: F401 - a fixture

from findings import tokens
from findings.errors import FindingsError
from findings.tokens import Tokens


@pytest.fixture(scope="module")
def tokenizer(encoder):  # noqa: F811
    return tokens.load(encoder / tokens.FILE)


def test_the_heading_is_the_first_segment(tokenizer):
    both, alone = (tokens.encode(tokenizer, ["staff work well"], [heading]) for heading in ("staff", ""))
    assert both.segments == [[0, 0, 0, 1, 1, 1, 1]]
    assert alone.segments == [[0, 0, 0, 0, 0]]
    assert both.ids[0][1] == both.ids[0][3] == alone.ids[0][1]


def test_long_pairs_are_cut(tokenizer):
    (ids,) = tokens.encode(tokenizer, ["staff " * 1000], ["staff " * 1000]).ids
    assert len(ids) == tokens.MAX_TOKENS


def test_text_that_is_no_unicode_is_still_encoded(tokenizer):
    assert len(tokens.encode(tokenizer, ["staff \ud800 work", "\x00"], ["\udfff", ""]).ids) == 2


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_every_sentence_is_in_one_batch_within_the_budget(lengths, budget):
    encoded = Tokens([list(range(1, n + 1)) for n in lengths], [[1] * n for n in lengths])
    made = list(tokens.batches(encoded, budget, padding=0))
    assert sorted(row for batch in made for row in batch.rows) == list(range(len(lengths)))
    for batch in made:
        assert batch.ids.size <= budget or len(batch.rows) == 1
        assert batch.ids.shape == batch.mask.shape == batch.segments.shape
        for place, row in enumerate(batch.rows):
            assert batch.ids[place][batch.mask[place] == 1].tolist() == encoded.ids[row]
            assert not batch.ids[place][batch.mask[place] == 0].any()


def test_sentences_of_like_length_are_together():
    lengths = [3, 30, 4, 29, 3, 30]
    encoded = Tokens([[1] * n for n in lengths], [[0] * n for n in lengths])
    padded = sum(batch.ids.size for batch in tokens.batches(encoded, 100, 0))
    assert padded <= sum(lengths) + 3


@pytest.mark.parametrize(("multiple", "width"), [(1, 5), (4, 8), (5, 5)])
def test_a_batch_is_as_wide_as_its_longest_or_the_next_multiple(multiple, width):
    batch = tokens.pad(Tokens([[7] * 5, [7] * 2], [[1] * 5, [1] * 2]), range(2), 0, multiple)
    assert batch.ids.shape == batch.segments.shape == (2, width)
    assert batch.ids.sum(1).tolist() == [35, 14]
    assert batch.mask.sum(1).tolist() == batch.segments.sum(1).tolist() == [5, 2]


def test_padding_is_the_tokenizers_own(tokenizer):
    assert tokens.padding_id(tokenizer) == 0
    batch = tokens.pad(Tokens([[5], [6, 7]], [[0], [0, 1]]), [0, 1], 9)
    assert np.array_equal(batch.ids, [[5, 9], [6, 7]])


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1.0"'])
def test_a_damaged_tokenizer_is_named(tmp_path, text):
    (tmp_path / tokens.FILE).write_text(text)
    with pytest.raises(FindingsError, match=r"tokenizer\.json: damaged or missing"):
        tokens.load(tmp_path / tokens.FILE)
