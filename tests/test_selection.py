import csv
import json

import numpy as np
import pytest
from conftest import command

from findings import selection
from findings.models import Predictions
from findings.sentences import fingerprint


def predictions(findings, themes):
    return Predictions(np.array(findings), np.array(themes), np.array(themes) > 0.5)


def test_uncertainty_is_highest_where_nothing_is_known():
    unsure, sure = [0.25] * 4, [0.97, 0.01, 0.01, 0.01]
    given = predictions([unsure, sure, unsure, sure], [[0.5] * 3, [0.5] * 3, [0.01] * 3, [0.01] * 3])
    assert selection.finding_uncertainty(given) == pytest.approx([1, 0.121, 1, 0.121], abs=0.001)
    assert selection.theme_uncertainty(given) == pytest.approx([1, 1, 0.081, 0.081], abs=0.001)
    assert list(np.argsort(-selection.uncertainty(given))) == [0, 2, 1, 3]


def test_certain_probabilities_have_no_uncertainty():
    given = predictions([[1.0, 0.0]], [[0.0, 1.0]])
    assert selection.uncertainty(given) == pytest.approx([0], abs=1e-6)


TOPICS = (
    "foster carers placements adoption",
    "school attendance tuition exclusion",
    "audit dashboards performance complaints",
    "duty referrals thresholds consent",
)
TEXTS = [
    f"{start} {topic} {end}."
    for topic in TOPICS
    for start, end in (("Late", "again"), ("Good", "now"), ("Nobody measures", "yet"))
]


def test_picks_the_most_uncertain_first_and_none_twice():
    uncertain = np.linspace(1, 0, len(TEXTS))
    chosen = selection.choose(TEXTS, uncertain, 4)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 4
    assert chosen[0] == 0


def test_picks_are_spread_over_the_topics():
    uncertain = np.repeat([1.0, 0.9, 0.8, 0.7], 3)  # by uncertainty alone, three of the first topic and one more
    assert {i // 3 for i in selection.choose(TEXTS, uncertain, 4)} == {0, 1, 2, 3}


def test_neither_known_nor_nearly_known_sentences_are_picked():
    long = (
        "Social workers visit every child at home within five working days of the first call to the team, and "
        "they write down what the child says about home, school, friends and the people who matter."
    )
    texts = [long, long.replace("matter", "count"), long.upper(), "Nothing else is known of the harbour office."]
    uncertain = np.array([0.9, 1.0, 0.8, 0.1])
    assert selection.choose(texts, uncertain, 4) == [1, 3]
    assert selection.choose(texts, uncertain, 4, known=[long]) == [3]
    assert selection.choose(texts[:1], uncertain[:1], 4, known=[long]) == []


def test_boilerplate_does_not_use_up_the_picks():
    often = "This visit was carried out under the framework in force."
    picks = selection.choose([*[often] * 120, *TEXTS], np.linspace(1, 0, 120 + len(TEXTS)), 5)
    assert len(picks) == 5
    assert picks[0] == 0
    assert min(picks[1:]) >= 120


def test_what_is_labelled_by_its_fingerprint_alone_is_not_picked():
    uncertain = np.linspace(1, 0, len(TEXTS))
    chosen = selection.choose(TEXTS, uncertain, len(TEXTS), prints={fingerprint(TEXTS[0].upper())})
    assert chosen == list(range(1, len(TEXTS)))


def test_same_input_same_picks():
    uncertain = np.linspace(0, 1, len(TEXTS))
    assert selection.choose(TEXTS, uncertain, 5) == selection.choose(TEXTS, uncertain, 5)


def test_queue_command_picks_new_sentences_and_export_takes_them(store, tmp_path):
    pile = tmp_path / "pile"
    pile.mkdir()
    known = (store.corpus / "documents").glob("*.txt")
    (pile / "known.txt").write_text(next(known).read_text(encoding="utf-8"), encoding="utf-8")
    (pile / "new.md").write_text("# Visit\n\n" + "\n\n".join(TEXTS) + "\n", encoding="utf-8")
    options = ("--corpus", store.corpus, "-n", "5", "--out", "queue.csv")
    done = command("annotate", "queue", pile, *options, cwd=tmp_path, uri=store.uri)
    assert done.returncode == 0, done.stderr
    assert "queue.csv: 5 of" in done.stdout
    with (tmp_path / "queue.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["document_id"] for row in rows} == {"new"}
    assert {row["fingerprint"] for row in rows} <= {fingerprint(text) for text in TEXTS}
    scores = [float(row["uncertainty"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    done = command("annotate", "export", "queue.csv", "--out", "labelling", cwd=tmp_path, uri=store.uri)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "labelling" / "tasks.json").read_text(encoding="utf-8"))
    assert [r["data"]["sentence_id"] for r in records] == [row["sentence_id"] for row in rows]


def test_queue_command_names_what_is_wrong(store, tmp_path):
    (tmp_path / "a.txt").write_text("Plans drift for too many children.")
    none = command("annotate", "queue", "a.txt", "--out", "q.csv", "-n", "0", cwd=tmp_path, uri=store.uri)
    assert none.returncode == 1
    assert "-n 0: give 1 or more." in none.stderr
    lost = command("annotate", "queue", "b.txt", "--out", "q.csv", cwd=tmp_path, uri=store.uri)
    assert lost.returncode == 1
    assert "b.txt: no such file or folder" in lost.stderr
    assert not (tmp_path / "q.csv").exists()
