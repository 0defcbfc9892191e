"""The files in data/label_studio were exported by Label Studio 1.23.2 from a project made of harbour_visit.md.

The tests of the round trip start the real server where there is one: the environment variable
LABEL_STUDIO names its executable, or `label-studio` is on the path.
"""

import csv
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from conftest import command

from findings import label_studio, tasks, taxonomy
from findings.annotations import check_spans, read_corpus, read_pass
from findings.errors import FindingsError

LABELS = taxonomy.load()
DATA = Path(__file__).with_name("data") / "label_studio"
VISIT = DATA / "harbour_visit.md"
EXPORTS = ("export.json", "export_min.json", "export.csv")
ANSWERS = {
    "harbour_visit-001": ("strength", "front_door partnership", "label_studio_user_1"),
    "harbour_visit-002": ("strength", "partnership", "label_studio_user_1"),
    "harbour_visit-003": ("strength", "children_in_care workforce leadership", "label_studio_user_2"),
    "harbour_visit-004": ("recommendation", "health_education children_in_care", "label_studio_user_2"),
}
"""What was answered: the third by both users alike, the fifth skipped, the sixth not at all."""


@pytest.fixture
def labelling(tmp_path):
    """The folder that `annotate export` makes of the document, without a model."""
    found = tasks.of_document(VISIT, "harbour_visit")
    folder = tmp_path / "labelling"
    label_studio.export(folder, found, label_studio.task_records(found, None, "", LABELS), LABELS, copy=True)
    return folder


def rows(folder):
    """sentence_id → (finding, themes, annotator) of the annotations in a folder."""
    found = {}
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found[row["sentence_id"]] = (row["finding"], row["themes"], row["annotator"])
    return found


# The way out --------------------------------------------------------------------------------------


def test_configuration_offers_every_label_once_a_place():
    view = ET.fromstring(label_studio.labelling_config(LABELS))
    choices = {c.get("name"): c for c in view.iter("Choices")}
    assert list(choices) == ["finding", "primary_theme", "second_theme", "third_theme"]
    assert [c.get("alias") for c in choices["finding"]] == LABELS.finding_ids
    assert [c.get("value") for c in choices["third_theme"]] == [label.title for label in LABELS.themes]
    assert {c.get("choice") for c in choices.values()} == {"single"}
    assert [name for name, c in choices.items() if c.get("required")] == ["finding"]


def test_configuration_survives_any_title():
    odd = taxonomy.from_dict(
        {
            "name": "odd",
            "findings": [{"id": "none", "title": 'No "finding" <b>', "definition": "a & b"}],
            "themes": [{"id": "t", "title": "T", "definition": "'"}],
        }
    )
    (first, *_) = ET.fromstring(label_studio.labelling_config(odd)).iter("Choice")
    assert (first.get("value"), first.get("hint")) == ('No "finding" <b>', "a & b")


def test_tasks_show_the_sentence_between_its_neighbours():
    found = tasks.of_document(VISIT, "harbour_visit")
    first, second = (record["data"] for record in label_studio.task_records(found[:2], None, "", LABELS))
    assert first["before"] == label_studio.NOTHING
    assert first["after"] == second["sentence"]
    assert second["before"] == first["sentence"]
    assert (second["heading"], second["page"], second["list_item"]) == ("What has gone well", 1, False)
    text = VISIT.read_text(encoding="utf-8")
    assert text[second["start"] : second["end"]] == second["sentence"]


def test_export_command_writes_predictions_and_documents(store, tmp_path):
    done = command("annotate", "export", VISIT, "--out", "labelling", cwd=tmp_path, uri=store.uri)
    assert done.returncode == 0, done.stderr
    assert "6 tasks, findings version 1" in done.stdout
    records = json.loads((tmp_path / "labelling" / "tasks.json").read_text(encoding="utf-8"))
    for record in records:
        (prediction,) = record["predictions"]
        assert prediction["model_version"] == "findings version 1"
        assert 0.25 <= prediction["score"] <= 1
        assert prediction["result"][0]["value"]["choices"][0] in LABELS.finding_ids
        names = [part["from_name"] for part in prediction["result"]]
        assert names == list(label_studio.CONTROLS[: len(names)])
    (entry,) = read_corpus(tmp_path / "labelling").documents
    assert entry.path.read_bytes() == VISIT.read_bytes()


