"""Documents and annotations → `datasets.DatasetDict`, split by authority, checked, with its SHA-256."""

from __future__ import annotations

import hashlib
import json
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from findings import annotations as corpora
from findings import parsed
from findings import reports as files
from findings import standoff as marks
from findings.annotations import SPLITS, Annotation, Corpus, DocumentEntry, InvalidCorpusError, Violation
from findings.errors import FindingsError
from findings.reports import AtHand, Report
from findings.sentences import Sentence, fingerprint, sentences
from findings.standoff import Mark, Standoff
from findings.taxonomy import Taxonomy

if TYPE_CHECKING:
    import datasets

COLUMNS = (
    "sentence_id", "document_id", "kind", "authority", "published", "page", "heading", "list_item",
    "sentence", "finding", "themes", "source", "annotator",
)  # fmt: skip

NAMED = 8
"""So many ids a message names."""

NEAR = 0.85
"""Cosine of word TF-IDF vectors from which two sentences are near-duplicates."""

NEAR_MIN_WORDS = 6
"""Shorter sentences ("Apologies for absence") may recur in a corpus: they are furniture, not evidence. A dataset
built from it has each once, in one split."""

ALIKE = 0.83
"""Cosine of TF-IDF vectors of words alone from which a row of a corpus is left out that has its like in a later
split: below `NEAR`, since the weights of the words change with what is left out."""


@dataclass(frozen=True)
class Built:
    """A dataset ready for training.

    Attributes:
        rows: one data frame a split, with `COLUMNS`; labels as ids.
        sha256: of all rows in order: the same data gives the same digest.
        notes: what is to be known of it: what was not found, what was left out.
    """

    name: str
    rows: dict[str, pd.DataFrame]
    sha256: str
    taxonomy: Taxonomy
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {split: len(frame) for split, frame in self.rows.items()}

    def to_dataset_dict(self) -> datasets.DatasetDict:
        """The same as a Hugging Face dataset: finding a ClassLabel, themes a list of ClassLabel."""
        import datasets

        def records(frame: pd.DataFrame) -> list[dict[Hashable, Any]]:
            return [
                {**row, "published": date.fromisoformat(row["published"]) if row["published"] else None}
                for row in frame.to_dict("records")
            ]

        kinds = features(self.taxonomy)
        return datasets.DatasetDict(
            {split: datasets.Dataset.from_list(records(frame), features=kinds) for split, frame in self.rows.items()}
        )


def features(taxonomy: Taxonomy) -> datasets.Features:
    """The columns of the dataset as Hugging Face features."""
    import datasets

    kinds: dict[str, Any] = {column: datasets.Value("string") for column in COLUMNS}
    kinds["published"] = datasets.Value("date32")  # as text, the JSON reader would make it "2024-03-12 00:00:00"
    kinds["page"] = datasets.Value("int32")
    kinds["list_item"] = datasets.Value("bool")
    kinds["finding"] = datasets.ClassLabel(names=taxonomy.finding_ids)
    kinds["themes"] = datasets.List(datasets.ClassLabel(names=taxonomy.theme_ids))
    return datasets.Features(kinds)


def default_folder() -> Path:
    """The authored corpus: in a checkout its folder, in an installed package the copy that ships."""
    return Path(str(resources.files("findings.data"))) / "authored"


def build(folder: Path, *, name: str, source: str, taxonomy: Taxonomy) -> Built:
    """Join the annotations of a corpus folder to their sentences and check the whole.

    Raises:
        InvalidCorpusError: violations of the schema, an authority or a near-duplicate in two
            splits, or an empty split; each names file and row.
    """
    rows, notes = _corpus_rows(folder, source, taxonomy)
    return _built(name, rows, taxonomy, notes)


def with_train_share(built: Built, share: float) -> Built:
    """The same dataset with a share of its training documents; validation and test stay whole.

    A document is in by the hash of its id, whatever the seed, so that a smaller share is part of a
    larger one, as a learning curve wants it.

    Args:
        share: above 0, at most 1 (all).

    Raises:
        FindingsError: the share is out of range, or leaves no document.
    """
    if not 0 < share <= 1:
        raise FindingsError(f"data.train_share: {share:g} is not above 0 and at most 1")
    if share == 1:
        return built
    train = built.rows["train"]
    chosen = {i for i in train["document_id"].unique() if _hash_share(i) < share}
    if not chosen:
        raise FindingsError(f"data.train_share: {share:g} leaves no training document. Give a larger share.")
    rows = {**built.rows, "train": train[train["document_id"].isin(chosen)].reset_index(drop=True)}
    note = f"{len(rows['train']):,} of {len(train):,} training sentences, of {len(chosen):,} documents, are learnt from"
    return replace(built, rows=rows, sha256=digest(rows), notes=(*built.notes, note))


