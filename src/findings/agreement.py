"""How far two passes over the same sentences agree: kappa, F1 of themes, and what they disagree on.

Cohen's kappa (Cohen 1960, "A coefficient of agreement for nominal scales") is
(observed - chance) / (1 - chance), where chance is the agreement of two passes that keep their
frequencies of labels and nothing else. It is not defined (NaN) where both gave one label only.
Intervals are those of `evaluation`: percentile bootstrap over documents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from findings.annotations import Corpus, Vote, inert, write_table
from findings.calibration import Array
from findings.errors import FindingsError
from findings.evaluation import Interval, bootstrap_weights, interval
from findings.files import make_folder, write_text
from findings.taxonomy import Taxonomy

DISAGREEMENT_COLUMNS = (
    "sentence_id", "document_id", "differs", "heading", "sentence",
    "first_finding", "first_themes", "second_finding", "second_themes",
    "finding", "themes", "annotator", "reason",
)  # fmt: skip

Pair = tuple[Vote, Vote]


@dataclass(frozen=True)
class ThemeAgreement:
    """One theme: kappa, and how many sentences the first pass, the second, and both gave it."""

    theme: str
    kappa: Interval
    first: int
    second: int
    both: int


@dataclass(frozen=True)
class KindAgreement:
    """One kind of document with its figures, those of `FIGURES`."""

    kind: str
    sentences: int
    documents: int
    figures: dict[str, Interval]


@dataclass(frozen=True)
class Agreement:
    """Two passes compared.

    Attributes:
        only_first, only_second: sentences that only one pass has; they are left aside.
        figures: by name, those of `FIGURES`.
        confusion: (findings, findings) counts, first pass by row.
        kinds: empty where the kinds of the documents are not known.
    """

    sentences: int
    documents: int
    only_first: int
    only_second: int
    figures: dict[str, Interval]
    confusion: NDArray[np.int64]
    themes: tuple[ThemeAgreement, ...]
    kinds: tuple[KindAgreement, ...]
    taxonomy: Taxonomy

    def as_dict(self) -> dict[str, object]:
        """For JSON: intervals as [value, low, high], null where a figure is not defined."""
        return {
            "sentences": self.sentences,
            "documents": self.documents,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "figures": {name: _numbers(found) for name, found in self.figures.items()},
            "findings": self.taxonomy.finding_ids,
            "confusion": self.confusion.tolist(),
            "theme_kappa": {
                t.theme: {"kappa": _numbers(t.kappa), "first": t.first, "second": t.second, "both": t.both}
                for t in self.themes
            },
            "kinds": {
                k.kind: {
                    "sentences": k.sentences,
                    "documents": k.documents,
                    **{name: _numbers(x) for name, x in k.figures.items()},
                }
                for k in self.kinds
            },
        }


def _numbers(found: Interval) -> list[float | None]:
    return [None if math.isnan(x) else round(x, 4) for x in (found.value, found.low, found.high)]


FIGURES = ("finding_kappa", "finding_agreement", "themes_micro_f1", "primary_theme_agreement")
"""Cohen's kappa of the finding; the share of sentences with the same finding; micro-F1 of one pass's
themes against the other's; the share with the same primary theme where either gave one."""


def pairs(first: Iterable[Vote], second: Iterable[Vote]) -> list[Pair]:
    """The votes on the sentences that both passes have, in the first's order.

    Raises:
        FindingsError: they have no sentence in common.
    """
    by_id = {vote.sentence_id: vote for vote in second}
    found = [(vote, by_id[vote.sentence_id]) for vote in first if vote.sentence_id in by_id]
    if not found:
        raise FindingsError("the two passes have no sentence in common. Compare folders with the same sentence ids.")
    return found


