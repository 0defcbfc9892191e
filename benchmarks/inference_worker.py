"""One contestant of inference_speed.py, in a process of its own.

    python benchmarks/inference_worker.py KIND FOLDER SENTENCES.json [--size N]

It loads the model, answers one sentence, says so, and then obeys its standard input, a word a line:
`one` (each sentence by itself: the median in seconds), `batch` (all sentences in one call: seconds),
`memory` (the most it has held, GiB). Answers are JSON lines. It runs in our environment and in the
peers' own, so ours is imported only where ours is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peer_models import peak_gib

Answer = Callable[[list[str]], Any]


def ours(folder: Path, size: int) -> Answer:
    """A stored model of ours: calibrated findings and themes."""
    from findings import models

    return models.load(folder).predict


def eager(folder: Path, size: int) -> Answer:
    """The same trained weights in torch, eagerly; `size` tokens a batch, sentences of like length together."""
    import numpy as np
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    from findings import tokens, transformer

    weights = load_file(folder / "model.safetensors")
    heads = [weights[f"{head}.weight"].shape[0] for head in ("findings", "themes")]
    model = transformer.TwoHeads(AutoModel.from_config(AutoConfig.from_pretrained(folder)), *heads)
    model.load_state_dict(weights)
    tokenizer = tokens.load(folder / tokens.FILE)
    model.eval()

    def answer(sentences: list[str]) -> list[Any]:
        encoded = tokens.encode(tokenizer, sentences, [""] * len(sentences))
        into: list[Any] = [np.zeros((len(sentences), labels)) for labels in heads]
        with torch.inference_mode():
            for batch in tokens.batches(encoded, size, tokens.padding_id(tokenizer)):
                parts = model(*(torch.from_numpy(part) for part in (batch.ids, batch.mask, batch.segments)))
                for target, part in zip(into, parts, strict=True):
                    target[batch.rows] = part.numpy()
        return into

    return answer


def pipeline(folder: Path, size: int) -> Answer:
    """transformers' pipeline for one task, `size` sentences a batch."""
    from transformers import pipeline

    made = pipeline("text-classification", model=str(folder), device="cpu")
    return lambda sentences: made(sentences) if size == 1 else made(sentences, batch_size=size)


def setfit(folder: Path, size: int) -> Answer:
    """SetFit's predict for one task; its head has learnt from some words, which is all the same to its speed."""
    from setfit import SetFitModel

    model = SetFitModel.from_pretrained(str(folder))
    words = ["good", "poor", "should", "visit"]
    model.model_head.fit(model.encode(words), list(range(len(words))))
    predict: Answer = model.predict
    return predict


KINDS: dict[str, Callable[[Path, int], Answer]] = {"ours": ours, "torch": eager, "pipeline": pipeline, "setfit": setfit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--size", type=int, default=1, help="sentences a batch; for torch, tokens")
    given = parser.parse_args()
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    answer = KINDS[given.kind](given.folder, given.size)
    sentences: list[str] = json.loads(given.sentences.read_text(encoding="utf-8"))
    answer(sentences[:1])

    def one(sentence: str) -> float:
        begun = time.perf_counter()
        answer([sentence])
        return time.perf_counter() - begun

    def batch() -> float:
        begun = time.perf_counter()
        answer(sentences)
        return time.perf_counter() - begun

    orders = {
        "one": lambda: statistics.median(map(one, sentences[:100])),
        "batch": batch,
        "memory": peak_gib,
    }
    print(json.dumps("ready"), file=told, flush=True)
    for line in sys.stdin:
        print(json.dumps(orders[line.strip()]()), file=told, flush=True)


if __name__ == "__main__":
    main()