def _hash_share(document_id: str) -> float:
    """A number from 0 up to 1 that only the id decides."""
    return int(hashlib.sha256(document_id.encode()).hexdigest()[:8], 16) / 2**32


def _corpus_rows(folder: Path, source: str, taxonomy: Taxonomy) -> tuple[pd.DataFrame, tuple[str, ...]]:
    corpus = corpora.read_corpus(folder)
    if violations := corpora.check(corpus, taxonomy):
        raise InvalidCorpusError(violations)
    rows = _rows(corpus, source)
    if violations := [*near_duplicates_across(rows), *_empty_splits(rows, corpus.folder / "documents.csv")]:
        raise InvalidCorpusError(violations)
    rows, notes = _once(rows)
    return rows, (*unlabelled(corpus), *notes)


def _built(name: str, rows: pd.DataFrame, taxonomy: Taxonomy, notes: tuple[str, ...] = ()) -> Built:
    by_split = {
        split: rows[rows["split"] == split].drop(columns=["split", "place"]).reset_index(drop=True) for split in SPLITS
    }
    return Built(name, by_split, digest(by_split), taxonomy, notes)


def build_standoff(
    folder: Path, reports: Path, *, name: str, source: str, taxonomy: Taxonomy, tell: Callable[[str], object] = str
) -> Built:
    """Join stand-off annotations to the sentences of the reports that are at hand.

    Sentences of published reports recur from one authority to another; one that is nearly the same
    as another of a later split (train, validation, test) is left out, and `notes` says how many.

    Args:
        folder: with reports.csv and annotations.csv.
        reports: a folder of PDFs as `findings data fetch` makes it.
        tell: is told what is being done.

    Raises:
        InvalidCorpusError: violations of the schema, an authority in two splits, an empty split.
        FindingsError: no report is at hand.
    """
    rows, notes = _standoff_rows(folder, reports, source, taxonomy, tell)
    if rows.empty:
        raise FindingsError("\n".join(notes))
    rows, dropped = _drop_near_duplicates(rows)
    if violations := _empty_splits(rows, folder / "reports.csv"):
        raise InvalidCorpusError(violations)
    return _built(name, rows, taxonomy, (*notes, *dropped))


def build_all(
    folder: Path, standoff: Path, reports: Path, *, name: str, taxonomy: Taxonomy, tell: Callable[[str], object] = str
) -> Built:
    """The documents of a corpus folder and the reports at hand together, each row in its own split.

    The corpus is checked as strictly as by itself; from both together, sentences that are nearly
    the same as one of a later split are left out. Without any report it is the corpus alone.

    Raises:
        InvalidCorpusError: as `build` and `build_standoff`, or an authority is in a split of the one
            and in another split of the other.
    """
    tell("reading the documents")
    authored, own = _corpus_rows(folder, "authored", taxonomy)
    real, notes = _standoff_rows(standoff, reports, "ofsted", taxonomy, tell)
    if real.empty:
        return _built(name, authored, taxonomy, (*own, *notes, f"so this is {folder} alone: {len(authored)} sentences"))
    rows = pd.concat([authored, real], ignore_index=True)
    if violations := _authorities_across(rows):
        raise InvalidCorpusError(violations)
    rows, dropped = _drop_near_duplicates(rows)
    return _built(name, rows, taxonomy, (*own, *notes, *dropped))


