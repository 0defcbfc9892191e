"""The peers, each as its own users would run it, in a process of its own.

    python benchmarks/peer_models.py PEER ENCODER DATA OUT [--small]

DATA holds train.jsonl and test.jsonl (sentence, finding, themes) and labels.json (ids of findings and
themes). Written into OUT are predictions.json (a finding and a list of themes for each test sentence) and
cost.json. It runs in our environment and in the peers' own, so it imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 1


@dataclass(frozen=True)
class Task:
    """What a peer learns from and is asked.

    Attributes:
        labels: the findings' ids, of which `train_findings` holds the places.
        train_themes: a row of 0 and 1 a sentence.
        encoder: folder of the pretrained encoder.
        small: few steps only.
    """

    labels: list[str]
    train: list[str]
    train_findings: list[int]
    train_themes: list[list[int]]
    test: list[str]
    encoder: str
    small: bool


@dataclass(frozen=True)
class Answer:
    """A finding (its place) and themes (0 or 1 each) for each sentence asked; `seen`: labelled sentences
    trained on, those of three epochs counted thrice; `seconds` of training, both tasks together."""

    findings: list[int]
    themes: list[list[int]]
    seen: int
    seconds: float


def svm(task: Task) -> Answer:
    """scikit-learn: TF-IDF and a linear SVM, all defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    begun = time.perf_counter()
    finding = make_pipeline(TfidfVectorizer(), LinearSVC()).fit(task.train, task.train_findings)
    themes = make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LinearSVC())).fit(task.train, task.train_themes)
    seconds = time.perf_counter() - begun
    return Answer(finding.predict(task.test).tolist(), themes.predict(task.test).tolist(), len(task.train), seconds)


