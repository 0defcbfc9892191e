"""A student for piles of millions of sentences: a vector for each word piece and each pair of them
(fastText, Joulin et al. 2017), their mean, one hidden layer and two heads, learnt from a teacher's
probabilities (`silver`). No attention, so it answers at the speed of a table.

torch is imported for training alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from findings import tokens
from findings.calibration import Scores
from findings.errors import FindingsError
from findings.models import Examples, Progress, Watch, ignore
from findings.sentences import encodable
from findings.taxonomy import Taxonomy

FILE = "static.safetensors"
ROWS = 4096
"""Sentences whose words are looked up at once."""

Floats = NDArray[np.float32]
Layers = dict[str, Floats]

RANGES = {
    "dimensions": (16, 1024),
    "hidden": (16, 4096),
    "buckets": (2**10, 2**20),
    "epochs": (1, 1000),
    "batch_size": (1, 2**16),
    "learning_rate": (1e-6, 1.0),
    "heading_dropout": (0, 1),
}


class StaticClassifier:
    """See the module. Parameters are those of `conf/model/static.yaml`.

    Attributes:
        weights: by name, `words` (2 * vocabulary + buckets, dimensions) and the layers after it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        weights: Layers | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.weights = weights or {}
        self.settings = settings or {}
        self.seed = seed

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> StaticClassifier:
        """An unfitted classifier.

        Raises:
            FindingsError: a setting is out of its range.
        """
        for name, (low, high) in RANGES.items():
            if not low <= settings[name] <= high:
                raise FindingsError(f"model.{name}={settings[name]}: out of range. Give {low} to {high}.")
        return cls(settings=settings, seed=seed)

    def fit(
        self, train: Examples, validation: Examples, watch: Watch = ignore, checkpoints: Path | None = None
    ) -> None:
        """Learn from targets where there are any, else from labels; the epoch that is best on validation
        is kept. A matter of minutes, so there are no checkpoints."""
        import torch
        from torch.nn import functional

        from findings import evaluation, transformer

        torch.manual_seed(self.seed)
        random = np.random.default_rng(self.seed)
        encoder, self.tokenizer = transformer.load_encoder(self.settings["name"])
        words = encoder.get_input_embeddings().weight.detach().numpy()
        finding_targets, theme_targets = targets(train)
        start = _beginning(words, self.settings, (finding_targets.shape[1], theme_targets.shape[1]), random)
        network = {name: torch.nn.Parameter(torch.from_numpy(layer)) for name, layer in start.items()}
        known, alone = (
            features(self.tokenizer, train.sentences, headings, int(self.settings["buckets"]))
            for headings in (train.headings, [""] * len(train.sentences))
        )
        epochs, size, rate = (self.settings[name] for name in ("epochs", "batch_size", "learning_rate"))
        steps = -(-len(train.sentences) // size)
        optimizer = torch.optim.Adam(network.values(), lr=rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps, pct_start=0.1)
        best: tuple[float, Layers] = (-1.0, {})
        for epoch in range(1, epochs + 1):
            order = random.permutation(len(train.sentences))
            for step in range(steps):
                rows = order[step * size : (step + 1) * size]
                x = (alone if random.random() < self.settings["heading_dropout"] else known)[rows]
                ids, offsets, shares = (torch.from_numpy(part) for part in (x.indices, x.indptr[:-1], x.data))
                mean = functional.embedding_bag(ids, network["words"], offsets, mode="sum", per_sample_weights=shares)
                mean = functional.dropout(mean, float(self.settings["dropout"]))
                hidden = functional.relu(mean @ network["hidden"] + network["hidden_bias"])
                findings = hidden @ network["findings"] + network["findings_bias"]
                themes = hidden @ network["themes"] + network["themes_bias"]
                one = functional.cross_entropy(findings, torch.from_numpy(finding_targets[rows]))
                many = functional.binary_cross_entropy_with_logits(themes, torch.from_numpy(theme_targets[rows]))
                optimizer.zero_grad()
                loss: torch.Tensor = one + themes.shape[1] * many
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                if step % 20 == 0:
                    watch(Progress((epoch - 1 + step / steps) / epochs, f"epoch {epoch} of {epochs}"))
            self.weights = {name: layer.detach().numpy().copy() for name, layer in network.items()}
            figures = evaluation.figures(self.scores(validation.sentences, validation.headings), validation)
            best = max(best, (sum(figures.values()), self.weights), key=lambda pair: pair[0])
            watch(Progress(epoch / epochs, f"epoch {epoch} measured", epoch, figures))
        # Half precision halves the file and costs nothing that can be measured.
        self.weights = {name: layer.astype(np.float16).astype(np.float32) for name, layer in best[1].items()}

    def served(self, validation: Examples) -> StaticClassifier:
        """Itself."""
        return self

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores:
        """Logits of the findings, (n, findings), and of the themes, (n, themes)."""
        assert self.tokenizer is not None
        layers = self.weights
        buckets = len(layers["words"]) - 2 * self.tokenizer.get_vocab_size()
        parts = []
        for start in range(0, len(sentences), ROWS):
            part = slice(start, start + ROWS)
            x = features(self.tokenizer, sentences[part], headings[part], buckets)
            hidden = np.maximum(x @ layers["words"] @ layers["hidden"] + layers["hidden_bias"], 0)
            parts.append([hidden @ layers[name] + layers[f"{name}_bias"] for name in ("findings", "themes")])
        findings, themes = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
        return Scores(findings, themes)

    def save(self, folder: Path) -> None:
        """Write static.safetensors (half precision) and tokenizer.json."""
        assert self.tokenizer is not None
        save_file({name: layer.astype(np.float16) for name, layer in self.weights.items()}, folder / FILE)
        self.tokenizer.save(str(folder / tokens.FILE))

    @classmethod
    def load(cls, folder: Path) -> StaticClassifier:
        """Read what `save` wrote.

        Raises:
            FindingsError: a file is missing or damaged.
        """
        path = folder / FILE
        tokenizer = tokens.load(folder / tokens.FILE)
        try:
            weights = {name: layer.astype(np.float32) for name, layer in load_file(path).items()}
            classifier = cls(tokenizer, weights)
            classifier.scores(["a word"], ["a heading"])  # the layers fit each other
        except Exception as error:  # safetensors has its own kinds
            raise FindingsError(f"{path}: damaged or missing. Train the model again.") from error
        return classifier


def targets(rows: Examples) -> tuple[Floats, Floats]:
    """(n, findings) and (n, themes) probabilities to learn: those of a teacher, else the labels as they are."""
    if rows.finding_targets is not None and rows.theme_targets is not None:
        return rows.finding_targets.astype(np.float32), rows.theme_targets.astype(np.float32)
    return np.eye(int(rows.findings.max()) + 1, dtype=np.float32)[rows.findings], rows.themes.astype(np.float32)


def _beginning(
    words: Floats, settings: Mapping[str, Any], outputs: tuple[int, int], random: np.random.Generator
) -> Layers:
    """The weights that training starts from: the encoder's word vectors, brought to `dimensions` by their
    principal components, for sentence and heading; pairs at zero; small random layers."""
    width, inner = int(settings["dimensions"]), int(settings["hidden"])
    centred = words - words.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :width]
    vectors = centred @ axes
    vectors *= 10 / np.linalg.norm(vectors, axis=1).mean()
    if vectors.shape[1] < width:
        vectors = np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))
    table = np.concatenate([vectors, np.zeros((int(settings["buckets"]), width)), 0.3 * vectors])

    def layer(rows: int, columns: int) -> Floats:
        made: Floats = (random.standard_normal((rows, columns)) * np.sqrt(2 / rows)).astype(np.float32)
        return made

    return {
        "words": table.astype(np.float32),
        "hidden": layer(width, inner),
        "hidden_bias": np.zeros(inner, dtype=np.float32),
        "findings": layer(inner, outputs[0]),
        "findings_bias": np.zeros(outputs[0], dtype=np.float32),
        "themes": layer(inner, outputs[1]),
        "themes_bias": np.zeros(outputs[1], dtype=np.float32),
    }


