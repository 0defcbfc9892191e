"""Tokens and pairs of neighbouring tokens in a linear model, whose answer is added to the encoder's.

What it learns from the same sentences is other than what an encoder learns, so that the two
together are better than either: the wide half beside the deep one (Cheng et al. 2016, "Wide & Deep
Learning for Recommender Systems"). Its features are hashed (Weinberger et al. 2009) and counted by
their place in one table, which is part of the encoder's graph: an answer takes no more time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from torch import nn

from findings.calibration import Array, Scores
from findings.models import Examples
from findings.tfidf import fit_head
from findings.tokens import Batch, Tokens, batches

BUCKETS = 2**16
"""Rows of the table. 2 to the 15th, 16th and 17th came to the same, measured on validation."""

BUDGET = 2**14
"""Tokens that are hashed at once."""


class Bigrams(nn.Module):
    """Scores of findings and themes from a table of features. Before it is fitted they are 0.

    Attributes:
        shares: (2,) how much its findings and its themes count beside the encoder's.
    """

    def __init__(self, vocabulary: int, findings: int, themes: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.findings = findings
        self.table = nn.Embedding(BUCKETS, findings + themes)
        nn.init.zeros_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(findings + themes))
        self.shares = nn.Parameter(torch.zeros(2))
        self.requires_grad_(False)  # fitted on its own, not with the encoder

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, length) each → (b, findings) and (b, themes), times their shares."""
        findings, themes = self._whole(ids, mask, segments)
        return findings * self.shares[0], themes * self.shares[1]

    def _whole(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        places, there = self.places(ids, mask, segments)
        weight = there / there.sum(1, keepdim=True).clamp(min=1).sqrt()
        scores = (self.table(places) * weight.unsqueeze(-1)).sum(1) + self.bias
        return scores[:, : self.findings], scores[:, self.findings :]

    def places(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, length) each → (b, 2 * length - 1), the rows of the table, and 1 where there is something, else 0.

        A token of the heading is another feature than the same one of the sentence, which is the last segment.
        """
        sentence = (segments == segments.amax(1, keepdim=True)).to(ids.dtype)
        marked = ids + sentence * self.vocabulary
        pairs = marked[:, :-1] * 31337 + marked[:, 1:] * 7919 + 17
        there = torch.cat([mask, mask[:, 1:]], 1).to(self.bias.dtype)
        return torch.cat([marked, pairs], 1) % BUCKETS, there

    def fit(self, tokens: Tokens, train: Examples, seed: int) -> None:
        """Fit the table to the labels, one against the rest: logistic regression on features weighted as those
        of the baseline are, with its strengths.

        Args:
            tokens: of the sentences of `train`.
        """
        x = self._counts(tokens)
        x = csr_matrix(x.multiply(1 / np.sqrt(np.maximum(x.sum(axis=1), 1))), dtype=np.float32)
        truths = [train.findings == label for label in range(self.findings)] + list(train.themes.T)
        for label, truth in enumerate(truths):
            strength = 3.0 if label < self.findings else 1.0
            head = LogisticRegression(C=strength, class_weight="balanced", solver="liblinear", random_state=seed)
            fit_head(head, x, truth)
            self.table.weight[:, label] = torch.from_numpy(head.coef_[0]).to(self.table.weight)
            self.bias[label] = float(head.intercept_[0])

    def scores(self, tokens: Tokens) -> Scores:
        """Of n sentences, without shares: (n, findings) and (n, themes)."""
        findings = np.zeros((len(tokens.ids), self.findings))
        themes = np.zeros((len(tokens.ids), len(self.bias) - self.findings))
        for batch in batches(tokens, BUDGET, 0):
            for into, part in zip((findings, themes), self._whole(*_tensors(batch)), strict=True):
                into[batch.rows] = part.numpy()
        return Scores(findings, themes)

    def _counts(self, tokens: Tokens) -> csr_matrix:
        """(n, BUCKETS): how often each feature is in each sentence."""
        rows: list[NDArray[np.int64]] = []
        columns: list[NDArray[np.int64]] = []
        for batch in batches(tokens, BUDGET, 0):
            places, there = (part.numpy() for part in self.places(*_tensors(batch)))
            row, column = np.nonzero(there)
            rows.append(batch.rows[row])
            columns.append(places[row, column])
        at = (np.concatenate(rows), np.concatenate(columns))
        return csr_matrix((np.ones(len(at[0]), np.float32), at), shape=(len(tokens.ids), BUCKETS))


def _tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.ids), torch.from_numpy(batch.mask), torch.from_numpy(batch.segments)


def shares(deep: Scores, wide: Scores, truth: Examples) -> tuple[float, float]:
    """How much of `wide` to add to `deep`, for the findings and for the themes, 0 to 1: what makes the labels of
    validation most likely, the sum scaled as `calibration` will."""

    def finding_nll(parameters: Array) -> float:
        logs = log_softmax(parameters[0] * (deep.findings + parameters[1] * wide.findings), axis=1)
        return float(-logs[np.arange(len(truth.findings)), truth.findings].mean())

    def theme_nll(parameters: Array) -> float:
        logits = parameters[0] * (deep.themes + parameters[1] * wide.themes) + parameters[2]
        return float(np.mean(np.logaddexp(0, logits) - truth.themes * logits))

    def best(nll: Callable[[Array], float], offset: list[tuple[float, float]]) -> float:
        ranges = [(0.05, 20.0), (0.0, 1.0), *offset]
        start = np.array([1.0, 0.5, *(0.0 for _ in offset)])
        return float(minimize(nll, start, method="Nelder-Mead", bounds=ranges).x[1])

    return best(finding_nll, []), best(theme_nll, [(-10.0, 10.0)])
