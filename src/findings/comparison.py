"""Two registered models side by side: differences with intervals by metric, label and slice, what
each costs, how each behaves; in the terminal, as Markdown and as a page that asks nothing of the network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Template
from markupsafe import Markup
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from findings import markdown, plots, registry, tracking
from findings.errors import FindingsError
from findings.evaluation import SAMPLES
from findings.files import make_folder, write_text
from findings.pages import csp_hash, templates
from findings.registry import DECISIVE, FEW, Decision, Match, Version
from findings.tracking import Record

LOWER_IS_BETTER = ("finding_calibration_error",)
SHOWN = 10
"""Sentences shown of those that only one of the two has right."""
COSTS = {
    "training_seconds": ("training, seconds", "{:,.1f}"),
    "sentences_per_second": ("sentences a second, in batches of 32", "{:,.0f}"),
    "model_megabytes": ("model, megabytes", "{:,.1f}"),
    "peak_memory_gib": ("peak memory of training, GiB", "{:.2f}"),
}
"""What a run records under cost/: how it is called and written."""


@dataclass(frozen=True)
class Report:
    """A comparison of two registered versions and all that stands behind it."""

    base: Version
    candidate: Version
    base_run: Record
    candidate_run: Record
    match: Match
    decision: Decision


@dataclass(frozen=True)
class Sheet:
    """A table of the report; the first `named` columns hold words, the others figures."""

    caption: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    named: int = 1


def make(base: Version, candidate: Version) -> Report:
    """Compare two versions on the candidate's test sentences.

    Raises:
        FindingsError: predictions or files are missing, or the two have different taxonomies.
    """
    match = registry.compare(base, candidate)
    base_run, candidate_run = (tracking.read_run(version.run_id) for version in (base, candidate))
    return Report(base, candidate, base_run, candidate_run, match, registry.decide(match))


def differences(report: Report) -> pd.DataFrame:
    """Every difference in one table: `group` (metric, finding, theme, slice), `name`, `metric`,
    `sentences`, base, candidate, difference, low, high, and `verdict`: gain or loss where the
    interval supports it, `few documents` where an interval would say too little."""
    quality = report.match.quality
    whole = {"sentences": quality.sentences, "documents": quality.documents}
    metrics = quality.metrics.reset_index().assign(group="metric", **whole)
    metrics["name"] = metrics["metric"]
    labels = quality.labels.rename(columns={"kind": "group", "support": "sentences", "label": "name"})
    labels = labels.assign(metric="f1", documents=quality.documents)
    slices = quality.slices.assign(group="slice")
    if not slices.empty:
        slices["name"] = slices["slice"] + ": " + slices["value"].str.replace("_", " ")
    columns = [
        "group", "name", "metric", "sentences", "documents", "base", "candidate", "difference", "low", "high",
    ]  # fmt: skip
    frame = pd.concat([part[columns] for part in (metrics, labels, slices) if not part.empty], ignore_index=True)
    return frame.assign(verdict=[_verdict(row) for row in frame.to_dict("records")])


def _verdict(row: dict[Any, Any]) -> str:
    if row["documents"] < FEW:
        return "few documents"
    sign = -1 if row["metric"] in LOWER_IS_BETTER else 1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return "gain" if low > 0 else "loss" if high < 0 else ""


# What it says -------------------------------------------------------------------------------------


def title(report: Report) -> str:
    return f"{report.candidate} against {report.base}"


def verdict(report: Report) -> str:
    """What the rule of promotion makes of it, in one sentence."""
    state = "would be promoted" if report.decision.promoted else "would not be promoted"
    return f"{report.candidate} {state}: {report.decision.reason}."


def notes(report: Report) -> list[str]:
    """What was compared on what, and how to read it."""
    quality, runs = report.match.quality, (report.base_run, report.candidate_run)
    names = [run.tags.get("dataset.name", "data that was not recorded") for run in runs]
    digests = [run.tags.get("dataset.sha256", "not recorded") for run in runs]
    same = f"Both were trained on {names[0]} (SHA-256 {digests[0]})."
    other = (
        f"They were trained on different data, the base on {names[0]} (SHA-256 {digests[0]}), the candidate on "
        f"{names[1]} (SHA-256 {digests[1]}): the base may know some of these sentences, so its figures flatter it."
    )
    return [
        f"Measured on the candidate's test split: {quality.sentences:,} sentences of {quality.documents:,} documents.",
        same if report.match.same_data else other,
        f"Intervals are 95 % intervals of a paired bootstrap over documents ({SAMPLES:,} samples). A gain or a loss is "
        "named where the interval leaves zero out; among many labels and slices a few do so by chance.",
        f"Findings that only the base has right: {quality.only_base:,}, only the candidate: {quality.only_candidate:,} "
        f"(McNemar's exact test over sentences: p = {quality.mcnemar:.3g}).",
        f"The candidate is {report.match.speed:.2f} times as fast as the base (timed in turns, here and now).",
    ]


def sides(report: Report) -> Sheet:
    """Which runs the figures come from."""
    rows = [
        (what, str(version), run.name, run.run_id, run.started.strftime("%Y-%m-%d"))
        for what, version, run in (
            ("base", report.base, report.base_run),
            ("candidate", report.candidate, report.candidate_run),
        )
    ]
    return Sheet("The two models", ("", "version", "run", "run id", "started"), rows, 5)


def sheets(report: Report) -> list[Sheet]:
    """The tables of figures."""
    frame = differences(report)
    heads = ("base", "candidate", "difference (95 % interval)", "")
    made = [Sheet("Metrics", ("metric", *heads), _rows(frame, "metric", "name"))]
    parts = {group: _rows(frame, group, "name", "sentences") for group in ("finding", "theme")}
    made += [Sheet(f"F1 by {group}", (group, "sentences", *heads), rows) for group, rows in parts.items() if rows]
    if rows := _rows(frame, "slice", "name", "metric", "sentences", "documents"):
        made.append(Sheet("By slice", ("slice", "metric", "sentences", "documents", *heads), rows, 2))
    made.append(Sheet("Cost", ("", "base", "candidate", "candidate / base"), _costs(report)))
    if rows := _behaviour(report):
        made.append(Sheet("Behaviour: cases passed", ("capability", "base", "candidate", "difference"), rows))
    return made


def _rows(frame: pd.DataFrame, group: str, *columns: str) -> list[tuple[str, ...]]:
    return [
        (
            *(f"{row[c]:,}" if isinstance(row[c], int) else str(row[c]).replace("_", " ") for c in columns),
            f"{row['base']:.3f}",
            f"{row['candidate']:.3f}",
            f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
            row["verdict"],
        )
        for row in frame[frame["group"] == group].to_dict("records")
    ]


def _costs(report: Report) -> list[tuple[str, ...]]:
    base, candidate = report.base_run.group("cost"), report.candidate_run.group("cost")
    return [
        (
            name,
            form.format(base[key]) if key in base else "not recorded",
            form.format(candidate[key]) if key in candidate else "not recorded",
            f"{candidate[key] / base[key]:.2f}" if base.get(key) and key in candidate else "",
        )
        for key, (name, form) in COSTS.items()
    ]


def _behaviour(report: Report) -> list[tuple[str, ...]]:
    base, candidate = report.base_run.group("behaviour"), report.candidate_run.group("behaviour")
    return [
        (name.replace("_", " "), f"{base[name]:.0%}", f"{rate:.0%}", f"{100 * (rate - base[name]):+.0f} points")
        for name, rate in sorted(candidate.items())
        if name in base
    ]


def changed(report: Report) -> list[Sheet]:
    """The sentences that only one of the two has right, its rival's surest mistakes first."""
    frame, made = report.match.quality.changed, []
    for right in ("candidate", "base"):
        chosen = frame[frame["right"] == right].head(SHOWN) if not frame.empty else frame
        rows = [
            (
                str(row.get("sentence", row["sentence_id"])),
                str(row["finding"]),
                f"{row['base']} {row['base_confidence']:.0%}",
                f"{row['candidate']} {row['candidate_confidence']:.0%}",
            )
            for row in chosen.to_dict("records")
        ]
        if rows:
            caption = f"Only the {right} is right, most confident mistakes of the other first"
            made.append(Sheet(caption, ("sentence", "annotated", "base", "candidate"), rows, 4))
    return made