def test_blind_export_of_a_corpus_needs_no_model_and_tells_no_labels(store, tmp_path):
    done = command("annotate", "export", "--corpus", store.corpus, "--blind", "--out", "second", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "second" / "tasks.json").read_text(encoding="utf-8"))
    own = {a.sentence_id: a.sentence for a in read_corpus(store.corpus).annotations}
    assert {r["data"]["sentence_id"]: r["data"]["sentence"] for r in records} == own
    assert {key for r in records for key in r} == {"data"}
    assert not {"finding", "themes"} & {key for r in records for key in r["data"]}


def test_export_writes_into_no_folder_that_holds_something(labelling):
    before = sorted(labelling.rglob("*"))
    with pytest.raises(FindingsError, match="labelling: is there already"):
        label_studio.export(labelling, [], [], LABELS, copy=False)
    assert sorted(labelling.rglob("*")) == before


def test_export_takes_documents_or_a_corpus_and_names_what_it_cannot_read(store, tmp_path):
    neither = command("annotate", "export", "--out", "x", cwd=tmp_path, uri=store.uri)
    assert neither.returncode == 1
    assert "give either documents or --corpus" in neither.stderr
    (tmp_path / "empty.txt").write_text("")
    part = command("annotate", "export", VISIT, "empty.txt", "--out", "x", cwd=tmp_path, uri=store.uri)
    assert part.returncode == 1
    assert "empty.txt" in part.stderr
    assert "6 tasks" in part.stdout


