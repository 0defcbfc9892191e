"""The fast CPU form of a trained transformer: ONNX, its matrix products in 8-bit integers.

It needs ONNX Runtime and `tokenizers` alone: torch and transformers are not imported here.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from scipy.special import expit, softmax
from tokenizers import Tokenizer

from findings import calibration, cores, tokens
from findings.calibration import Array, Scores
from findings.errors import FindingsError
from findings.models import Examples

FILE = "encoder.onnx"

BUDGET = 256
"""Tokens in a batch: small batches stay in the processor's cache. Measured on two cores, 256 was
ahead of 512, 1,024 and 4,096."""

LIMIT = 0.005
"""How much macro-F1 of the finding or micro-F1 of the themes may be lost on validation."""


class Trained(Protocol):
    """What is converted: a trained torch model with its tokenizer."""

    tokenizer: Tokenizer | None

    def export(self, path: Path) -> None: ...

    def attention(self) -> tuple[int, int]: ...

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores: ...


class OnnxClassifier:
    """Answers from an ONNX graph. Thread-safe.

    Attributes:
        figures: how the graph compares with the torch model on validation, where it was converted.
    """

    def __init__(self, graph: bytes, tokenizer: Tokenizer, figures: Mapping[str, float] | None = None) -> None:
        self.graph = graph
        self.tokenizer = tokenizer
        self.figures = dict(figures or {})
        self.padding = tokens.padding_id(tokenizer)
        self.session = _session(graph)
        self.inputs = {entry.name for entry in self.session.get_inputs()}

    def fit(self, train: Examples, validation: Examples, watch: Any = None, checkpoints: Path | None = None) -> None:
        """Not possible.

        Raises:
            FindingsError: always.
        """
        raise FindingsError("the fast form of a model cannot be trained. Train the model that it came from.")

    def served(self, validation: Examples) -> OnnxClassifier:
        """Itself."""
        return self

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores:
        """Logits of the findings, (n, findings), and of the themes, (n, themes)."""
        encoded = tokens.encode(self.tokenizer, sentences, headings)
        found: list[tuple[Any, Array, Array]] = []
        for batch in tokens.batches(encoded, BUDGET, self.padding):
            feed = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.segments}
            answers = self.session.run(["findings", "themes"], {k: v for k, v in feed.items() if k in self.inputs})
            found.append((batch.rows, *answers))
        into = [np.zeros((len(sentences), part.shape[1])) for part in found[0][1:]]
        for rows, *parts in found:
            for target, part in zip(into, parts, strict=True):
                target[rows] = part
        return Scores(into[0], into[1])

    def save(self, folder: Path) -> None:
        """Write encoder.onnx and tokenizer.json."""
        (folder / FILE).write_bytes(self.graph)
        self.tokenizer.save(str(folder / tokens.FILE))

    @classmethod
    def load(cls, folder: Path) -> OnnxClassifier:
        """Read what `save` wrote.

        Raises:
            FindingsError: a file is missing or damaged.
        """
        path = folder / FILE
        try:
            return cls(path.read_bytes(), tokens.load(folder / tokens.FILE))
        except FindingsError:
            raise
        except Exception as error:  # ONNX Runtime has many kinds of its own
            raise FindingsError(f"{path}: damaged or missing. Train the model again.") from error


def _session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores.available()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The arena keeps the largest batch ever seen. Threads that spin between two products of a call take a
    # third off its time; they stop when the last call in flight ends, and leave the core to other work.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


# From torch --------------------------------------------------------------------------------------


def convert(trained: Trained, validation: Examples) -> OnnxClassifier:
    """The 8-bit form of a trained model; the 32-bit form where 8 bits lose more than `LIMIT` on validation.

    Raises:
        FindingsError: the graph does not answer as the torch model does even in 32 bits.
    """
    assert trained.tokenizer is not None
    reference = trained.scores(validation.sentences, validation.headings)
    with tempfile.TemporaryDirectory() as temporary:
        exact, joined, small = (Path(temporary) / f"{name}.onnx" for name in ("exact", "joined", "small"))
        trained.export(exact)
        join(exact, joined, *trained.attention())
        quantize(joined, small)
        for path, bits in ((small, 8), (exact, 32)):
            classifier = OnnxClassifier(path.read_bytes(), trained.tokenizer)
            figures = fidelity(reference, classifier.scores(validation.sentences, validation.headings), validation)
            classifier.figures = {"bits": bits, **figures}
            if figures["finding_macro_f1"] >= -LIMIT and figures["themes_micro_f1"] >= -LIMIT:
                return classifier
    raise FindingsError(f"the ONNX graph does not answer as the trained model does ({figures}). Report this as a bug.")


def join(source: Path, target: Path, heads: int, width: int) -> None:
    """A graph with each layer's attention, and sums with their normalization, as one operation of ONNX
    Runtime's own; what is not of BERT's shape stays as it is. Half of the time of one sentence goes.

    Args:
        heads: of each attention.
        width: of the encoder's layers.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    options.enable_bias_gelu = False  # it would part the product in 8 bits from its sum: slower, measured
    with _still():
        found = optimize_model(str(source), "bert", heads, width, optimization_options=options, opt_level=0)
        found.save_model_to_file(str(target))


@contextmanager
def _still() -> Iterator[None]:
    """ONNX Runtime's tools recommend steps that gain nothing here, through the root logger."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)


def quantize(source: Path, target: Path) -> None:
    """32-bit graph → matrix products in 8 bits, weights per channel, activations as they come; word
    vectors stay as they are, they are looked up and not multiplied."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _still():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm", "Attention"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            # joined operations are unknown to ONNX's inference of types
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
        )


def fidelity(reference: Scores, found: Scores, truth: Examples) -> dict[str, float]:
    """What is gained (lost, where negative) in F1, and the largest difference of a probability."""
    from findings import evaluation  # with pandas, which a server can do without

    values: dict[str, float] = {}
    for sign, scores in ((1, found), (-1, reference)):
        themes = calibration.decide_themes(expit(scores.themes), (0.5,) * scores.themes.shape[1])
        labels = scores.findings.shape[1]
        values["finding_macro_f1"] = values.get("finding_macro_f1", 0.0) + sign * evaluation.macro_f1(
            truth.findings, scores.findings.argmax(axis=1), labels
        )
        values["themes_micro_f1"] = values.get("themes_micro_f1", 0.0) + sign * evaluation.micro_f1(
            truth.themes, themes
        )
    apart = (
        np.abs(softmax(found.findings, axis=1) - softmax(reference.findings, axis=1)),
        np.abs(expit(found.themes) - expit(reference.themes)),
    )
    return values | {"largest_difference": float(max(part.max(initial=0.0) for part in apart))}
