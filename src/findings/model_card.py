"""A model's card in the form of the Hugging Face Hub (Mitchell et al. 2019, "Model Cards for Model
Reporting"), written from what its run recorded and from nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from findings import manifest, markdown, tracking
from findings.evaluation import HEADLINE, METRICS
from findings.tracking import Record

TFIDF = "It is the baseline: TF-IDF of words and characters, heading words, logistic regression."
ENCODER = "It is an encoder, {base}, fine-tuned with one head for the finding and one for the themes."
STUDENT = (
    "It is a fast student: vectors of words and pairs of words that began as those of {base}, a hidden layer, one head "
    "for the finding and one for the themes, learnt from other models' probabilities."
)
DATA_LICENCES = {
    "authored": "the authored texts and labels are under CC BY 4.0",
    "ofsted": "the labels of published reports, and the reports, are under the Open Government Licence v3.0",
}
"""By the source of the sentences; those of any other are the user's own."""
WEAK = 0.8
"""Pass rates under this are named among the limits."""
UNKNOWN = "not recorded"


def log(run_id: str, folder: Path) -> None:
    """Write the card of a run into its model's folder, manifest included, and record it as the run's artifact."""
    card = text(run_id)
    (folder / tracking.CARD).write_text(card, encoding="utf-8")
    manifest.write(folder)
    tracking.log_text(run_id, card, tracking.CARD)


def text(run_id: str) -> str:
    """The card as Markdown with YAML front matter.

    Raises:
        FindingsError: there is no such run, or it holds no predictions.
    """
    run = tracking.read_run(run_id)
    tables = {name: tracking.read_table(run_id, f"test/{name}.csv") for name in ("findings", "themes", "slices")}
    rates = tracking.read_table(run_id, "behaviour.csv")
    return _template().render(
        run=run,
        name=markdown.escaped(run.name),
        front_matter=_front_matter(run),
        findings=[markdown.escaped(str(label)) for label in tables["findings"].get("label", ())],
        kind=_kind(run),
        commit=_commit(run),
        licence=_licence(run),
        tally=lambda what: markdown.escaped(_words(run.tags.get(f"dataset.{what}", UNKNOWN))),
        by_language_model="language_model" in run.tags.get("dataset.annotators", ""),
        splits=[_split(run, split) for split in ("train", "validation", "test")],
        metrics=[(_words(name), _metric(run, "validation", name), _metric(run, "test", name)) for name in METRICS],
        headline=[_words(name) for name in HEADLINE],
        per_finding=_labels(tables["findings"]),
        per_theme=_labels(tables["themes"]),
        slices=_slices(tables["slices"]),
        behaviour=_behaviour(rates),
        calibration=_metric(run, "test", "finding_calibration_error"),
        reliability=_reliability(tracking.read_table(run_id, "test/reliability.csv")),
        costs=[(_words(name), f"{value:,.3g}") for name, value in sorted(run.group("cost").items())],
        limits=list(_limits(run, tables["findings"], rates)),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("findings", "."),
        undefined=StrictUndefined,
        autoescape=False,  # it is Markdown: `escaped` and `table` see to what is put in
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "escaped": markdown.escaped,
        "table": lambda head, rows: "\n".join(markdown.table(head, rows)),
    }
    return environment.get_template("model_card.md")


# What a run says, in words ------------------------------------------------------------------------


def _base(run: Record) -> str:
    """The encoder that was fine-tuned; empty for the baseline, which starts from nothing."""
    if _family(run) == "tfidf":
        return ""
    name = run.parameters.get("model.name", "None")
    return "all-MiniLM-L6-v2" if name == "None" else name  # MLflow keeps parameters as text


def _family(run: Record) -> str:
    return run.tags.get("model.family", "")


def _is_minilm(base: str) -> bool:
    return "minilm" in base.lower()


def _kind(run: Record) -> str:
    base = _base(run)
    told = STUDENT if _family(run) == "static" else ENCODER if base else TFIDF
    return told.format(base=markdown.escaped(base))


def _commit(run: Record) -> str:
    commit = run.tags.get("mlflow.source.git.commit")
    if commit is None:
        return UNKNOWN
    return f"commit `{commit}`{', with changes' if run.tags.get('git.changed') == 'True' else ''}"


def _licence(run: Record) -> str:
    base = _base(run)
    weights = "code and weights are under the MIT licence"
    if base:
        its = "all-MiniLM-L6-v2, is under Apache-2.0" if _is_minilm(base) else f"{base}, has a licence of its own"
        weights = f"the code is under the MIT licence; the encoder it started from, {markdown.escaped(its)}"
    known = [DATA_LICENCES.get(source, f"'{source}' is the trainer's own") for source in _sources(run)]
    return "; ".join([weights, *known])