# The way back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTS)
def test_import_command_turns_each_form_into_the_same_annotations(labelling, name, tmp_path):
    done = command("annotate", "import", DATA / name, "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(labelling / "annotations") == ANSWERS
    read = read_corpus(labelling)
    assert list(check_spans(read)) == []
    assert [a.sentence[:10] for a in read.annotations] == ["Duty staff", "“Nobody pa", "Foster car", "The chasin"]


def test_skipped_and_unanswered_tasks_are_counted():
    long = label_studio.read_export(DATA / "export.json", LABELS)
    assert (len(long.answers), long.unanswered, long.skipped) == (5, 1, 1)
    for short in EXPORTS[1:]:  # Label Studio leaves skipped tasks out of the short forms
        assert len(label_studio.read_export(DATA / short, LABELS).answers) == 5
    assert label_studio.read_export(DATA / "export.csv", LABELS).unanswered == 1


def test_annotator_is_named_only_by_hand(labelling, tmp_path):
    done = command(
        "annotate", "import", DATA / "export.json", "--corpus", labelling, "--annotator", "A. B.", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {annotator for _, _, annotator in rows(labelling / "annotations").values()} == {"A. B."}


def test_a_folder_for_each_annotator_can_be_compared(labelling, tmp_path):
    options = ("--corpus", labelling, "--by-annotator", "--out", "passes")
    done = command("annotate", "import", DATA / "export.json", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / "passes" / f"label_studio_user_{number}" for number in (1, 2))
    assert len(read_pass(first, LABELS)) == 3
    assert len(read_pass(second, LABELS)) == 2
    assert not (labelling / "annotations" / "harbour_visit.csv").exists()
    compared = command("annotate", "agreement", first, second, cwd=tmp_path)
    assert "1 sentences of 1 documents have both; 2 only in the first pass, 1 only in the second" in compared.stdout


def test_import_puts_new_labels_in_place_of_old_ones_and_keeps_the_rest(labelling, tmp_path):
    assert command("annotate", "import", DATA / "export.csv", "--corpus", labelling, cwd=tmp_path).returncode == 0
    table = tmp_path / "corrected.csv"
    table.write_text("sentence_id,finding,themes,annotator\nharbour_visit-002,none,,someone\n")
    done = command("annotate", "import", table, "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(labelling / "annotations") == ANSWERS | {"harbour_visit-002": ("none", "", "someone")}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sentence_id,finding,annotator\nharbour_visit-002,none,someone\n", ":1: no column 'themes'."),
        ("sentence_id,finding,Themes,annotator\nharbour_visit-002,none,,someone\n", ":1: no column 'themes'."),
        (
            "sentence_id,finding,themes,annotator\nharbour_visit-002,none,,a\nharbour_visit-002,concern,,a\n",
            "corrected.csv:3: 'harbour_visit-002' is at ",
        ),
    ],
)
def test_a_plain_table_that_would_lose_labels_is_refused(labelling, tmp_path, table, message):
    assert command("annotate", "import", DATA / "export.csv", "--corpus", labelling, cwd=tmp_path).returncode == 0
    (tmp_path / "corrected.csv").write_text(table)
    done = command("annotate", "import", "corrected.csv", "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert rows(labelling / "annotations") == ANSWERS


@pytest.mark.parametrize("name", EXPORTS[1:])
def test_users_told_by_their_address_keep_it(labelling, tmp_path, name):
    records = (DATA / name).read_text(encoding="utf-8")
    if name.endswith(".csv"):
        table = list(csv.DictReader(records.splitlines()))
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows({**row, "annotator": row["annotator"] and "one@example.org"} for row in table)
    else:
        tasks_ = [{**task, "annotator": "one@example.org"} for task in json.loads(records)]
        (tmp_path / name).write_text(json.dumps(tasks_), encoding="utf-8")
    done = command("annotate", "import", name, "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(labelling / "annotations") == {k: (f, t, "one@example.org") for k, (f, t, _) in ANSWERS.items()}


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "Ann/Bob", ".hidden"])
def test_an_annotator_cannot_lead_out_of_the_folder(labelling, tmp_path, name):
    assert command("annotate", "import", DATA / "export.csv", "--corpus", labelling, cwd=tmp_path).returncode == 0
    (tmp_path / "t.csv").write_text(f"sentence_id,finding,themes,annotator\nharbour_visit-002,none,,{name}\n")
    options = ("--corpus", labelling, "--by-annotator", "--out", "o/p")
    done = command("annotate", "import", "t.csv", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"t.csv:2: the annotator '{name}' cannot name a folder.")
    assert not (tmp_path / "o").exists()


def altered(tmp_path, change):
    """The captured JSON export with `change` applied to its list of tasks."""
    records = json.loads((DATA / "export.json").read_text(encoding="utf-8"))
    change(records)
    path = tmp_path / "altered.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def data(record, **values):
    record["data"].update(values)


def choose(record, number, label):
    record["annotations"][0]["result"][number]["value"]["choices"] = [label]


DAMAGE = {
    "sentence changed": (
        lambda r: data(r[0], sentence="Duty staff never ring."),
        "the sentence of 'harbour_visit-001'",
    ),
    "span moved": (lambda r: data(r[0], start=3), "the span does not match its sentence."),
    "span lost": (
        lambda r: data(r[0], sentence_id="other", start=None),
        "'other' is in no annotation of the corpus and comes without its span",
    ),
    "unknown document": (lambda r: data(r[0], document_id="elsewhere"), "no document 'elsewhere' in the corpus."),
    "path as document": (lambda r: data(r[0], document_id="../../x"), "'../../x' is no document id."),
    "unknown finding": (lambda r: choose(r[0], 0, "praise"), "unknown finding 'praise'. Use one of strength,"),
    "theme twice": (
        lambda r: choose(r[0], 2, "front_door"),
        "themes 'front_door front_door': give at most 3, each once.",
    ),
    "no finding": (
        lambda r: r[0]["annotations"][0]["result"].pop(0),
        "'harbour_visit-001' has no finding. Choose one,",
    ),
    "no task of ours": (lambda r: r[0]["data"].pop("sentence_id"), "not a task of ours (KeyError: 'sentence_id')."),
    "two choices": (
        lambda r: r[0]["annotations"][0]["result"][0]["value"]["choices"].append("none"),
        "not a task of ours (ValueError: too many values to unpack",
    ),
    "overlap": (lambda r: data(r[0], start=48, end=113, sentence_id="other") or r.append(again(r[0])), "overlaps"),
    "no result": (lambda r: r[0]["annotations"][0].pop("result"), "not a task of ours (KeyError: 'result')."),
}


