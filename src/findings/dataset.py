"""Documents and annotations → `datasets.DatasetDict`, split by authority, checked, with its SHA-256."""

from __future__ import annotations

import hashlib
import json
import tempfile
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from findings import annotations as corpora
from findings.annotations import SPLITS, Annotation, Corpus, DocumentEntry, InvalidCorpusError, Violation
from findings.sentences import Sentence, sentences
from findings.taxonomy import Taxonomy

if TYPE_CHECKING:
    import datasets

COLUMNS = (
    "sentence_id", "document_id", "kind", "authority", "published", "page", "heading", "list_item",
    "sentence", "finding", "themes", "source", "annotator",
)  # fmt: skip

NEAR = 0.85
"""Cosine of word TF-IDF vectors from which two sentences are near-duplicates."""

NEAR_MIN_WORDS = 6
"""Shorter sentences ("Apologies for absence") may recur: they are furniture, not evidence."""


@dataclass(frozen=True)
class Built:
    """A dataset ready for training.

    Attributes:
        rows: one data frame a split, with `COLUMNS`; labels as ids.
        sha256: of all rows in order: the same data gives the same digest.
    """

    name: str
    rows: dict[str, pd.DataFrame]
    sha256: str
    taxonomy: Taxonomy

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
    corpus = corpora.read_corpus(folder)
    if violations := corpora.check(corpus, taxonomy):
        raise InvalidCorpusError(violations)
    rows = _rows(corpus, source)
    if violations := [*near_duplicates_across(rows), *_empty_splits(rows, corpus)]:
        raise InvalidCorpusError(violations)
    by_split = {
        split: rows[rows["split"] == split].drop(columns=["split", "place"]).reset_index(drop=True) for split in SPLITS
    }
    return Built(name, by_split, digest(by_split), taxonomy)


def check(folder: Path, *, taxonomy: Taxonomy) -> tuple[list[Violation], Corpus]:
    """All violations of a corpus folder, near-duplicates across splits included."""
    corpus = corpora.read_corpus(folder)
    violations = corpora.check(corpus, taxonomy)
    if not violations:
        rows = _rows(corpus, "")
        violations = [*near_duplicates_across(rows), *_empty_splits(rows, corpus)]
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
            cut = sentences(entry.document)
            rows.extend(_row(entry, a, _at(cut, a.start), source) for a in labelled)
    return pd.DataFrame(rows, columns=[*COLUMNS, "split", "place"])


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


def _empty_splits(rows: pd.DataFrame, corpus: Corpus) -> list[Violation]:
    present = set(rows["split"])
    remedy = "Give at least one authority in documents.csv that split."
    place = str(corpus.folder / "documents.csv")
    return [Violation(place, f"the split '{split}' is empty. {remedy}") for split in SPLITS if split not in present]


def near_duplicates_across(rows: pd.DataFrame) -> list[Violation]:
    """Sentences of validation or test that are nearly those of another split.

    Cosine of TF-IDF over words and word pairs of at least `NEAR`; sentences of fewer than
    `NEAR_MIN_WORDS` words are let be.
    """
    long = rows[rows["sentence"].map(lambda text: len(text.split())) >= NEAR_MIN_WORDS].reset_index(drop=True)
    found = []
    for left, right, cosine in near_duplicates(long["sentence"].tolist()):
        a, b = long.iloc[left], long.iloc[right]
        if a["split"] != b["split"]:
            remedy = "Rewrite or remove one, or put both authorities into one split."
            message = f"nearly the same as {b['place']} in {b['split']} (cosine {cosine:.2f}). {remedy}"
            found.append(Violation(a["place"], message))
    return found


def near_duplicates(texts: list[str], threshold: float = NEAR) -> list[tuple[int, int, float]]:
    """Pairs (i < j, cosine) of texts whose TF-IDF vectors have at least that cosine."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if len(texts) < 2:
        return []
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32).fit_transform(texts)
    pairs: list[tuple[int, int, float]] = []
    for begin in range(0, len(texts), 1000):
        block = (vectors[begin : begin + 1000] @ vectors.T).tocoo()
        near = block.data >= threshold
        for row, column, value in zip(block.row[near], block.col[near], block.data[near], strict=True):
            if begin + row < column:
                pairs.append((int(begin + row), int(column), float(value)))
    return sorted(pairs)
