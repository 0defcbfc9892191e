"""Label Studio round trip: tasks with a model's answers out, the labellers' answers back in.

A sentence is a task. Its finding and its themes are single choices, one for each place
(`CONTROLS`), because a multiple choice would forget which theme comes first and take more than
three. Choices show titles and record ids.

Formats: https://labelstud.io/guide/task_format (JSON), https://labelstud.io/guide/export (JSON_MIN, CSV).
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from findings import annotations as corpora
from findings.annotations import Annotation, Corpus, InvalidCorpusError, Violation, read_table
from findings.errors import FindingsError
from findings.files import make_folder
from findings.models import Predictions, theme_lists
from findings.sentences import fingerprint
from findings.tasks import Task
from findings.taxonomy import Taxonomy

THEME_CONTROLS = ("primary_theme", "second_theme", "third_theme")
CONTROLS = ("finding", *THEME_CONTROLS)
NOTHING = "–"
NAME = re.compile(r"(?!\.)[^/\\\0]+")
"""What may name a file or a folder."""
"""Shown where a sentence has no heading or no neighbour: Label Studio wants some text."""


# Out ----------------------------------------------------------------------------------------------


def labelling_config(taxonomy: Taxonomy) -> str:
    """Label Studio's XML labelling configuration for a taxonomy."""
    view = ET.Element("View")
    ET.SubElement(view, "Header", value="$heading", size="4")
    for name in ("before", "sentence", "after"):
        if name == "sentence":
            box = ET.SubElement(view, "View", style="font-size: 1.3em; font-weight: 600; margin: 0.6em 0")
        else:
            box = ET.SubElement(view, "View", style="opacity: 0.6")
        ET.SubElement(box, "Text", name=name, value=f"${name}")
    questions = zip(CONTROLS, ("Finding", "Primary theme", "Second theme", "Third theme"), strict=True)
    for name, title in questions:
        ET.SubElement(view, "Header", value=title, size="5")
        first = name in ("finding", "primary_theme")
        layout = "inline" if first else "select"
        choices = ET.SubElement(view, "Choices", name=name, toName="sentence", choice="single", layout=layout)
        if name == "finding":
            choices.attrib |= {"required": "true", "requiredMessage": "Choose a finding."}
        for label in taxonomy.findings if name == "finding" else taxonomy.themes:
            ET.SubElement(choices, "Choice", value=label.title, alias=label.id, hint=label.definition)
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def task_records(
    tasks: Sequence[Task], predictions: Predictions | None, model_version: str, taxonomy: Taxonomy
) -> list[dict[str, Any]]:
    """Tasks as Label Studio imports them, with predictions as pre-annotations unless None.

    The score of a prediction is the probability of its finding.
    """
    records: list[dict[str, Any]] = [{"data": _data(task)} for task in tasks]
    if predictions is None:
        return records
    themes = theme_lists(predictions, taxonomy)
    for i, record in enumerate(records):
        finding = int(predictions.findings[i])
        score = round(float(predictions.finding_probabilities[i, finding]), 4)
        result = choices(taxonomy.finding_ids[finding], themes[i])
        record["predictions"] = [{"model_version": model_version, "score": score, "result": result}]
    return records


def choices(finding: str, themes: Sequence[str]) -> list[dict[str, Any]]:
    """Labels in the form of a Label Studio `result`."""
    given = zip(CONTROLS, [finding, *themes], strict=False)  # fewer themes than places for them
    return [
        {"id": name, "from_name": name, "to_name": "sentence", "type": "choices", "value": {"choices": [label]}}
        for name, label in given
    ]


def _data(task: Task) -> dict[str, Any]:
    return {
        "sentence_id": task.sentence_id,
        "document_id": task.document_id,
        "document": task.file.name,
        "page": task.page,
        "heading": task.heading or NOTHING,
        "before": task.before or NOTHING,
        "sentence": task.sentence,
        "after": task.after or NOTHING,
        "list_item": task.list_item,
        "start": task.start,
        "end": task.end,
        "fingerprint": task.fingerprint,
    }