def again(record):
    """The same task under another id."""
    return json.loads(json.dumps(record)) | {"data": record["data"] | {"sentence_id": "twin"}}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told_with_file_and_task_and_changes_nothing(labelling, tmp_path, change, message):
    assert command("annotate", "import", DATA / "export.csv", "--corpus", labelling, cwd=tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in labelling.rglob("*") if path.is_file()}
    path = altered(tmp_path, change)
    done = command("annotate", "import", path, "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:task ")
    assert message in done.stderr
    assert {path: path.read_bytes() for path in labelling.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((DATA / "export.json").read_bytes()[:999], "not a whole JSON file"),
        (b'{"detail": "Authentication credentials were not provided."}', "no list of tasks"),
        (b"[7]", "task 1: not a task of ours"),
        (b"[]", "nothing to import"),
        (b"\xff\xfe", "not a whole JSON file"),
    ],
)
def test_a_file_that_is_no_export_is_refused(labelling, tmp_path, content, message):
    path = tmp_path / "export.json"
    path.write_bytes(content)
    done = command("annotate", "import", path, "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_annotators_that_differ_are_refused_until_settled(labelling, tmp_path):
    path = altered(tmp_path, lambda r: r[2]["annotations"][0]["result"][0]["value"].update(choices=["concern"]))
    done = command("annotate", "import", path, "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 1
    assert "label_studio_user_1 and label_studio_user_2 differ. Import with --by-annotator" in done.stderr
    assert rows(labelling / "annotations") == {}


def test_of_two_answers_of_one_annotator_the_later_counts(labelling, tmp_path):
    def twice(records):
        later = json.loads(json.dumps(records[0]["annotations"][0]))
        later["updated_at"] = "2027-01-01T00:00:00Z"
        later["result"] = later["result"][:1]
        records[0]["annotations"].insert(0, later)

    done = command("annotate", "import", altered(tmp_path, twice), "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(labelling / "annotations")["harbour_visit-001"] == ("strength", "", "label_studio_user_1")


def test_titles_are_taken_for_ids_and_users_as_objects(labelling, tmp_path):
    def titled(records):
        choose(records[0], 1, "Front door")
        records[0]["annotations"][0]["completed_by"] = {"id": 1, "email": "someone@example.org"}

    done = command("annotate", "import", altered(tmp_path, titled), "--corpus", labelling, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(labelling / "annotations") == ANSWERS


def test_import_says_where_to(tmp_path):
    done = command("annotate", "import", DATA / "export.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "give --corpus, --out, or both" in done.stderr
    done = command("annotate", "import", DATA / "export.json", "--out", "labels", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "labels") == ANSWERS


# The real server ----------------------------------------------------------------------------------

EXECUTABLE = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio")
TOKEN = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """A Label Studio server's REST API."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/api"

    def raw(self, path, body=None):
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        payload = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", payload, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()

    def ask(self, path, body=None):
        return json.loads(self.raw(path, body))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not EXECUTABLE:
        pytest.skip("no Label Studio: set LABEL_STUDIO to its executable")
    folder = tmp_path_factory.mktemp("label_studio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = ("--username", "labeller@example.org", "--password", "only-for-this-test", "--user-token", TOKEN)
    options = ("--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), "--enable-legacy-api-token")
    with (folder / "server.log").open("w") as log:
        running = subprocess.Popen(
            [Path(EXECUTABLE).absolute(), "start", *options, *user],
            cwd=folder,
            env=os.environ
            | {
                "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
                "COLLECT_ANALYTICS": "false",
                "LATEST_VERSION_CHECK": "false",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    made = Server(port)
    try:
        for _ in range(600):  # the first start makes the database
            time.sleep(0.5)
            assert running.poll() is None, (folder / "server.log").read_text()
            try:
                made.ask("projects/")
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                continue
        yield made
    finally:
        running.terminate()
        running.wait(timeout=60)


def result(finding, themes):
    """Choices in the form in which the server's own pages submit them."""
    return label_studio.choices(finding, themes.split())


def test_round_trip_through_the_real_server(server, store, tmp_path):
    done = command("annotate", "export", VISIT, "--out", "labelling", cwd=tmp_path, uri=store.uri)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "labelling"
    records = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    config = (folder / "labelling_config.xml").read_text(encoding="utf-8")
    project = server.ask("projects/", {"title": "round trip", "label_config": config})["id"]
    imported = server.ask(f"projects/{project}/import", records)
    assert (imported["task_count"], imported["prediction_count"]) == (6, 6)

    stored = server.ask(f"tasks?project={project}&fields=all&page_size=100")["tasks"]
    by_sentence = {task["data"]["sentence_id"]: task for task in stored}
    for record in records:
        task = by_sentence[record["data"]["sentence_id"]]
        assert task["data"] == record["data"]
        (kept,), (sent,) = task["predictions"], record["predictions"]
        assert {key: kept[key] for key in ("model_version", "score", "result")} == sent
    # What a labeller is shown next comes with the prediction of the version that the project shows.
    assert server.ask(f"projects/{project}/")["model_version"] == "findings version 1"
    assert len(server.ask(f"projects/{project}/next")["predictions"]) == 1

    for sentence_id, (finding, themes, _) in ANSWERS.items():
        server.ask(f"tasks/{by_sentence[sentence_id]['id']}/annotations/", {"result": result(finding, themes)})
    skipped = by_sentence["harbour_visit-005"]["id"]
    server.ask(f"tasks/{skipped}/annotations/", {"result": [], "was_cancelled": True})

    expected = {sentence_id: (*labels, "label_studio_user_1") for sentence_id, (*labels, _) in ANSWERS.items()}
    for form, name in (("JSON", "a.json"), ("JSON_MIN", "b.json"), ("CSV", "c.csv")):
        (tmp_path / name).write_bytes(server.raw(f"projects/{project}/export?exportType={form}"))
        copy = shutil.copytree(folder, tmp_path / form)
        done = command("annotate", "import", tmp_path / name, "--corpus", copy, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert rows(copy / "annotations") == expected
        assert list(check_spans(read_corpus(copy))) == []


def test_the_real_server_takes_a_blind_corpus(server, store, tmp_path):
    done = command("annotate", "export", "--corpus", store.corpus, "--blind", "--out", "blind", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "blind" / "labelling_config.xml").read_text(encoding="utf-8")
    project = server.ask("projects/", {"title": "blind pass", "label_config": config})["id"]
    records = json.loads((tmp_path / "blind" / "tasks.json").read_text(encoding="utf-8"))
    assert server.ask(f"projects/{project}/import", records)["task_count"] == len(records)
    own = {a.sentence_id: a for a in read_corpus(store.corpus).annotations}
    for task in server.ask(f"tasks?project={project}&fields=all&page_size=1000")["tasks"]:
        a = own[task["data"]["sentence_id"]]
        body = {"result": result(a.finding, " ".join(a.themes))}
        server.ask(f"tasks/{task['id']}/annotations/", body)
    (tmp_path / "export.json").write_bytes(server.raw(f"projects/{project}/export?exportType=JSON"))
    options = ("--corpus", store.corpus, "--out", "second", "--annotator", "author")
    done = command("annotate", "import", "export.json", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (store.corpus / "annotations").glob("*.csv"):
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes()
