"""Sentences a second in training, both tasks together: ours against Hugging Face's `run_classification`.

    python benchmarks/training_throughput.py [SETTING=VALUE ...]

On the same weights, sentences and machine, in short stretches by turns, so that other work on the machine
hits both alike. Ours trains both tasks at once, by `findings` itself; the peer trains a model a task, each
sentence padded to 128 tokens, in batches of 8, its default, and of 32, as its documentation's commands
have it. Timed are whole steps after some that warm up, without measuring and without checkpoints.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peer_models
import runs
from numpy.typing import NDArray
from rich.status import Status
from transformers import TrainerCallback

from findings import models, taxonomy, training, transformer
from findings.models import Examples, Progress

BAR = 7.0
WARM = 5
BATCHES = (8, 32)


class Clock(TrainerCallback):  # type: ignore[misc]
    """The seconds of the steps after the first `WARM`."""

    def __init__(self) -> None:
        self.begun = self.seconds = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == WARM:
            self.begun = time.perf_counter()
        self.seconds = time.perf_counter() - self.begun


def ours(settings: dict[str, Any], rows: Examples, labels: taxonomy.Taxonomy) -> float:
    """Sentences a second in the second of two epochs: from the end of the first one's measuring to the last step."""
    classifier = models.build({**settings, "epochs": 2, "patience": 2, "checkpoint_steps": 10**6}, labels, seed=1)
    times: list[float] = []

    def watch(progress: Progress) -> None:
        if progress.epoch == 1 or (progress.share == 1 and not progress.epoch):
            times.append(time.perf_counter())

    classifier.fit(rows, part(rows, 8), watch)
    return len(rows.sentences) / (times[1] - times[0])


def peer(encoder: Path, rows: Examples, batch: int, steps: int) -> float:
    """Sentences a second for both tasks: the seconds of both models together."""
    seconds = 0.0
    taken = part(rows, (WARM + steps) * batch)
    for labels in (taken.findings.tolist(), taken.themes.astype(int).tolist()):
        clock = Clock()
        count = rows.themes.shape[1] if isinstance(labels[0], list) else int(rows.findings.max()) + 1
        peer_models.trainer_of(
            str(encoder), taken.sentences, labels, count=count, epochs=1, batch=batch, callbacks=[clock]
        ).train()
        seconds += clock.seconds
    return steps * batch / seconds


def part(rows: Examples, count: int) -> Examples:
    """The first `count` sentences."""
    return _rows(rows, np.arange(count))


def drawn(rows: Examples, count: int, seed: int) -> Examples:
    """`count` sentences at random, in random order; again from the start where there are too few."""
    return _rows(rows, np.resize(np.random.default_rng(seed).permutation(len(rows.sentences)), count))


def _rows(rows: Examples, order: NDArray[np.int64]) -> Examples:
    sentences, headings = [rows.sentences[i] for i in order], [rows.headings[i] for i in order]
    return Examples(sentences, headings, rows.findings[order], rows.themes[order])


def one_round(
    number: int, settings: dict[str, Any], encoder: Path, steps: int, data: tuple[Examples, taxonomy.Taxonomy], _: Path
) -> dict[str, float]:
    """Ours and the peer once each, every second round the other way round."""
    rows, labels = data
    batch = int(settings["model"]["batch_size"])
    own, theirs = drawn(rows, steps * batch, number), drawn(rows, (WARM + steps) * max(BATCHES), number)
    work = {"ours": partial(ours, settings["model"], own, labels)}
    work |= {f"peer_{batch}": partial(peer, encoder, theirs, batch, steps) for batch in BATCHES}
    figures = {}
    for name in list(work) if number % 2 else list(work)[::-1]:
        with Status(f"round {number}: {name}", console=runs.TELL):
            figures[name] = work[name]()
    return figures


def main() -> None:
    parser = runs.options(__doc__, "a tiny encoder and three steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of each stretch")
    given = parser.parse_args()
    encoder = runs.tiny_encoder() if given.small else runs.minilm()
    steps = 3 if given.small else given.steps
    own = ["model=encoder", f"model.name={encoder}"] if given.small else ["model=minilm"]
    settings = runs.settings([*given.settings, *own])
    with Status("building the dataset", console=runs.TELL) as status:
        built = training.build_dataset(settings, status.update)
    data = (models.examples(built.rows["train"], built.taxonomy), built.taxonomy)
    key = {
        "data": built.sha256,
        "model": settings["model"],
        "steps": steps,
        "code": runs.code(Path(__file__), Path(peer_models.__file__), Path(str(transformer.__file__))),
    }
    rounds = [
        runs.measured(
            f"training throughput, round {number}",
            {**key, "round": number},
            partial(one_round, number, settings, encoder, steps, data),
            given.again,
        ).figures
        for number in range(1, (1 if given.small else given.rounds) + 1)
    ]
    lines = [
        "| both tasks, sentences/s | " + " | ".join(f"round {i}" for i in range(1, len(rounds) + 1)) + " | median |"
    ]
    lines.append("|---" * (len(rounds) + 2) + "|")
    titles = {"ours": "ours"} | {f"peer_{b}": f"`run_classification`, batches of {b}" for b in BATCHES}
    for name, title in titles.items():
        lines.append(_line(title, [figures[name] for figures in rounds], ".1f"))
    ratios = {b: [figures["ours"] / figures[f"peer_{b}"] for figures in rounds] for b in BATCHES}
    lines += [_line(f"ours over batches of {b}", ratio, ".2f") for b, ratio in ratios.items()]
    median = statistics.median(ratios[BATCHES[0]])
    runs.show(
        "training throughput",
        [
            f"MiniLM, {steps} steps a stretch; {runs.machine()}",
            "\n".join(lines),
            runs.bar("times the peer at its defaults", median, BAR),
        ],
    )


def _line(title: str, values: list[float], form: str) -> str:
    return f"| {title} | " + " | ".join(f"{value:{form}}" for value in [*values, statistics.median(values)]) + " |"


if __name__ == "__main__":
    runs.run(main)
