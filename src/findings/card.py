"""The figures of the data card (data/README.md), generated from the data so that they cannot go stale.

They stand between two markers; `findings data card` writes them anew and a test compares.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import pandas as pd

from findings import agreement, dataset, evaluation, standoff
from findings import annotations as corpora
from findings.errors import FindingsError
from findings.taxonomy import Taxonomy

START, END = "<!-- figures: `findings data card` writes what stands between these marks -->", "<!-- end of figures -->"


def path() -> Path:
    """The data card: in a checkout the file, in an installed package the copy that ships."""
    return Path(str(resources.files("findings.data"))) / "README.md"


def with_figures(card: str, figures: str) -> str:
    """The card's text with these figures between its markers.

    Raises:
        FindingsError: a marker is missing.
    """
    if card.count(START) != 1 or card.count(END) != 1 or card.index(START) > card.index(END):
        raise FindingsError(f"data/README.md: no place for the figures. Put in the lines '{START}' and '{END}'.")
    before, rest = card.split(START)
    return f"{before}{START}\n\n{figures}\n{END}{rest.split(END)[1]}"


def figures(corpus: Path, reports: Path, taxonomy: Taxonomy) -> str:
    """All figures, as Markdown.

    Args:
        corpus: the authored corpus, with its passes.
        reports: the stand-off annotations.

    Raises:
        FindingsError: a corpus cannot be read or is not sound.
    """
    built = dataset.build(corpus, name="authored", source="authored", taxonomy=taxonomy)
    rows = pd.concat(built.rows, names=["split"]).reset_index("split")
    parts = [
        _table("kind", rows.assign(kind=rows["kind"].str.replace("_", " ")), "kind", taxonomy),
        _table("published", rows.assign(era=evaluation.by_era(rows)), "era", taxonomy),
        _splits(rows),
        _themes(rows, taxonomy),
        _variety(rows),
        *_passes(corpus, taxonomy),
        _standoff(reports, taxonomy),
    ]
    return "\n".join(parts)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(title: str, rows: pd.DataFrame, column: str, taxonomy: Taxonomy) -> str:
    """Documents and sentences by finding, for each value of a column and for all."""
    groups = [*((str(name), group) for name, group in rows.groupby(column, sort=True)), ("all", rows)]
    heads = [title, "documents", "sentences", *(label.title.lower() for label in taxonomy.findings)]
    return _markdown(
        heads,
        (
            [name, group["document_id"].nunique(), len(group), *_counts(group["finding"], taxonomy.finding_ids)]
            for name, group in groups
        ),
    )


def _counts(labels: pd.Series, ids: Sequence[str]) -> list[int]:
    counts = Counter(labels)
    return [counts[i] for i in ids]


def _splits(rows: pd.DataFrame) -> str:
    return _markdown(
        ["split", "authorities", "documents", "sentences"],
        (
            [split, rows.loc[at, "authority"].nunique(), rows.loc[at, "document_id"].nunique(), int(at.sum())]
            for split in corpora.SPLITS
            for at in [rows["split"] == split]
        ),
    )


def _themes(rows: pd.DataFrame, taxonomy: Taxonomy) -> str:
    themed = rows.explode("themes").dropna(subset="themes")
    table = pd.crosstab(themed["themes"], themed["finding"]).reindex(
        index=taxonomy.theme_ids, columns=taxonomy.finding_ids, fill_value=0
    )
    heads = ["theme", "sentences", *(label.title.lower() for label in taxonomy.findings)]
    return _markdown(
        heads, ([taxonomy.title(str(theme)), int(row.sum()), *map(int, row)] for theme, row in table.iterrows())
    )


def _variety(rows: pd.DataFrame) -> str:
    """Distinct runs of four words for every 10,000 words."""
    words = [re.findall(r"\w+", sentence.lower()) for sentence in rows["sentence"]]
    runs = {tuple(w[i : i + 4]) for w in words for i in range(len(w) - 3)}
    total = sum(map(len, words))
    return f"{total:,} words, of which every 10,000 hold {10_000 * len(runs) / total:,.0f} distinct runs of four.\n"


def _passes(corpus: Path, taxonomy: Taxonomy) -> list[str]:
    folders = [corpus / "passes" / name for name in ("first", "second", "adjudicated", "third", "settled")]
    first, second, decided, third, settled = (corpora.read_pass(folder, taxonomy) for folder in folders)
    entries = corpora.read_corpus(corpus).documents
    kinds = {entry.document_id: entry.kind.replace("_", " ") for entry in entries}
    found = agreement.measure(first, second, taxonomy, kinds)
    heads = ["sentences with two passes", "", *(name.replace("_", " ") for name in agreement.FIGURES)]
    lines = [("all", found.sentences, found.figures), *((k.kind, k.sentences, k.figures) for k in found.kinds)]
    table = _markdown(heads, ([name, n, *(str(f[x]) for x in agreement.FIGURES)] for name, n, f in lines))
    return [table, _decided(first, second, decided), _third(second, decided, third, settled, taxonomy)]


def _third(
    second: Iterable[corpora.Vote],
    decided: Iterable[corpora.Vote],
    third: tuple[corpora.Vote, ...],
    settled: Sequence[corpora.Vote],
    taxonomy: Taxonomy,
) -> str:
    """How far the third pass agrees with what the first two came to."""
    before = {vote.sentence_id: vote for vote in (*second, *decided)}
    found = agreement.measure(tuple(before.values()), third, taxonomy).figures
    told = ", ".join(f"{name.replace('_', ' ')} {found[name]}" for name in agreement.FIGURES)
    return (
        f"The third pass, over {len(third):,} sentences, against what the first two came to: {told}. "
        f"{len(settled):,} findings on which it differs were settled by one more session.\n"
    )


def _decided(first: Sequence[corpora.Vote], second: Sequence[corpora.Vote], third: Sequence[corpora.Vote]) -> str:
    labels = [{v.sentence_id: (v.finding, v.themes) for v in votes} for votes in (first, second)]
    took: Counter[str] = Counter()
    for vote in third:
        given = (vote.finding, vote.themes)
        before = [votes[vote.sentence_id] == given for votes in labels]
        took["the first pass" if before[0] else "the second" if before[1] else "neither"] += 1
    told = ", ".join(f"{count:,} as {who} had it" for who, count in took.most_common())
    return f"{len(third):,} sentences that the two passes differ on, mostly in one theme, were decided: {told}.\n"


def _standoff(folder: Path, taxonomy: Taxonomy) -> str:
    read = standoff.read(folder)
    splits = {report.source_file_id: report.split for report in read.reports}
    heads = ["published reports", "authorities", "reports", "sentences", *(f.title.lower() for f in taxonomy.findings)]
    lines = []
    for split in corpora.SPLITS:
        reports = [report for report in read.reports if report.split == split]
        marks = [mark for mark in read.marks if splits[mark.source_file_id] == split]
        counts = Counter(mark.finding for mark in marks)
        authorities = {report.authority for report in reports}
        lines.append([split, len(authorities), len(reports), len(marks), *(counts[f] for f in taxonomy.finding_ids)])
    return _markdown(heads, lines)