def features(tokenizer: Tokenizer, sentences: Sequence[str], headings: Sequence[str], buckets: int) -> csr_matrix:
    """(n, 2 * vocabulary + buckets): the share of each word piece in the sentence, of each pair of
    neighbours (hashed into `buckets`), of each word piece in the heading."""
    n, vocabulary = len(sentences), tokenizer.get_vocab_size()
    said, rows = _pieces(tokenizer, sentences)
    under, under_rows = _pieces(tokenizer, headings)
    together = rows[1:] == rows[:-1]
    # Multiplicative hashing (Knuth 1973, 6.4) spreads neighbouring numbers.
    pairs = (said[:-1] * vocabulary + said[1:])[together].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    hashed = ((pairs >> np.uint64(32)) % np.uint64(buckets)).astype(np.int64)
    blocks = ((said, rows), (vocabulary + hashed, rows[1:][together]), (vocabulary + buckets + under, under_rows))
    shares = [1 / np.bincount(places, minlength=n)[places] for _, places in blocks]
    columns, places = (np.concatenate(part) for part in zip(*blocks, strict=True))
    values = np.concatenate(shares).astype(np.float32)
    return csr_matrix((values, (places, columns)), shape=(n, 2 * vocabulary + buckets))


def _pieces(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The word pieces of all texts one after another, and the text that each is of."""
    different = {text: number for number, text in enumerate(dict.fromkeys(texts))}  # headings come many times
    encodings = tokenizer.encode_batch_fast(list(map(encodable, different)), add_special_tokens=False)
    ids = [encodings[different[text]].ids for text in texts]
    lengths = [len(part) for part in ids]
    flat = np.fromiter((i for part in ids for i in part), dtype=np.int64, count=sum(lengths))
    return flat, np.repeat(np.arange(len(texts)), lengths)
