"""Ours beside its peers, each as its own users would run it, trained and measured on the same splits.

    python benchmarks/peers.py [SETTING=VALUE ...] [--peers svm trainer ...]

Each peer is trained once, in a process of its own, and is an MLflow run of the experiment `benchmarks`;
stopped and started again, those that are done are not done again. Ours are the runs of `findings train
model=minilm` and `model=tfidf` on this dataset; one that is not there is trained. The table is of the test
split: what is ours was chosen on validation, and nothing of the peers is chosen.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import runs
from mlflow import MlflowClient
from rich.status import Status
from runs import Result

from findings import evaluation, models, taxonomy, tracking, training
from findings.errors import FindingsError
from findings.models import Predictions
from findings.taxonomy import Taxonomy

WORKER = Path(__file__).with_name("peer_models.py")
METRICS = {"finding_macro_f1": "finding macro-F1", "themes_micro_f1": "themes micro-F1"}
COSTS = {
    "training_seconds": "training, s",
    "training_sentences_per_second": "sentences/s in training",
    "peak_memory_gib": "peak memory, GiB",
}


@dataclass(frozen=True)
class Peer:
    """A peer: `name` in peer_models.py, `title` in the table, whether it needs the peers' environment, and
    the packages whose versions its figures depend on."""

    name: str
    title: str
    elsewhere: bool
    packages: tuple[str, ...] = ()


PEERS = (
    Peer("svm", "scikit-learn, TF-IDF and linear SVM", False, ("scikit-learn",)),
    Peer("frozen", "MiniLM frozen, logistic regression", False, ("scikit-learn", "sentence-transformers")),
    Peer("trainer", "Hugging Face `run_classification`, MiniLM, a model a task", False, ("transformers", "torch")),
    Peer("setfit_few", "SetFit, MiniLM, 8 sentences a label", True),
    Peer("setfit_all", "SetFit, MiniLM, all sentences, 500 steps", True),
    Peer("lexicon", "polarity lexicon (VADER)", True),
)


@dataclass(frozen=True)
class Row:
    """One line of the table: `predictions` as `evaluation.table`, costs by name."""

    title: str
    predictions: pd.DataFrame
    costs: dict[str, float]
    run_id: str


def answers(peer: Peer, data: Path, encoder: Path, given: Namespace) -> Result:
    """Train a peer and ask it the test sentences, or find that done.

    Raises:
        FindingsError: its environment cannot be made, or it failed.
    """
    python = runs.peers_python() if peer.elsewhere else Path(sys.executable)
    settings = {
        "peer": peer.name,
        "data": runs.code(*sorted(data.iterdir())),
        "code": runs.code(WORKER),
        "small": given.small,
        **{package: version(package) for package in peer.packages},
        **({"requirements": runs.code(runs.REQUIREMENTS)} if peer.elsewhere else {}),
    }
    command = [str(python), str(WORKER), peer.name, str(encoder), *(["--small"] if given.small else [])]
    return runs.measured(f"peer {peer.name}", settings, partial(_train, peer.title, command, data), given.again)


def _train(title: str, command: list[str], data: Path, folder: Path) -> dict[str, float]:
    with Status(f"training {title}", console=runs.TELL):
        done = subprocess.run(
            [*command, str(data), str(folder)], env=runs.environment(), capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise FindingsError(f"{title}: {(done.stderr.strip().splitlines() or ['failed'])[-1][:300]}")
    cost = folder / "cost.json"
    figures: dict[str, float] = json.loads(cost.read_text(encoding="utf-8"))
    cost.unlink()
    return figures


def peer_row(peer: Peer, result: Result, test: pd.DataFrame, labels: Taxonomy) -> Row:
    """A peer's answers to the test sentences; it tells no probabilities."""
    assert result.files is not None
    said = json.loads((result.files / "predictions.json").read_text(encoding="utf-8"))
    findings = np.eye(len(labels.findings))[said["findings"]]
    themes = np.array(said["themes"], dtype=float).reshape(len(test), len(labels.themes))
    table = evaluation.table(test, Predictions(findings, themes, themes.astype(bool)), labels)
    return Row(peer.title, table, result.figures, result.run_id)


def our_row(title: str, overrides: list[str], sha256: str, training_sentences: int) -> Row:
    """A model of ours, from its training run."""
    run_id = runs.trained(overrides, sha256)
    metrics = MlflowClient().get_run(run_id).data.metrics
    epochs = max([1, *(m.step for m in MlflowClient().get_metric_history(run_id, "epoch/finding_macro_f1"))])
    seconds = metrics["cost/training_seconds"]
    costs = {
        "training_seconds": seconds,
        "training_sentences_per_second": epochs * training_sentences / seconds,
        "peak_memory_gib": metrics["cost/peak_memory_gib"],
    }
    return Row(title, tracking.read_predictions(run_id, "test"), costs, run_id)


