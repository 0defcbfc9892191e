"""Sentences with their headings → token ids, by the tokenizer that a model was trained with.

The heading is the first segment, the sentence the second; without a heading the sentence is alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from findings.errors import FindingsError
from findings.sentences import encodable

FILE = "tokenizer.json"
MAX_TOKENS = 192
"""Longer pairs are cut. The longest of 6,000 annotated sentences of reports has 85 tokens, so what
is cut is furniture that was read as one sentence."""


@dataclass(frozen=True)
class Tokens:
    """n encoded sentences; `ids` and `segments` (0 heading, 1 sentence) are lists of n lists."""

    ids: list[list[int]]
    segments: list[list[int]]


@dataclass(frozen=True)
class Batch:
    """Some of the sentences, padded to the longest of them.

    Attributes:
        rows: (b,) which sentences.
        ids, mask, segments: (b, length) for the encoder.
    """

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    segments: NDArray[np.int64]


def load(path: Path) -> Tokenizer:
    """A tokenizer.json, made ready: cut at `MAX_TOKENS`, not padded.

    Raises:
        FindingsError: the file is missing or damaged.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception
        raise FindingsError(f"{path}: damaged or missing. Train the model again.") from error
    return ready(tokenizer)


def ready(tokenizer: Tokenizer, longest: int = MAX_TOKENS) -> Tokenizer:
    """The tokenizer, cutting at `longest` tokens and not padding, whatever its file says."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest, strategy="longest_first")
    return tokenizer


def padding_id(tokenizer: Tokenizer) -> int:
    """The id that pads a batch; masked, so any will do where the tokenizer has none of its own."""
    found = (tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>"))
    return next((i for i in found if i is not None), 0)


def encode(tokenizer: Tokenizer, sentences: Sequence[str], headings: Sequence[str]) -> Tokens:
    """Encode sentences with their headings; both are of one length."""
    pairs = [(h, s) if h else s for s, h in zip(map(encodable, sentences), map(encodable, headings), strict=True)]
    encodings = tokenizer.encode_batch(pairs)
    return Tokens([e.ids for e in encodings], [e.type_ids for e in encodings])


def batches(tokens: Tokens, budget: int, padding: int) -> Iterator[Batch]:
    """Sentences of like length together, as many as `budget` tokens hold, padding included (at least one)."""
    lengths = np.array([len(ids) for ids in tokens.ids], dtype=np.int64)
    rows: list[int] = []
    for row in np.argsort(lengths, kind="stable"):
        if rows and lengths[row] * (len(rows) + 1) > budget:
            yield pad(tokens, rows, padding)
            rows = []
        rows.append(int(row))
    if rows:
        yield pad(tokens, rows, padding)


def pad(tokens: Tokens, rows: Sequence[int], padding: int, multiple: int = 1) -> Batch:
    """The rows as one batch, as wide as the longest, rounded up to a multiple."""
    width = -(-max(len(tokens.ids[row]) for row in rows) // multiple) * multiple
    ids = np.full((len(rows), width), padding, dtype=np.int64)
    mask, segments = np.zeros_like(ids), np.zeros_like(ids)
    for place, row in enumerate(rows):
        size = len(tokens.ids[row])
        ids[place, :size] = tokens.ids[row]
        segments[place, :size] = tokens.segments[row]
        mask[place, :size] = 1
    return Batch(np.asarray(rows, dtype=np.int64), ids, mask, segments)