def measure(
    first: tuple[Vote, ...],
    second: tuple[Vote, ...],
    taxonomy: Taxonomy,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare two passes.

    Args:
        kinds: document_id → kind, for figures by kind.

    Raises:
        FindingsError: they have no sentence in common.
    """
    both = pairs(first, second)
    counts = _counts(both, taxonomy)
    weights = bootstrap_weights(len(counts.confusion), seed)
    return Agreement(
        len(both),
        len(counts.confusion),
        len(first) - len(both),
        len(second) - len(both),
        _figures(counts, weights),
        counts.confusion.sum(axis=0).astype(np.int64),
        _themes(counts, weights, taxonomy),
        _kinds(both, kinds or {}, taxonomy, seed),
        taxonomy,
    )


@dataclass(frozen=True)
class _Counts:
    """Counts a document: confusion (d, f, f); themes (d, t, 2, 2), given or not by first and second;
    primary (d, 2), the same and asked."""

    confusion: Array
    themes: Array
    primary: Array


def _counts(both: list[Pair], taxonomy: Taxonomy) -> _Counts:
    documents, document = np.unique([first.document_id for first, _ in both], return_inverse=True)
    d, f, t = len(documents), len(taxonomy.findings), len(taxonomy.themes)
    finding = {name: i for i, name in enumerate(taxonomy.finding_ids)}
    confusion, themes, primary = np.zeros((d, f, f)), np.zeros((d, t, 2, 2)), np.zeros((d, 2))
    for i, (first, second) in zip(document, both, strict=True):
        confusion[i, finding[first.finding], finding[second.finding]] += 1
        for j, theme in enumerate(taxonomy.theme_ids):
            themes[i, j, int(theme in first.themes), int(theme in second.themes)] += 1
        if first.themes or second.themes:
            primary[i] += first.themes[:1] == second.themes[:1], 1
    return _Counts(confusion, themes, primary)


def _sums(weights: Array, part: Array) -> Array:
    return np.asarray(np.einsum("sd,d...->s...", weights, part))


def kappa(tables: Array) -> Array:
    """Cohen's kappa of contingency tables (..., k, k) → (...); NaN where it is not defined."""
    total = tables.sum(axis=(-2, -1))
    n = np.where(total > 0, total, 1)
    observed = np.trace(tables, axis1=-2, axis2=-1) / n
    chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / n**2
    return np.where((total > 0) & (chance < 1), (observed - chance) / np.where(chance < 1, 1 - chance, 1), np.nan)


def _ratio(over: Array, under: Array) -> Array:
    return np.where(under > 0, over / np.where(under > 0, under, 1), np.nan)


def _interval(values: Array) -> Interval:
    """As `evaluation.interval`; NaN where the figure is not defined."""
    return Interval(math.nan, math.nan, math.nan) if math.isnan(values[0]) else interval(values)


def _figures(counts: _Counts, weights: Array) -> dict[str, Interval]:
    confusion, themes, primary = (_sums(weights, x) for x in (counts.confusion, counts.themes, counts.primary))
    agreed = themes[..., 1, 1].sum(axis=1)
    given = themes[..., 1, :].sum(axis=(1, 2)) + themes[..., :, 1].sum(axis=(1, 2))
    values = (
        kappa(confusion),
        _ratio(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2))),
        _ratio(2 * agreed, given),
        _ratio(primary[:, 0], primary[:, 1]),
    )
    return {name: _interval(value) for name, value in zip(FIGURES, values, strict=True)}


def _themes(counts: _Counts, weights: Array, taxonomy: Taxonomy) -> tuple[ThemeAgreement, ...]:
    values = kappa(_sums(weights, counts.themes))
    whole = counts.themes.sum(axis=0).astype(int)
    return tuple(
        ThemeAgreement(theme, _interval(values[:, j]), *map(int, (table[1].sum(), table[:, 1].sum(), table[1, 1])))
        for j, (theme, table) in enumerate(zip(taxonomy.theme_ids, whole, strict=True))
    )


def _kinds(both: list[Pair], kinds: Mapping[str, str], taxonomy: Taxonomy, seed: int) -> tuple[KindAgreement, ...]:
    groups: dict[str, list[Pair]] = {}
    for pair in both:
        if kind := kinds.get(pair[0].document_id):
            groups.setdefault(kind, []).append(pair)
    found = []
    for kind, part in sorted(groups.items()):
        counts = _counts(part, taxonomy)
        figures = _figures(counts, bootstrap_weights(len(counts.confusion), seed))
        found.append(KindAgreement(kind, len(part), len(counts.confusion), figures))
    return tuple(found)


# Told ---------------------------------------------------------------------------------------------

Table = tuple[str, list[str], list[list[str]]]
"""A title, the heads of the columns, and the rows."""