def unlabelled(corpus: Corpus) -> tuple[str, ...]:
    """What of a corpus has no label, in words: a lost file or row is told here, and what is still to do."""
    spans: dict[str, list[Annotation]] = {}
    for annotation in corpus.annotations:
        spans.setdefault(annotation.document_id, []).append(annotation)
    bare = [entry.document_id for entry in corpus.documents if entry.document_id not in spans]
    missing: Counter[str] = Counter()
    for entry in corpus.documents:
        own = spans.get(entry.document_id, [])
        for sentence in entry.sentences if own else ():
            missing[entry.document_id] += not any(a.start < sentence.end and sentence.start < a.end for a in own)
    some = [f"{document_id} ({count})" for document_id, count in missing.items() if count]
    notes = []
    if bare:
        notes.append(f"{corpus.folder}: without annotations: {len(bare)} documents: {_named(bare)}")
    if some:
        notes.append(f"{corpus.folder}: sentences without a label: {missing.total()}: {_named(some)}")
    return tuple(notes)


def check(folder: Path, *, taxonomy: Taxonomy) -> tuple[list[Violation], Corpus]:
    """All violations of a corpus folder, near-duplicates across splits included."""
    corpus = corpora.read_corpus(folder)
    violations = corpora.check(corpus, taxonomy)
    if not violations:
        rows = _rows(corpus, "")
        violations = [*near_duplicates_across(rows), *_empty_splits(rows, corpus.folder / "documents.csv")]
    return violations, corpus


def labelled(folder: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    """Every annotated sentence of a corpus folder, whatever its split: `COLUMNS`, split and place (file:row).

    Raises:
        InvalidCorpusError: violations of the schema; each names file and row.
    """
    corpus = corpora.read_corpus(folder)
    if violations := corpora.check(corpus, taxonomy):
        raise InvalidCorpusError(violations)
    return _rows(corpus, "")


def digest(by_split: dict[str, pd.DataFrame]) -> str:
    """SHA-256 (hexadecimal) of the rows as JSON lines, split by split."""
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split}\n".encode())
        for line in _json_lines(by_split[split]):
            sha.update(line.encode())
    return sha.hexdigest()


def write(built: Built, folder: Path) -> list[Path]:
    """Write train.jsonl, validation.jsonl and test.jsonl; they are replaced only when all three are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{split}.jsonl" for split in built.rows]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
        for name, frame in zip(names, built.rows.values(), strict=True):
            with (Path(temporary) / name).open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_json_lines(frame))
        return [(Path(temporary) / name).replace(folder / name) for name in names]


def _json_lines(frame: pd.DataFrame) -> Iterator[str]:
    for row in frame[list(COLUMNS)].to_dict("records"):
        yield json.dumps({**row, "published": row["published"] or None}, ensure_ascii=False) + "\n"


def _rows(corpus: Corpus, source: str) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    by_document: dict[str, list[Annotation]] = {}
    for annotation in corpus.annotations:
        by_document.setdefault(annotation.document_id, []).append(annotation)
    for entry in corpus.documents:
        labelled = sorted(by_document.get(entry.document_id, []), key=lambda a: a.start)
        if labelled:
            rows.extend(_row(entry, a, _at(entry.sentences, a.start), source) for a in labelled)
    return pd.DataFrame(rows, columns=[*COLUMNS, "split", "place"])


def _standoff_rows(
    folder: Path, reports: Path, source: str, taxonomy: Taxonomy, tell: Callable[[str], object]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of the reports at hand, and what is to be known of them."""
    standoff = marks.read(folder)
    if violations := marks.check(standoff, taxonomy):
        raise InvalidCorpusError(violations)
    of_report: dict[str, list[Mark]] = {}
    for mark in standoff.marks:
        of_report.setdefault(mark.source_file_id, []).append(mark)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    there: set[str] = set()
    for number, report in enumerate(standoff.reports, 1):
        tell(f"reading the reports: {number} of {len(standoff.reports)}")
        place, labelled = files.at_hand(report, reports), of_report.get(report.source_file_id, [])
        if place is None:
            continue
        try:
            document = parsed.read(place.path)
        except FindingsError as error:
            notes.append(str(error))
            continue
        there.add(report.source_file_id)
        found = marks.locate(document, sentences(document), labelled)
        rows += [_standoff_row(report, m, found[m.sentence_id], source) for m in labelled if m.sentence_id in found]
        notes += _changed(report, place, len(found), len(labelled))
    return pd.DataFrame(rows, columns=[*COLUMNS, "split", "place"]), (*notes, *_tally(standoff, reports, there, rows))


def _changed(report: Report, place: AtHand, found: int, labelled: int) -> list[str]:
    said = f"{place.path}: changed since it was annotated: {found} of {labelled} sentences found"
    return [said] if place.changed else []


