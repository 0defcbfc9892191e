"""How fast models answer on this machine's processor: ours against the usual ways, and against its limits.

    python benchmarks/inference_speed.py [SETTING=VALUE ...]

Each contestant is a process of its own that waits for its turn; a round asks all of them, every second
round the other way round, and ratios are of the same round. The sentences are of the test split, without
headings for all alike. The peers answer one task, ours both. The limit is the encoder's multiplications
over the rate at which ONNX Runtime multiplies matrices here.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import runs
from onnx import TensorProto, helper, numpy_helper
from rich.status import Status

from findings import cores, onnx, tokens, training, transformer
from findings.errors import FindingsError

WORKER = Path(__file__).with_name("inference_worker.py")
ROWS, INNER = 256, "intermediate_size"


@dataclass(frozen=True)
class Contestant:
    """`kind` and `size` as of inference_worker.py, which runs in `python` on the model in `folder`."""

    name: str
    title: str
    kind: str
    folder: Path
    size: int = 1
    python: Path = Path(sys.executable)


class Worker:
    """A contestant's process, ready to answer; `started`: seconds from its start to its first answer."""

    def __init__(self, contestant: Contestant, sentences: Path) -> None:
        self.title = contestant.title
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with the process
        command = [contestant.python, WORKER, contestant.kind, contestant.folder, sentences, "--size", contestant.size]
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=runs.environment(),
        )  # fmt: skip
        self._answer()
        self.started = time.perf_counter() - begun

    def ask(self, order: str) -> float:
        """Give an order of inference_worker.py and wait for its figure.

        Raises:
            FindingsError: the process has ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or ["no reason given"]
            raise FindingsError(f"{self.title}: {said[-1][:300]}")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def cold(contestant: Contestant, sentences: Path, times: int, _: Path) -> dict[str, float]:
    """Seconds to the first answer, the median of so many starts, and memory after a batch."""
    starts, memory = [], 0.0
    for number in range(times):
        with closing(Worker(contestant, sentences)) as worker:
            starts.append(worker.started)
            if number == times - 1:
                worker.ask("batch")
                memory = worker.ask("memory")
    return {"first_answer_seconds": statistics.median(starts), "peak_memory_gib": memory}


def one_round(number: int, workers: Callable[[], Mapping[str, Worker]], count: int, _: Path) -> dict[str, float]:
    """Every contestant once: median seconds of one sentence, sentences a second of a batch."""
    figures = {}
    started = workers()
    for name in list(started) if number % 2 else list(started)[::-1]:
        with Status(f"round {number}: {started[name].title}", console=runs.TELL):
            figures[f"{name}/one"] = started[name].ask("one")
            figures[f"{name}/rate"] = count / started[name].ask("batch")
    return figures


@contextmanager
def once(contestants: list[Contestant], sentences: Path) -> Iterator[Callable[[], Mapping[str, Worker]]]:
    """What starts the workers when they are first asked for, and ends them at the end."""
    with ExitStack() as stack:
        started: dict[str, Worker] = {}

        def workers() -> Mapping[str, Worker]:
            for contestant in contestants:
                if contestant.name not in started:
                    started[contestant.name] = stack.enter_context(closing(Worker(contestant, sentences)))
            return started

        yield workers


# The limit ---------------------------------------------------------------------------------------


def multiplications(shape: Mapping[str, Any], length: float) -> float:
    """Multiply-adds of a BERT encoder for a sentence of `length` tokens: four projections and two layers of
    the feed-forward network a token, and each token's attention to all."""
    width, inner = shape["hidden_size"], shape[INNER]
    return float(shape["num_hidden_layers"] * length * (4 * width**2 + 2 * width * inner + 2 * length * width))


def matrix_rates(shape: Mapping[str, Any], seconds: float, _: Path) -> dict[str, float]:
    """Multiply-adds a second of ONNX Runtime on the feed-forward network's first product, the best of five
    stretches, by bits."""
    width, inner = shape["hidden_size"], shape[INNER]
    random = np.random.default_rng(0)
    figures = {}
    for bits, operation, kinds, types in (
        (8, "MatMulInteger", (np.uint8, np.int8), (TensorProto.UINT8, TensorProto.INT32)),
        (32, "MatMul", (np.float32, np.float32), (TensorProto.FLOAT, TensorProto.FLOAT)),
    ):
        left = random.integers(0, 100, (ROWS, width)).astype(kinds[0])
        right = random.integers(0, 100, (width, inner)).astype(kinds[1])
        session = _product(operation, right, types)
        best = 0.0
        for _number in range(5):
            begun, done = time.perf_counter(), 0
            while time.perf_counter() - begun < seconds:
                session.run(None, {"left": left})
                done += 1
            best = max(best, done * ROWS * width * inner / (time.perf_counter() - begun))
        figures[f"multiplications_per_second_{bits}_bits"] = best
    return figures