def tables(found: Agreement) -> list[Table]:
    """What there is to tell, as tables of text."""
    labels = found.taxonomy.finding_ids
    told: list[Table] = [
        ("agreement", ["figure", "value [95 % interval]"], [[n, _text(x)] for n, x in found.figures.items()]),
        (
            "findings: first pass by row, second by column",
            ["", *labels],
            [[label, *map(str, row)] for label, row in zip(labels, found.confusion.tolist(), strict=True)],
        ),
        (
            "themes",
            ["theme", "kappa [95 % interval]", "first", "second", "both"],
            [[t.theme, _text(t.kappa), str(t.first), str(t.second), str(t.both)] for t in found.themes],
        ),
    ]
    if found.kinds:
        heads = ["kind", "sentences", "figure", "value [95 % interval]"]
        rows = [[k.kind, str(k.sentences), n, _text(x)] for k in found.kinds for n, x in k.figures.items()]
        told.append(("by kind of document", heads, rows))
    return told


def _text(found: Interval) -> str:
    return "not defined" if math.isnan(found.value) else str(found)


def summary(found: Agreement) -> str:
    """How much was compared, in one line."""
    aside = found.only_first + found.only_second
    rest = f"; {found.only_first} only in the first pass, {found.only_second} only in the second" if aside else ""
    return f"{found.sentences} sentences of {found.documents} documents have both{rest}"


def markdown(found: Agreement) -> str:
    """The tables as a Markdown page."""
    parts = [summary(found) + "."]
    for title, heads, rows in tables(found):
        lines = [heads, ["---"] * len(heads), *rows]
        parts.append(f"**{title[0].upper()}{title[1:]}**")
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def write(path: Path, found: Agreement) -> None:
    """Write the figures as JSON or Markdown, by the file's ending.

    Raises:
        FindingsError: another ending, or the file cannot be written.
    """
    check_ending(path)
    text = markdown(found) if path.suffix == ".md" else json.dumps(found.as_dict(), indent=1) + "\n"
    make_folder(path.parent)
    write_text(path, text)


def check_ending(path: Path) -> None:
    """Refuse a file for figures that is neither JSON nor Markdown.

    Raises:
        FindingsError: it has another ending.
    """
    if path.suffix not in (".json", ".md"):
        raise FindingsError(f"{path}: cannot write '{path.suffix}'. Give a name that ends in .json or .md.")


# To adjudicate ------------------------------------------------------------------------------------


def disagreements(first: Iterable[Vote], second: Iterable[Vote]) -> list[tuple[Pair, str]]:
    """The pairs that differ, and in what: finding, themes (as a set), or primary theme alone."""
    found = []
    for a, b in pairs(first, second):
        differs = [
            *(["finding"] if a.finding != b.finding else []),
            *(["themes"] if set(a.themes) != set(b.themes) else []),
        ]
        if not differs and a.themes[:1] != b.themes[:1]:
            differs = ["primary theme"]
        if differs:
            found.append(((a, b), " and ".join(differs)))
    return found


def write_disagreements(path: Path, found: Iterable[tuple[Pair, str]], corpus: Corpus | None) -> None:
    """Write what is to be decided as CSV, with empty columns for the decision: filled in, it is a file
    of a pass. Sentence and heading are there where the corpus is.

    Raises:
        FindingsError: the file cannot be written, or a document not read.
    """
    text = {a.sentence_id: a for a in corpus.annotations} if corpus else {}
    entries = {entry.document_id: entry for entry in corpus.documents} if corpus else {}
    headings: dict[str, list[tuple[int, str]]] = {}
    rows = []
    for (a, b), differs in found:
        sentence = heading = ""
        if own := text.get(a.sentence_id):
            if a.document_id not in headings:
                headings[a.document_id] = [(s.start, s.heading) for s in entries[a.document_id].sentences]
            sentence = own.sentence
            heading = next((h for start, h in reversed(headings[a.document_id]) if start <= own.start), "")
        labels = (a.finding, " ".join(a.themes), b.finding, " ".join(b.themes))
        rows.append((a.sentence_id, a.document_id, differs, inert(heading), inert(sentence), *labels, "", "", "", ""))
    make_folder(path.parent)
    write_table(path, DISAGREEMENT_COLUMNS, rows)