def _tally(standoff: Standoff, reports: Path, there: set[str], rows: list[dict[str, Any]]) -> list[str]:
    """How much of the annotations was found, and what is missing."""
    remedy = "`findings data fetch` downloads them, and takes PDFs that you have with --folder."
    if not there:
        return [f"{reports}: none of the {len(standoff.reports)} annotated reports is at hand. {remedy}"]
    looked_for = [mark for mark in standoff.marks if mark.source_file_id in there]
    found = {row["sentence_id"] for row in rows}
    telling = [mark for mark in looked_for if mark.finding != "none"]
    notes = [
        f"{len(there)} of {len(standoff.reports)} annotated reports are at hand in {reports}; in them "
        f"{_share(looked_for, found)} annotated sentences were found, {_share(telling, found)} with a finding"
    ]
    if lost := [mark.sentence_id for mark in looked_for if mark.sentence_id not in found]:
        notes.append(f"not found: {_named(lost)}")
    if absent := [report.source_file_id for report in standoff.reports if report.source_file_id not in there]:
        unread = len(standoff.marks) - len(looked_for)
        notes.append(f"{len(absent)} reports ({unread} sentences) are not at hand: {_named(absent)}. {remedy}")
    return notes


def _named(ids: list[str]) -> str:
    """The first few; the others are told by their number."""
    return ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def _share(looked_for: list[Mark], found: set[str]) -> str:
    count = sum(mark.sentence_id in found for mark in looked_for)
    return f"{count:,} of {len(looked_for):,} ({100 * count / max(1, len(looked_for)):.2f} %)"


def _standoff_row(report: Report, mark: Mark, sentence: Sentence, source: str) -> dict[str, Any]:
    return {
        "sentence_id": mark.sentence_id,
        "document_id": f"{source}-{report.source_file_id}",  # digits alone would be read back as a number
        "kind": report.kind,
        "authority": report.authority,
        "published": report.published,
        "page": sentence.page,
        "heading": sentence.heading,
        "list_item": sentence.list_item,
        "sentence": sentence.text,
        "finding": mark.finding,
        "themes": list(mark.themes),
        "source": source,
        "annotator": mark.annotator,
        "split": report.split,
        "place": mark.place,
    }


