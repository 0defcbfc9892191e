"""The tables of docs/experiments.md, from the MLflow runs that asked something.

    findings train model=minilm model.heading_noise=0 question="Does heading noise help?"
    python benchmarks/experiments.py

Runs are grouped by their tag `question`. A question's table stands between two markers in the file and is
made anew each time; what was decided stands below it and is written by hand. A question that is new gets
a section at the end. Tables whose runs are not in this store are left as they are.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import mlflow
import runs
from mlflow import MlflowClient
from mlflow.entities import Run

from findings import evaluation, taxonomy, tracking
from findings.errors import FindingsError
from findings.taxonomy import Taxonomy

FILE = Path(__file__).resolve().parents[1] / "docs" / "experiments.md"
METRICS = {"finding_macro_f1": "finding", "themes_micro_f1": "themes"}
OPEN = "**Decision.** Open."
BLOCK = re.compile(r"<!-- runs: (?P<question>.*?) -->\n(?P<table>.*?)<!-- end of runs -->", re.S)


def asked(experiments: Sequence[str]) -> dict[str, list[Run]]:
    """The finished runs of each question, the oldest first.

    Raises:
        FindingsError: there is no such store or experiment.
    """
    tracking.connect({"uri": None, "experiment": experiments[0]}, create=False)
    ids = []
    for name in experiments:
        found = MlflowClient().get_experiment_by_name(name)
        if found is None:
            uri = mlflow.get_tracking_uri()
            raise FindingsError(f"{uri}: no experiment '{name}'. Run `findings train` with question=... first.")
        ids.append(found.experiment_id)
    found_runs = mlflow.search_runs(
        ids,
        "tags.question LIKE '%' and attributes.status = 'FINISHED'",
        order_by=["start_time ASC"],
        output_format="list",
    )
    groups: dict[str, list[Run]] = {}
    for run in found_runs:
        groups.setdefault(plain(run.data.tags["question"]), []).append(run)
    return groups


def plain(question: str) -> str:
    """A question on one line that cannot end its marker."""
    return " ".join(question.split()).replace("--", "–")


def table(found: Sequence[Run], labels: Taxonomy) -> str:
    """One line a run, with the settings that differ between the runs; gains are over the first setting
    under the same seed, on validation. Several seeds of a setting have their median below them."""
    settings = {run.info.run_id: _settings(run) for run in found}
    keys = sorted({key for each in settings.values() for key in each} - {"seed"})
    differing = [key for key in keys if len({each.get(key) for each in settings.values()}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in found:
        groups.setdefault(tuple(settings[run.info.run_id].get(key, "") for key in differing), []).append(run)
    first = {settings[run.info.run_id].get("seed"): run for run in next(iter(groups.values()))}
    columns = [*(key.removeprefix("model.") for key in differing), "seed"]
    for name in ("validation", "validation, gain", "test"):
        columns += [f"{name}, {title}" for title in METRICS.values()]
    lines = ["| " + " | ".join([*columns, "run"]) + " |", "|---" * (len(columns) + 1) + "|"]
    for values, members in groups.items():
        for run in sorted(members, key=lambda run: settings[run.info.run_id].get("seed", "")):
            seed = settings[run.info.run_id].get("seed", "")
            gains = _gains(first.get(seed), run, labels)
            cells = [*values, seed, *_figures(run, "validation"), *gains, *_figures(run, "test")]
            lines.append("| " + " | ".join([*cells, f"`{run.info.run_id[:8]}`"]) + " |")
        if len(members) > 1:
            medians = [*_medians(members, "validation"), "", "", *_medians(members, "test")]
            lines.append("| " + " | ".join([*values, f"median of {len(members)}", *medians, ""]) + " |")
    return "\n".join(lines) + "\n"


def _settings(run: Run) -> dict[str, str]:
    """What may differ between runs: data, model, seed, and the training sentences there were; of a path, which
    is of one machine, its last part."""
    params = run.data.params.items()
    chosen = {
        k: Path(v).name if Path(v).is_absolute() else v
        for k, v in params
        if k.startswith(("model.", "data.")) or k == "seed"
    }
    tags = run.data.tags
    return chosen | {"sentences": f"{tags.get('dataset.train', '?')} ({tags.get('dataset.sha256', '')[:6]})"}


def _figures(run: Run, split: str) -> list[str]:
    metrics = run.data.metrics
    names = [[f"{split}/{metric}{part}" for part in ("", "_low", "_high")] for metric in METRICS]
    return [str(evaluation.Interval(*(metrics[n] for n in triple))) if triple[0] in metrics else "" for triple in names]


def _medians(found: Sequence[Run], split: str) -> list[str]:
    return [f"{statistics.median(run.data.metrics[f'{split}/{metric}'] for run in found):.3f}" for metric in METRICS]


def _gains(first: Run | None, run: Run, labels: Taxonomy) -> list[str]:
    """What a run gains over the first on validation; nothing where they cannot be compared."""
    if first is None or first.info.run_id == run.info.run_id:
        return ["", ""]
    try:
        base, own = (tracking.read_predictions(r.info.run_id, "validation") for r in (first, run))
        compared = evaluation.compare(base, own, labels)
    except FindingsError:
        return ["other sentences", ""]
    return [runs.signed(compared.difference(metric)) for metric in METRICS]


def rendered(text: str, tables: dict[str, str]) -> tuple[str, list[str]]:
    """The file's text with these tables by question, and the questions in it that have none."""
    kept: list[str] = []

    def block(match: re.Match[str]) -> str:
        question = match["question"]
        if question not in tables:
            kept.append(question)
        return _block(question, tables.get(question, match["table"]))

    known = {match["question"] for match in BLOCK.finditer(text)}
    text = BLOCK.sub(block, text)
    for question in (q for q in tables if q not in known):
        text = f"{text.rstrip()}\n\n## {question}\n\n{_block(question, tables[question])}\n\n{OPEN}\n"
    return text, kept


def _block(question: str, lines: str) -> str:
    return f"<!-- runs: {question} -->\n{lines}<!-- end of runs -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=FILE, help="docs/experiments.md if not given")
    parser.add_argument("--experiments", nargs="+", default=["findings"], help="in MLflow")
    given = parser.parse_args()
    if not given.file.is_file():
        raise FindingsError(f"{given.file}: no such file. Name the record of the experiments.")
    labels = taxonomy.load()
    tables = {question: table(found, labels) for question, found in asked(given.experiments).items()}
    text, kept = rendered(given.file.read_text(encoding="utf-8"), tables)
    part = given.file.with_name(f".{given.file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(given.file)
    for question, lines in tables.items():
        print(f"## {question}\n\n{lines}")
    for question in kept:
        print(f"left as it is, its runs are not in this store: {question}", file=sys.stderr)


if __name__ == "__main__":
    runs.run(main)