# Terminal, Markdown, page -------------------------------------------------------------------------


def show(report: Report, console: Console) -> None:
    """Print the tables, what was compared, and the verdict."""
    for sheet in (sides(report), *sheets(report)):
        table = Table(title=sheet.caption, title_justify="left")
        for number, head in enumerate(sheet.heads):
            words = number < sheet.named or not head
            table.add_column(head, justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    for note in (*notes(report), verdict(report)):
        console.print(note)


def as_markdown(report: Report) -> str:
    """The report as a Markdown page."""
    parts = [f"# {markdown.escaped(title(report))}", markdown.escaped(verdict(report))]
    parts.append("\n".join(f"- {markdown.escaped(note)}" for note in notes(report)))
    for sheet in (sides(report), *sheets(report), *changed(report)):
        parts += [f"## {sheet.caption}", "\n".join(markdown.table(sheet.heads, sheet.rows))]
    return "\n\n".join(parts) + "\n"


def as_html(report: Report) -> str:
    """The report as one page with plots: no script, nothing from elsewhere."""
    return _template().render(
        title=title(report),
        verdict=verdict(report),
        promoted=report.decision.promoted,
        notes=notes(report),
        sides=sides(report),
        sheets=sheets(report),
        changed=changed(report),
        figures=[(caption, alternative, _data_uri(figure)) for caption, alternative, figure in figures(report)],
    )


def figures(report: Report) -> list[tuple[str, str, Figure]]:
    """The plots, each with its caption and what it shows in words."""
    frame = differences(report)
    decisive = frame[(frame["group"] == "slice") & frame["metric"].isin(DECISIVE)]
    parts = {
        "Differences by metric": frame[frame["group"] == "metric"],
        "Differences of F1 by finding and theme": frame[frame["group"].isin(["finding", "theme"])],
        "Differences by slice": decisive.assign(name=decisive["name"] + ", " + decisive["metric"]),
    }
    shown = {name: part.assign(name=part["name"].str.replace("_", " ")) for name, part in parts.items() if len(part)}
    return [(name, _in_words(part), plots.differences(part, name)) for name, part in shown.items()]


def _in_words(part: pd.DataFrame) -> str:
    said = [
        f"{what}: {', '.join(names)}"
        for verdict, what in (("gain", "supported gains"), ("loss", "supported losses"))
        if (names := part.loc[part["verdict"] == verdict, "name"].tolist())
    ]
    told = "; ".join(said) or "no gain and no loss that an interval supports"
    return f"{len(part)} differences, candidate minus base, as points with 95 % intervals. {told[0].upper()}{told[1:]}."


def _data_uri(figure: Figure) -> Markup:
    return Markup("data:image/svg+xml;base64," + base64.b64encode(plots.svg(figure)).decode("ascii"))


@cache
def _template() -> Template:
    environment = templates()
    css = resources.files("findings").joinpath("comparison.css").read_text(encoding="utf-8")
    environment.globals |= {"css": Markup(css), "css_hash": Markup(csp_hash(css))}
    return environment.get_template("comparison.html")


FORMATS = {".md": as_markdown, ".html": as_html}


def check_ending(path: Path) -> None:
    """Refuse a file that is neither Markdown nor HTML.

    Raises:
        FindingsError: it has another ending.
    """
    if path.suffix not in FORMATS:
        raise FindingsError(f"{path}: cannot write '{path.suffix}'. Give a name that ends in .md or .html.")


def write(report: Report, path: Path) -> None:
    """Write the report as Markdown or HTML, by the file's ending, only when it is whole.

    Raises:
        FindingsError: another ending, or the file cannot be written.
    """
    check_ending(path)
    text = FORMATS[path.suffix](report)
    make_folder(path.parent)
    write_text(path, text)