def _once(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Furniture of documents once in a split, and no row of a corpus that has its like in a later split."""
    short = np.array([len(sentence.split()) < NEAR_MIN_WORDS for sentence in rows["sentence"]], dtype=bool)
    same = pd.DataFrame({"print": rows["sentence"].map(fingerprint), "of": rows["split"], "is": rows["finding"]})
    again = short & same.duplicated()
    rows = rows[~again].reset_index(drop=True)
    texts, splits = rows["sentence"].tolist(), rows["split"].tolist()
    held_out = [position for position, split in enumerate(splits) if split != "train"]
    pairs = near_duplicates(texts, ALIKE, longest=1, among=held_out)
    alike = {(left, right) for left, right, _ in pairs if splits[left] != splits[right]}
    notes = [f"short lines that recur in a split are in it once: {again.sum()} left out"] if again.any() else []
    rows, dropped = _drop(rows, alike)
    return rows, [*notes, *dropped]


def _drop_near_duplicates(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the rows that are nearly the same as one of a later split, and say how many."""
    return _drop(rows, {(left, right) for left, right, _ in _pairs_across(rows)})


def _drop(rows: pd.DataFrame, pairs: set[tuple[int, int]]) -> tuple[pd.DataFrame, list[str]]:
    """Of each pair of rows that are too alike, leave out the one of the earlier split."""
    ranks = [SPLITS.index(split) for split in rows["split"]]
    dropped: set[int] = set()
    # Pairs of validation and test first: what validation loses can no longer cost train a row.
    for left, right in sorted(pairs, key=lambda pair: (-ranks[pair[0]] - ranks[pair[1]], pair)):
        if not {left, right} & dropped:
            dropped.add(left if ranks[left] < ranks[right] else right)
    if not dropped:
        return rows, []
    counts = Counter((rows["source"][row], ranks[row]) for row in dropped)
    told = ", ".join(f"{count} of {source} from {SPLITS[rank]}" for (source, rank), count in sorted(counts.items()))
    note = f"left out because nearly the same as one of a later split: {told}"
    return rows.drop(index=sorted(dropped)).reset_index(drop=True), [note]


def _at(cut: list[Sentence], offset: int) -> Sentence | None:
    """The document's own sentence at `offset`, or the last one before it."""
    index = bisect_right([s.start for s in cut], offset) - 1
    return cut[index] if index >= 0 else None


def _row(entry: DocumentEntry, annotation: Annotation, place: Sentence | None, source: str) -> dict[str, Any]:
    return {
        "sentence_id": annotation.sentence_id,
        "document_id": entry.document_id,
        "kind": entry.kind,
        "authority": entry.authority,
        "published": entry.published,
        "page": place.page if place else 1,
        "heading": place.heading if place else "",
        "list_item": bool(place and place.list_item),
        "sentence": annotation.sentence,
        "finding": annotation.finding,
        "themes": list(annotation.themes),
        "source": source,
        "annotator": annotation.annotator,
        "split": entry.split,
        "place": annotation.place,
    }


def _empty_splits(rows: pd.DataFrame, table: Path) -> list[Violation]:
    present = set(rows["split"])
    remedy = f"Give at least one authority in {table.name} that split."
    return [
        Violation(str(table), f"the split '{split}' is empty. {remedy}") for split in SPLITS if split not in present
    ]


def near_duplicates_across(rows: pd.DataFrame) -> list[Violation]:
    """Sentences of validation or test that are nearly those of another split.

    Cosine of TF-IDF over words and word pairs of at least `NEAR`; sentences of fewer than
    `NEAR_MIN_WORDS` words are let be.
    """
    found = []
    for left, right, cosine in _pairs_across(rows):
        a, b = rows.iloc[left], rows.iloc[right]
        remedy = "Rewrite or remove one, or put both authorities into one split."
        message = f"nearly the same as {b['place']} in {b['split']} (cosine {cosine:.2f}). {remedy}"
        found.append(Violation(a["place"], message))
    return found


def _authorities_across(rows: pd.DataFrame) -> list[Violation]:
    """Authorities that are in two splits, one violation each."""
    found: dict[str, Violation] = {}
    splits: dict[str, tuple[str, str]] = {}
    for authority, split, place in zip(rows["authority"], rows["split"], rows["place"], strict=True):
        first, where = splits.setdefault(authority.casefold(), (split, place))
        if first != split:
            message = f"authority '{authority}' is in two splits. Move it to one of them ({where} says {first})."
            found.setdefault(authority.casefold(), Violation(place, message))
    return list(found.values())


def _pairs_across(rows: pd.DataFrame) -> list[tuple[int, int, float]]:
    """Positions of two rows in different splits whose sentences are nearly the same, and their cosine."""
    texts, splits = rows["sentence"].tolist(), rows["split"].tolist()
    long = [position for position, text in enumerate(texts) if len(text.split()) >= NEAR_MIN_WORDS]
    held_out = [place for place, position in enumerate(long) if splits[position] != "train"]
    pairs = near_duplicates([texts[position] for position in long], among=held_out)
    across = ((long[left], long[right], cosine) for left, right, cosine in pairs)
    return [(left, right, cosine) for left, right, cosine in across if splits[left] != splits[right]]


def near_duplicates(
    texts: list[str], threshold: float = NEAR, *, longest: int = 2, among: Sequence[int] | None = None
) -> list[tuple[int, int, float]]:
    """Pairs (i < j, cosine) of texts whose TF-IDF vectors have at least that cosine.

    Args:
        longest: the vectors are of words, and of sequences of up to so many.
        among: positions, one of which must be in each pair; all if None.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(texts) < 2:
        return []
    vectors = TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True, dtype=np.float32).fit_transform(texts)
    compared = np.arange(len(texts)) if among is None else np.asarray(among, dtype=int)
    pairs: dict[tuple[int, int], float] = {}
    for begin in range(0, len(compared), 1000):
        own = compared[begin : begin + 1000]
        block = (vectors[own] @ vectors.T).tocoo()
        near = block.data >= threshold
        for row, column, value in zip(own[block.row[near]], block.col[near], block.data[near], strict=True):
            if row != column:
                pairs[int(min(row, column)), int(max(row, column))] = float(value)
    return sorted((left, right, cosine) for (left, right), cosine in pairs.items())