def frozen(task: Task) -> Answer:
    """sentence-transformers: embeddings of the encoder as it is, logistic regression on them."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    begun = time.perf_counter()
    encoder = SentenceTransformer(task.encoder, device="cpu")
    vectors = encoder.encode(task.train)
    finding = LogisticRegression(max_iter=1000).fit(vectors, task.train_findings)
    themes = OneVsRestClassifier(LogisticRegression(max_iter=1000)).fit(vectors, task.train_themes)
    seconds = time.perf_counter() - begun
    asked = encoder.encode(task.test)
    return Answer(finding.predict(asked).tolist(), themes.predict(asked).tolist(), len(task.train), seconds)


def trainer(task: Task) -> Answer:
    """transformers' example run_classification.py with its defaults: one model a task, the sentence padded
    to 128 tokens, three epochs of batches of 8 at 5e-5."""
    import numpy as np

    outputs, seconds = [], 0.0
    for many, labels in ((False, task.train_findings), (True, task.train_themes)):
        count = len(task.train_themes[0] if many else task.labels)
        made = trainer_of(task.encoder, task.train, labels, count=count, epochs=3)
        if task.small:
            made.args.max_steps = 3
        begun = time.perf_counter()
        made.train()
        seconds += time.perf_counter() - begun
        outputs.append(made.predict(encoded(made.processing_class, task.test)).predictions)
    epochs = 3 if not task.small else 3 * 8 / len(task.train)
    themes = np.where(outputs[1] > 0, 1, 0).tolist()
    return Answer(outputs[0].argmax(axis=1).tolist(), themes, round(epochs * len(task.train)), seconds)


def trainer_of(
    encoder: str,
    sentences: list[str],
    labels: list[Any],
    *,
    count: int,
    epochs: int,
    batch: int = 8,
    callbacks: Sequence[Any] = (),
) -> Any:
    """A `transformers.Trainer` as that script makes it."""
    import transformers
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    transformers.utils.logging.disable_progress_bar()
    transformers.set_seed(SEED)
    kind = "multi_label_classification" if isinstance(labels[0], list) else "single_label_classification"
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=count, problem_type=kind)
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        use_cpu=True,
        seed=SEED,
    )
    rows = encoded(tokenizer, sentences, labels)
    made = Trainer(
        model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[*callbacks],
        data_collator=transformers.default_data_collator,
    )  # fmt: skip
    made.remove_callback(transformers.PrinterCallback)
    return made


def encoded(tokenizer: Any, sentences: list[str], labels: list[Any] | None = None) -> Any:
    """A dataset of the sentences, each padded to 128 tokens."""
    import datasets

    tokens = tokenizer(sentences, padding="max_length", max_length=128, truncation=True)
    columns = {name: list(values) for name, values in tokens.items()}
    if labels is not None:
        columns["label"] = [[float(x) for x in row] for row in labels] if isinstance(labels[0], list) else labels
    return datasets.Dataset.from_dict(columns)


SHOTS = 8
STEPS = 500


def setfit_few(task: Task) -> Answer:
    """SetFit 1.2 as its documentation shows it: eight labelled sentences a label, its defaults."""
    return _setfit(task, few=True)


def setfit_all(task: Task) -> Answer:
    """SetFit 1.2 on all sentences: 500 steps of pairs drawn from 2,000 of them, the head on all."""
    return _setfit(task, few=False)


def _setfit(task: Task, few: bool) -> Answer:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    drawn = random.Random(SEED)
    outputs, seconds = [], 0.0
    tasks: list[tuple[bool, list[Any]]] = [(False, task.train_findings), (True, task.train_themes)]
    for many, labels in tasks:
        order = drawn.sample(range(len(labels)), len(labels))
        if few:
            places = range(len(task.train_themes[0] if many else task.labels))
            having = [[i for i in order if (labels[i][c] if many else labels[i] == c)] for c in places]
            chosen = sorted({i for rows in having for i in rows[:SHOTS]})
        else:
            chosen = order[:2000]
        begun = time.perf_counter()
        model = SetFitModel.from_pretrained(task.encoder, multi_target_strategy="one-vs-rest" if many else None)
        steps = 3 if task.small else -1 if few else STEPS
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, max_steps=steps, report_to="none", save_strategy="no", seed=SEED,
                show_progress_bar=False,
            )  # fmt: skip
            rows = Dataset.from_dict({"text": [task.train[i] for i in chosen], "label": [labels[i] for i in chosen]})
            made = Trainer(model=model, args=arguments, train_dataset=rows)
            made.train()
        if not few:  # the trainer has fitted the head on what it drew pairs from
            model.model_head.fit(model.encode(task.train), labels)
        seconds += time.perf_counter() - begun
        answers = model.predict(task.test)
        outputs.append(answers.tolist() if hasattr(answers, "tolist") else list(answers))
    return Answer(
        [int(x) for x in outputs[0]],
        [[int(x) for x in row] for row in outputs[1]],
        len(chosen) if few else len(task.train),
        seconds,
    )


def lexicon(task: Task) -> Answer:
    """A polarity lexicon (VADER, at its usual limits): positive is a strength, negative a concern."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyser = SentimentIntensityAnalyzer()
    polarity = [analyser.polarity_scores(sentence)["compound"] for sentence in task.test]
    names = ["strength" if p >= 0.05 else "concern" if p <= -0.05 else "none" for p in polarity]
    return Answer([task.labels.index(name) for name in names], [[0] * len(task.train_themes[0])] * len(names), 0, 0.0)


PEERS: dict[str, Callable[[Task], Answer]] = {
    "svm": svm,
    "frozen": frozen,
    "trainer": trainer,
    "setfit_few": setfit_few,
    "setfit_all": setfit_all,
    "lexicon": lexicon,
}


def read(folder: Path, encoder: str, small: bool) -> Task:
    """What the folder DATA holds, as a task."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    train, test = (
        [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in ("train", "test")
    )
    return Task(
        labels["findings"],
        [row["sentence"] for row in train],
        [labels["findings"].index(row["finding"]) for row in train],
        [[int(theme in row["themes"]) for theme in labels["themes"]] for row in train],
        [row["sentence"] for row in test],
        encoder,
        small,
    )


def peak_gib() -> float:
    """The most memory that this process has held, in GiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("encoder", help="folder of the pretrained encoder")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="few steps")
    given = parser.parse_args()
    task = read(given.data, given.encoder, given.small)
    answer = PEERS[given.peer](task)
    predictions = {"findings": answer.findings, "themes": answer.themes}
    cost = {"training_seconds": answer.seconds, "peak_memory_gib": peak_gib()}
    if answer.seconds:
        cost["training_sentences_per_second"] = answer.seen / answer.seconds
    for name, value in (("predictions", predictions), ("cost", cost)):
        (given.out / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    main()