def export(
    folder: Path, tasks: Sequence[Task], records: list[dict[str, Any]], taxonomy: Taxonomy, *, copy: bool
) -> None:
    """Write tasks.json and labelling_config.xml; with `copy`, the documents too, as a corpus folder
    into which the answers can be imported. The folder appears only when all is written.

    Raises:
        FindingsError: the folder is there already and not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FindingsError(f"{folder}: is there already. Give a new folder with --out.")
    make_folder(folder.parent)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            (made / "tasks.json").write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")
            (made / "labelling_config.xml").write_text(labelling_config(taxonomy), encoding="utf-8")
            if copy:
                _copy_documents(made, {task.document_id: task.file for task in tasks})
            made.replace(folder)
    except OSError as error:
        raise FindingsError(f"{folder}: {error.strerror or error}. Nothing half-written is left.") from error


def _copy_documents(folder: Path, files: Mapping[str, Path]) -> None:
    (folder / "documents").mkdir()
    (folder / "annotations").mkdir()
    rows = []
    for document_id, file in files.items():
        name = f"{document_id}{file.suffix.lower()}"
        shutil.copyfile(file, folder / "documents" / name)
        rows.append((document_id, name, "", "", "", ""))
    corpora.write_table(folder / "documents.csv", corpora.DOCUMENT_COLUMNS, rows)


# Back in ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One labeller's answer to one task, as exported.

    Attributes:
        place: file and task (JSON) or file and row (CSV).
        data: what the task holds of its sentence.
        finding, themes: ids; the finding is empty where none was chosen.
        annotator: empty where the file does not say.
        updated: when it was last changed, as ISO text, which sorts by time.
    """

    place: str
    data: Mapping[str, Any]
    finding: str
    themes: tuple[str, ...]
    annotator: str
    updated: str


@dataclass(frozen=True)
class Export:
    """An export, read.

    Attributes:
        unanswered: tasks without any annotation; the short forms leave these out unless asked.
        skipped: annotations that a labeller cancelled.
    """

    answers: list[Answer]
    unanswered: int
    skipped: int