def alone_row(row: Row, test: pd.DataFrame) -> Row:
    """The same model of ours asked without headings, as the peers are: not trained anew, so without costs."""
    with tempfile.TemporaryDirectory() as folder:
        model = models.load(runs.stored(row.run_id, Path(folder)))
        said = model.predict(test["sentence"].tolist(), [""] * len(test))
    return Row(f"{row.title}, sentence alone", evaluation.table(test, said, model.taxonomy), {}, row.run_id)


def table(rows: list[Row], labels: Taxonomy) -> str:
    """The table in Markdown; the first row is ours, the second ours without headings, the differences are each of
    them minus the row's."""
    bases = {"ours ahead by": rows[0], "sentence alone ahead by": rows[1]}
    differences = [f"{words}, {title}" for words in bases for title in METRICS.values()]
    head = [*METRICS.values(), *differences, *COSTS.values(), "run"]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    for number, row in enumerate(rows):
        found = evaluation.evaluate(row.predictions, labels)
        cells = [str(found.metrics[name]) for name in METRICS]
        for base in bases.values():
            ahead = evaluation.compare(row.predictions, base.predictions, labels)
            cells += ["" if number < 2 else runs.signed(ahead.difference(name)) for name in METRICS]
        cells += [f"{row.costs[cost]:,.3g}" if row.costs.get(cost) else "" for cost in COSTS]
        lines.append(f"| {row.title} | " + " | ".join([*cells, f"`{row.run_id[:8]}`"]) + " |")
    return "\n".join(lines)


def write(rows: dict[str, pd.DataFrame], labels: Taxonomy, folder: Path) -> Path:
    """The splits and labels as the peers read them."""
    for split in ("train", "test"):
        records = rows[split][["sentence", "finding", "themes"]].to_dict("records")
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    ids = {"findings": labels.finding_ids, "themes": labels.theme_ids}
    (folder / "labels.json").write_text(json.dumps(ids), encoding="utf-8")
    return folder


def main() -> None:
    parser = runs.options(__doc__, "a tiny encoder, 300 training sentences and three steps")
    parser.add_argument("--peers", nargs="+", choices=[p.name for p in PEERS], default=[p.name for p in PEERS])
    parser.add_argument("--ours", nargs="+", choices=["minilm", "tfidf"], default=["minilm", "tfidf"])
    given = parser.parse_args()
    settings = runs.settings(given.settings)
    with Status("building the dataset", console=runs.TELL) as status:
        built = training.build_dataset(settings, status.update)
    labels = taxonomy.from_dict(settings["taxonomy"])
    encoder = runs.tiny_encoder() if given.small else runs.minilm()
    own = ["model=encoder", f"model.name={encoder}", "model.epochs=2"] if given.small else ["model=minilm"]
    ours = {"minilm": ("ours, MiniLM", own), "tfidf": ("ours, TF-IDF", ["model=tfidf"])}
    size = built.counts["train"]
    rows = []
    for title, chosen in (ours[name] for name in given.ours):
        rows.append(our_row(title, [*given.settings, *chosen], built.sha256, size))
    rows.insert(1, alone_row(rows[0], built.rows["test"]))
    skipped = []
    splits = (
        {**built.rows, "train": built.rows["train"].sample(min(size, 300), random_state=1)}
        if given.small
        else built.rows
    )
    with tempfile.TemporaryDirectory() as folder:
        data = write(splits, labels, Path(folder))
        for peer in (p for p in PEERS if p.name in given.peers):
            try:
                rows.append(peer_row(peer, answers(peer, data, encoder, given), built.rows["test"], labels))
            except FindingsError as error:
                skipped.append(f"left out: {peer.title}: {error}")
    test = built.rows["test"]
    runs.show(
        "peers",
        [
            f"{built.name}: trained on {size:,} sentences, measured on {len(test):,} of "
            f"{test['authority'].nunique()} other authorities; {runs.machine()}",
            table(rows, labels),
            "Both tasks together; sentences/s in training: labelled sentences, those of three epochs counted thrice, "
            "over the seconds. The peers read the sentence alone; ours its heading too, but in the row that says so. "
            "Intervals: 95 %, bootstrap over documents, for differences paired.",
            *skipped,
        ],
    )


if __name__ == "__main__":
    runs.run(main)