def _sources(run: Record) -> list[str]:
    """The sources of the sentences, from a tally such as `authored 120, ofsted 80`."""
    return re.findall(r"(\w+) \d+", run.tags.get("dataset.sources", ""))


def _front_matter(run: Record) -> str:
    base = _base(run)
    values = {name: run.metrics.get(f"test/{name}") for name in METRICS}
    name, data = (" ".join(text.split()) for text in (run.name, run.tags.get("dataset.name", UNKNOWN)))  # one line
    dataset = {"name": data, "type": "findings", "split": "test"}
    results = {
        "task": {"type": "text-classification"},
        "dataset": dataset,
        "metrics": [
            {"type": "f1" if metric.endswith("f1") else metric, "name": metric, "value": round(value, 4)}
            for metric, value in values.items()
            if value is not None
        ],
    }
    matter: dict[str, Any] = {
        "language": "en",
        "license": "mit" if not base else "apache-2.0" if _is_minilm(base) else "other",
        "library_name": "findings",
        "pipeline_tag": "text-classification",
        "tags": ["children's services", "inspection reports", _family(run) or UNKNOWN],
        **({"base_model": "sentence-transformers/all-MiniLM-L6-v2" if _is_minilm(base) else base} if base else {}),
        "model-index": [{"name": name, "results": [results]}],
    }
    return yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)


def _metric(run: Record, split: str, name: str) -> str:
    figures = [run.metrics.get(f"{split}/{name}{end}") for end in ("", "_low", "_high")]
    known = [figure for figure in figures if figure is not None]
    return _interval(*known) if len(known) == 3 else UNKNOWN


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _split(run: Record, split: str) -> tuple[str, ...]:
    """Its size; documents and authorities where the run holds the sentences."""
    counts = ("", "")
    if split != "train":
        rows = tracking.read_predictions(run.run_id, split)
        counts = (f"{rows['document_id'].nunique():,}", f"{rows['authority'].nunique():,}")
    return (split, f"{int(run.tags.get(f'dataset.{split}', 0)):,}", *counts)


def _words(identifier: object) -> str:
    return str(identifier).replace("_", " ")


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _labels(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return [
        (
            _words(row["label"]),
            _interval(row["f1"], row["f1_low"], row["f1_high"]),
            f"{row['precision']:.3f}",
            f"{row['recall']:.3f}",
            f"{row['support']:,}",
        )
        for row in _rows(frame)
    ]


def _slices(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return [
        (
            f"{row['slice']}: {_words(row['value'])}",
            f"{row['sentences']:,}",
            f"{row['documents']:,}",
            *(_interval(row[m], row[f"{m}_low"], row[f"{m}_high"]) for m in HEADLINE),
        )
        for row in _rows(frame)
    ]


def _behaviour(rates: pd.DataFrame) -> list[tuple[str, ...]]:
    return [
        (
            _words(row["capability"]),
            str(row["type"]),
            _words(row["label"]),
            f"{row['cases']}",
            f"{row['rate']:.0%} ({row['low']:.0%} to {row['high']:.0%})",
        )
        for row in _rows(rates)
    ]


def _reliability(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return [(f"{row['confidence']:.2f}", f"{row['accuracy']:.2f}", f"{row['sentences']:,}") for row in _rows(frame)]


def _limits(run: Record, per_finding: pd.DataFrame, rates: pd.DataFrame) -> Iterable[str]:
    """What a user must know before trusting it; each from the run."""
    if not per_finding.empty:
        weakest = _rows(per_finding.sort_values("f1"))[0]
        worst = markdown.escaped(str(weakest["label"]))
        yield f"Of the findings `{worst}` is told least well: F1 {weakest['f1']:.3f} on the test split."
    if not rates.empty:
        weak = rates[(rates["label"] == "finding") & (rates["rate"] < WEAK)].sort_values("rate")
        told = ", ".join(f"{_words(r['capability'])} ({r['type']}) {r['rate']:.0%}" for r in _rows(weak))
        yield (
            f"It fails more than one case in five of: {told}."
            if told
            else "It passes at least four cases in five of every capability that was tested."
        )
    if "authored" in _sources(run):
        yield (
            "Documents of the source `authored` were written by a language model about fictional authorities; "
            "figures on them do not carry over to real documents."
        )
    if "language_model" in run.tags.get("dataset.annotators", ""):
        yield "It has learnt the labels of a language model, with that model's errors and leanings."
    yield "A sentence is read by itself with its heading: what only the sentences around it tell is lost."
    yield "Probabilities are calibrated on the validation split; on documents of another kind they mislead."