def _product(operation: str, right: Any, types: tuple[int, int]) -> onnxruntime.InferenceSession:
    graph = helper.make_graph(
        [helper.make_node(operation, ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", types[0], [ROWS, right.shape[0]])],
        [helper.make_tensor_value_info("product", types[1], [ROWS, right.shape[1]])],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores.available()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


# What is measured --------------------------------------------------------------------------------


def gather(given: Namespace, sha256: str, folder: Path) -> tuple[list[Contestant], list[str]]:
    """The contestants, ours first, and who is left out and why."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()
    encoder = runs.tiny_encoder() if given.small else runs.minilm()
    own = ["model=encoder", f"model.name={encoder}", "model.epochs=2"] if given.small else ["model=minilm"]
    run_id = runs.trained([*given.settings, *own], sha256)
    fitted = Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="fitted", dst_path=str(folder)))
    classifier = folder / "classifier"
    AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=4).save_pretrained(classifier)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(classifier)
    found = [
        Contestant("ours", "ours, ONNX in 8 bits", "ours", runs.stored(run_id, folder)),
        Contestant("torch", f"torch eager, {onnx.BUDGET} tokens a batch, as ours", "torch", fitted, onnx.BUDGET),
        Contestant("torch_wide", f"torch eager, {transformer.BUDGET} tokens", "torch", fitted, transformer.BUDGET),
        Contestant("pipeline", "Hugging Face pipeline, its defaults", "pipeline", classifier),
        Contestant("pipeline_32", "Hugging Face pipeline, batches of 32", "pipeline", classifier, 32),
    ]
    left_out = []
    for family, title in (("tfidf", "ours, TF-IDF"), ("static", "ours, the fast student")):
        if family in given.contestants:
            if other := runs.newest(family, sha256):
                found.append(Contestant(family, title, "ours", runs.stored(other, folder)))
            else:
                left_out.append(f"left out: {title}: not trained on this dataset yet (`findings train model={family}`)")
    if "setfit" in given.contestants:
        try:
            found.append(Contestant("setfit", "SetFit's predict", "setfit", encoder, python=runs.peers_python()))
        except FindingsError as error:
            left_out.append(f"left out: SetFit's predict: {error}")
    return [c for c in found if c.name in given.contestants], left_out


NAMES = ("ours", "torch", "torch_wide", "pipeline", "pipeline_32", "tfidf", "static", "setfit")


def main() -> None:
    parser = runs.options(__doc__, "a tiny encoder, 40 sentences, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=512, help="in a batch")
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=NAMES)
    given = parser.parse_args()
    if given.small:
        given.rounds, given.sentences = 1, 40
    settings = runs.settings(given.settings)
    with Status("building the dataset", console=runs.TELL) as status:
        built = training.build_dataset(settings, status.update)
    order = np.random.default_rng(1).permutation(built.counts["test"])
    chosen = [built.rows["test"]["sentence"][i] for i in np.resize(order, given.sentences)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sentences = folder / "sentences.json"
        sentences.write_text(json.dumps(chosen), encoding="utf-8")
        contestants, left_out = gather(given, built.sha256, folder)
        key = {
            "data": built.sha256,
            "sentences": given.sentences,
            "code": runs.code(WORKER, *(Path(str(module.__file__)) for module in (onnx, tokens, transformer))),
        }
        starting = 1 if given.small else 3
        starts = {
            c.name: runs.measured(
                f"first answer, {c.name}",
                {**key, "contestant": c.name},
                partial(cold, c, sentences, starting),
                given.again,
            ).figures
            for c in contestants
        }
        with once(contestants, sentences) as workers:
            rounds = [
                runs.measured(
                    f"inference speed, round {number}",
                    {**key, "round": number, "contestants": sorted(c.name for c in contestants)},
                    partial(one_round, number, workers, given.sentences),
                    given.again,
                ).figures
                for number in range(1, given.rounds + 1)
            ]
        fitted = folder / "fitted"
        shape = json.loads((fitted / "config.json").read_text(encoding="utf-8"))
        encoded = tokens.encode(tokens.load(fitted / tokens.FILE), chosen, [""] * len(chosen))
    multiply = partial(matrix_rates, shape, 0.05 if given.small else 0.5)
    rate_key = {"width": shape["hidden_size"], "inner": shape[INNER], "small": given.small}
    rates = runs.measured("matrix rates", rate_key, multiply, given.again).figures
    needed = statistics.mean(multiplications(shape, len(ids)) for ids in encoded.ids)
    runs.show(
        "inference speed",
        [
            f"{given.sentences} sentences of the test split, {statistics.mean(map(len, encoded.ids)):.1f} tokens each; "
            f"medians of {len(rounds)} rounds; {runs.machine()}",
            table(contestants, rounds, starts),
            *left_out,
            limits(needed, rates, statistics.median(r["ours/rate"] for r in rounds)),
            "\n".join(bars(rounds, starts)),
        ],
    )


def table(contestants: list[Contestant], rounds: list[dict[str, float]], starts: dict[str, dict[str, float]]) -> str:
    """One line a contestant; ratios are ours over its, medians of the rounds."""
    lines = [
        "| | one sentence, p50 ms | ours takes | batch, sentences/s | ours is | first answer, s | memory, MiB |",
        "|---" * 7 + "|",
    ]
    for contestant in contestants:
        name, start = contestant.name, starts[contestant.name]
        one, rate = (statistics.median(r[f"{name}/{figure}"] for r in rounds) for figure in ("one", "rate"))
        cells = [f"{1000 * one:.2f}", f"{ratio(rounds, 'ours', name, 'one'):.2f} of it"]
        cells += [f"{rate:,.0f}", f"{ratio(rounds, 'ours', name, 'rate'):.2f} times as fast"]
        cells += [f"{start['first_answer_seconds']:.2f}", f"{1024 * start['peak_memory_gib']:,.0f}"]
        lines.append(f"| {contestant.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratio(rounds: list[dict[str, float]], one: str, other: str, figure: str) -> float:
    """The median over the rounds of a figure of one over that of the other."""
    return statistics.median(r[f"{one}/{figure}"] / r[f"{other}/{figure}"] for r in rounds)


def limits(needed: float, rates: dict[str, float], ours: float) -> str:
    """What the machine could do at most, if it did nothing but the encoder's products."""
    lines = [
        "| | matrix rate, thousand million multiply-adds/s | sentences/s at most | ours reaches |",
        "|---|---|---|---|",
    ]
    for bits in (8, 32):
        rate = rates[f"multiplications_per_second_{bits}_bits"]
        lines.append(f"| {bits} bits | {rate / 1e9:.1f} | {rate / needed:,.0f} | {100 * ours * needed / rate:.0f} % |")
    return f"The encoder needs {needed / 1e6:.0f} million multiply-adds a sentence.\n\n" + "\n".join(lines)


def bars(rounds: list[dict[str, float]], starts: dict[str, dict[str, float]]) -> list[str]:
    """Each aim beside what was measured, as far as its contestants took part."""
    lines = []
    for one, other, figure, limit in (
        ("ours", "pipeline", "rate", 7.0),
        ("ours", "torch", "rate", 3.5),
        ("ours", "torch", "one", 0.22),
        ("static", "pipeline", "rate", 40.0),
    ):
        if {f"{one}/{figure}", f"{other}/{figure}"} <= rounds[0].keys():
            what = f"{one} over {other}, {'sentences/s of a batch' if figure == 'rate' else 'p50 of one sentence'}"
            lines.append(runs.bar(what, ratio(rounds, one, other, figure), limit, most=figure == "one"))
    lines.append(runs.bar("ours, seconds to the first answer", starts["ours"]["first_answer_seconds"], 2.5, most=True))
    lines.append(runs.bar("ours, memory in MiB", 1024 * starts["ours"]["peak_memory_gib"], 600, most=True))
    return lines


if __name__ == "__main__":
    runs.run(main)