def read_export(path: Path, taxonomy: Taxonomy) -> Export:
    """Read a Label Studio export (JSON, JSON_MIN or CSV), or a CSV file with sentence_id, finding, themes.

    Raises:
        FindingsError: the file cannot be read or is no such export.
        InvalidCorpusError: tasks that are not ours or torn, each named.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path, taxonomy)
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}. Check that it is a file that you may read.") from error
    except (ValueError, RecursionError) as error:
        raise FindingsError(f"{path}: not a whole JSON file ({error}). Export it from Label Studio again.") from error
    if not isinstance(records, list):
        raise FindingsError(f"{path}: no list of tasks. Export as JSON, JSON-MIN or CSV from Label Studio.")
    answers: list[Answer] = []
    problems: list[Violation] = []
    counts: Counter[str] = Counter()
    for number, record in enumerate(records, 1):
        place = f"{path}:task {record.get('id', number) if isinstance(record, dict) else number}"
        try:
            answers.extend(_answers(place, record, taxonomy, counts))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            remedy = "Export the project made from `findings annotate export` again."
            problems.append(Violation(place, f"not a task of ours ({type(error).__name__}: {error}). {remedy}"))
    if problems:
        raise InvalidCorpusError(problems, rest="")
    return Export(answers, counts["unanswered"], counts["skipped"])


def _answers(place: str, record: Any, taxonomy: Taxonomy, counts: Counter[str]) -> Iterator[Answer]:
    if "annotations" not in record:  # JSON_MIN: one flat record an annotation
        answer = _flat(place, record, taxonomy)
        if answer is None:
            counts["unanswered"] += 1
        else:
            yield answer
        return
    data, given = dict(record["data"]), list(record["annotations"])
    _ = data["sentence_id"]
    counts["unanswered"] += not given
    for annotation in given:
        if annotation.get("was_cancelled"):
            counts["skipped"] += 1
            continue
        chosen: dict[str, str] = {}
        for part in annotation["result"]:
            if part["type"] == "choices" and part["from_name"] in CONTROLS:
                chosen[part["from_name"]] = _one(part["value"]["choices"])
        user = annotation.get("completed_by")
        user = user["id"] if isinstance(user, dict) else user
        yield _answer(place, data, chosen, (user, annotation.get("updated_at")), taxonomy)


def _flat(place: str, record: Mapping[str, Any], taxonomy: Taxonomy) -> Answer | None:
    _ = record["sentence_id"]
    if not record.get("annotation_id"):
        return None
    chosen = {name: _one(record[name]) for name in CONTROLS if record.get(name)}
    return _answer(place, record, chosen, (record.get("annotator"), record.get("updated_at")), taxonomy)


def _one(value: Any) -> str:
    """A single choice, which some exports put into a list."""
    if isinstance(value, str):
        return value
    (choice,) = value
    return str(choice)


def _answer(
    place: str, data: Mapping[str, Any], chosen: Mapping[str, str], by: tuple[Any, Any], taxonomy: Taxonomy
) -> Answer:
    user, updated = by
    ids = {label.title: label.id for label in (*taxonomy.findings, *taxonomy.themes)}
    ids |= {label.id: label.id for label in (*taxonomy.findings, *taxonomy.themes)}
    themes = tuple(ids.get(chosen[name], chosen[name]) for name in THEME_CONTROLS if chosen.get(name))
    finding = chosen.get("finding", "")
    return Answer(place, data, ids.get(finding, finding), themes, _annotator(user), str(updated or ""))


def _annotator(user: Any) -> str:
    """Label Studio tells its users by number, in some exports by their address."""
    told = str(user or "").strip()
    return f"label_studio_user_{int(told)}" if told.isdecimal() else told


def _read_csv(path: Path, taxonomy: Taxonomy) -> Export:
    answers: list[Answer] = []
    unanswered = 0
    places: dict[str, str] = {}
    for place, row in read_table(path, ("sentence_id", "finding")):
        if "annotation_id" in row:
            answer = _flat(place, row, taxonomy)
        else:
            if "themes" not in row:  # without it, the themes that are there would be lost
                raise FindingsError(
                    f"{path}:1: no column 'themes'. A table of labels has sentence_id, finding, themes."
                )
            first = places.setdefault(row["sentence_id"], place)
            if first != place:
                raise FindingsError(f"{place}: '{row['sentence_id']}' is at {first} too. Keep one of them.")
            themes = tuple(row["themes"].split())
            plain = Answer(place, row, row["finding"], themes, row.get("annotator", ""), "")
            answer = plain if row["finding"] or themes else None
        if answer is None:
            unanswered += 1
        else:
            answers.append(answer)
    return Export(answers, unanswered, 0)


def to_annotations(
    answers: Iterable[Answer], corpus: Corpus | None, taxonomy: Taxonomy, annotator: str | None = None
) -> list[Annotation]:
    """Answers as annotations, checked: labels, fingerprints and, against a corpus, spans.

    Args:
        annotator: who is to be named instead of Label Studio's numbers of users.

    Raises:
        InvalidCorpusError: whatever is not as it must be, each with file, task and remedy.
    """
    known = {a.sentence_id: a for a in corpus.annotations} if corpus else {}
    found: list[Annotation] = []
    problems: list[Violation] = []
    for answer in sorted(answers, key=lambda a: a.updated):
        made = _annotation(answer, known, annotator)
        if isinstance(made, Violation):
            problems.append(made)
            continue
        problems.extend(corpora.check_labels([made], taxonomy))
        found.append(made)
    if corpus is not None:
        problems.extend(_strange(found, corpus))
    if problems:
        raise InvalidCorpusError(problems, rest="")
    return found


def _annotation(answer: Answer, known: Mapping[str, Annotation], annotator: str | None) -> Annotation | Violation:
    data = answer.data
    sentence_id = str(data["sentence_id"])
    if not answer.finding:
        return Violation(answer.place, f"'{sentence_id}' has no finding. Choose one, or skip the task.")
    if "fingerprint" in data and fingerprint(str(data.get("sentence"))) != data["fingerprint"]:
        return Violation(answer.place, f"the sentence of '{sentence_id}' was changed. Keep it as it was exported.")
    if "start" not in data and sentence_id in known:  # a plain table of labels
        own = known[sentence_id]
        by = annotator or answer.annotator
        return replace(own, finding=answer.finding, themes=answer.themes, annotator=by, place=answer.place)
    try:
        document_id, text = str(data["document_id"]), str(data["sentence"])
        start, end = int(data["start"]), int(data["end"])
    except (KeyError, ValueError, TypeError) as error:
        what = f"'{sentence_id}' is in no annotation of the corpus and comes without its span ({error})"
        return Violation(answer.place, f"{what}. Keep the columns that were exported.")
    if not NAME.fullmatch(document_id):
        return Violation(answer.place, f"'{document_id}' is no document id. Keep the one that was exported.")
    themes, by = answer.themes, annotator or answer.annotator
    return Annotation(sentence_id, document_id, start, end, answer.finding, themes, by, text, answer.place)


def _strange(found: Sequence[Annotation], corpus: Corpus) -> Iterator[Violation]:
    """Annotations of documents that the corpus does not have, or with spans that do not fit them."""
    documents = {entry.document_id for entry in corpus.documents}
    for a in found:
        if a.document_id not in documents:
            remedy = f"Add it to {corpus.folder / 'documents.csv'}, or name its corpus with --corpus."
            yield Violation(a.place, f"no document '{a.document_id}' in the corpus. {remedy}")
    ours = [a for a in found if a.document_id in documents]
    once = {(a.document_id, a.start, a.end, a.sentence_id): a for a in ours}  # several answers, one span
    yield from corpora.check_spans(replace(corpus, annotations=tuple(once.values())))


def by_annotator(found: Iterable[Annotation]) -> dict[str, list[Annotation]]:
    """Annotations by who gave them; of several by the same hand for one sentence, the last.

    Raises:
        FindingsError: an annotator's name cannot name a folder.
    """
    hands: dict[str, dict[str, Annotation]] = {}
    for a in found:
        if not NAME.fullmatch(a.annotator):
            raise FindingsError(
                f"{a.place}: the annotator '{a.annotator}' cannot name a folder. Give another name, or one for all "
                "with --annotator."
            )
        hands.setdefault(a.annotator, {})[a.sentence_id] = a
    return {hand: list(given.values()) for hand, given in hands.items()}


def one_each(found: Iterable[Annotation]) -> list[Annotation]:
    """One annotation a sentence; hands that agree count as one, the last.

    Raises:
        InvalidCorpusError: two hands gave a sentence different labels.
    """
    chosen: dict[str, Annotation] = {}
    problems: list[Violation] = []
    for a in (a for given in by_annotator(found).values() for a in given):
        other = chosen.setdefault(a.sentence_id, a)
        if (other.finding, other.themes) != (a.finding, a.themes):
            remedy = "Import with --by-annotator, then settle what `findings annotate disagreements` lists."
            problems.append(Violation(a.place, f"{other.annotator} and {a.annotator} differ. {remedy}"))
        chosen[a.sentence_id] = a
    if problems:
        raise InvalidCorpusError(problems, rest="")
    return list(chosen.values())


def merge(found: Iterable[Annotation], corpus: Corpus) -> list[Annotation]:
    """The annotations of the documents concerned, with `found` in place of those of the same sentence.

    Raises:
        InvalidCorpusError: a new span overlaps an old one.
    """
    new = {a.sentence_id: a for a in found}
    concerned = {a.document_id for a in new.values()}
    old = {a.sentence_id: a for a in corpus.annotations if a.document_id in concerned}
    merged = tuple((old | new).values())
    if problems := list(corpora.check_spans(replace(corpus, annotations=merged))):
        raise InvalidCorpusError(problems)
    return list(merged)


def write(folder: Path, found: Iterable[Annotation]) -> list[Path]:
    """Write annotations, one file a document; none is put in place before all are written.

    Raises:
        FindingsError: a file cannot be written.
    """
    by_document: dict[str, list[Annotation]] = {}
    for a in sorted(found, key=lambda a: (a.document_id, a.start)):
        by_document.setdefault(a.document_id, []).append(a)
    make_folder(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
            made = [Path(temporary) / f"{document_id}.csv" for document_id in by_document]
            for path, given in zip(made, by_document.values(), strict=True):
                corpora.write_annotations(path, given)
            return [path.replace(folder / path.name) for path in made]
    except OSError as error:
        raise FindingsError(f"{folder}: {error.strerror or error}. Nothing half-written is left.") from error
