import json
import math

import numpy as np
import pytest
from conftest import command
from corpora import Paper, append, change, drop_column, write
from sklearn.metrics import cohen_kappa_score, f1_score

from findings import agreement, taxonomy
from findings.annotations import InvalidCorpusError, Vote, read_corpus, read_pass, write_pass
from findings.errors import FindingsError

LABELS = taxonomy.load()
FINDINGS, THEMES = LABELS.finding_ids, LABELS.theme_ids


def votes(rng, documents=6, each=20):
    """A pass of random labels: up to three themes, every finding."""
    return tuple(
        Vote(
            f"d{d}-{i}",
            f"d{d}",
            str(rng.choice(FINDINGS)),
            tuple(str(t) for t in rng.choice(THEMES, rng.integers(0, 4), replace=False)),
            "someone",
            "",
            f"d{d}.csv:{i + 2}",
        )
        for d in range(documents)
        for i in range(each)
    )


def altered(given, rng, share=0.3):
    """The same pass with the labels of a share of the sentences drawn anew."""
    new = votes(rng)
    return tuple(n if rng.random() < share else g for g, n in zip(given, new, strict=True))


def vote(number, finding="none", themes="", document="d"):
    return Vote(f"{document}-{number}", document, finding, tuple(themes.split()), "someone", "", f"{document}.csv:2")


def test_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    first = votes(rng)
    second = altered(first, rng)
    found = agreement.measure(first, second, LABELS)
    a, b = ([v.finding for v in part] for part in (first, second))
    assert found.figures["finding_kappa"].value == pytest.approx(cohen_kappa_score(a, b))
    assert found.figures["finding_agreement"].value == pytest.approx(
        np.mean([x == y for x, y in zip(a, b, strict=True)])
    )
    x, y = (np.array([[t in v.themes for t in THEMES] for v in part]) for part in (first, second))
    assert found.figures["themes_micro_f1"].value == pytest.approx(f1_score(x, y, average="micro"))
    for i, theme in enumerate(found.themes):
        assert theme.kappa.value == pytest.approx(cohen_kappa_score(x[:, i], y[:, i]))
        assert (theme.first, theme.second, theme.both) == (x[:, i].sum(), y[:, i].sum(), (x[:, i] & y[:, i]).sum())
    assert found.confusion.sum() == found.sentences == 120
    assert found.confusion[0, 1] == sum(p == (FINDINGS[0], FINDINGS[1]) for p in zip(a, b, strict=True))


def test_intervals_hold_the_value_and_widen_with_fewer_documents():
    rng = np.random.default_rng(2)
    first = votes(rng)
    second = altered(first, rng)
    many = agreement.measure(first, second, LABELS).figures
    for figure in many.values():
        assert figure.low < figure.value < figure.high
    few = agreement.measure(first[:40], second, LABELS)
    assert (few.documents, few.sentences, few.only_second) == (2, 40, 80)


def test_one_pass_agrees_with_itself_and_swapping_changes_nothing():
    rng = np.random.default_rng(3)
    first = votes(rng)
    second = altered(first, rng)
    assert agreement.measure(first, first, LABELS).figures["finding_kappa"].value == 1
    there, back = agreement.measure(first, second, LABELS), agreement.measure(second, first, LABELS)
    assert there.figures == back.figures
    assert (there.confusion == back.confusion.T).all()


def test_primary_theme_counts_where_either_gave_a_theme():
    first = (vote(1, themes="voice workforce"), vote(2, themes="voice"), vote(3), vote(4, themes="early_help"))
    second = (vote(1, themes="voice"), vote(2, themes="workforce voice"), vote(3), vote(4))
    assert agreement.measure(first, second, LABELS).figures["primary_theme_agreement"].value == pytest.approx(1 / 3)


def test_kappa_is_not_defined_where_both_gave_one_label_only(tmp_path):
    same = (vote(1), vote(2))
    found = agreement.measure(same, same, LABELS)
    assert math.isnan(found.figures["finding_kappa"].value)
    assert "| finding_kappa | not defined |" in agreement.markdown(found)
    agreement.write(tmp_path / "a.json", found)
    assert json.loads((tmp_path / "a.json").read_text())["figures"]["finding_kappa"] == [None, None, None]


def test_passes_without_a_common_sentence_are_refused():
    with pytest.raises(FindingsError, match="no sentence in common"):
        agreement.measure((vote(1),), (vote(2),), LABELS)


def test_kinds_are_told_apart():
    first = (vote(1, "strength"), vote(2, "concern"), vote(1, "strength", document="e"), vote(2, "none", document="e"))
    second = (*first[:3], vote(2, "strength", document="e"))
    found = agreement.measure(first, second, LABELS, {"d": "news", "e": "minutes"})
    assert [(k.kind, k.sentences, k.figures["finding_agreement"].value) for k in found.kinds] == [
        ("minutes", 2, 0.5),
        ("news", 2, 1.0),
    ]
    assert found.as_dict()["kinds"]["minutes"]["finding_agreement"][0] == 0.5
    assert "| minutes | 2 | finding_agreement | 0.500" in agreement.markdown(found)


def test_disagreements_say_in_what():
    first = (
        vote(1, "strength", "voice workforce"),
        vote(2, "none", "voice"),
        vote(3, "none"),
        vote(4, "concern", "voice"),
    )
    second = (
        vote(1, "strength", "workforce voice"),
        vote(2, "none", "voice early_help"),
        vote(3, "none"),
        vote(4, "strength"),
    )
    found = agreement.disagreements(first, second)
    assert [(pair[0].sentence_id, differs) for pair, differs in found] == [
        ("d-1", "primary theme"),
        ("d-2", "themes"),
        ("d-4", "finding and themes"),
    ]


# Passes on disk and the commands ------------------------------------------------------------------

PAPERS = (
    Paper(
        "Examplemoor",
        "train",
        (
            ("Visits to children happen on time.", "strength", "assessment_planning"),
            ("Plans are too long for parents to follow.", "concern", "assessment_planning voice"),
            ("Record the reason for every decision.", "recommendation", "management_oversight"),
        ),
    ),
    Paper("Draftley", "validation", (("The meeting began at six.", "none", ""),), kind="minutes", ending="txt"),
)


@pytest.fixture
def corpus(tmp_path):
    """A corpus with a first pass (its own labels) and a second that differs in one sentence."""
    folder = write(tmp_path / "corpus", PAPERS)
    first = read_pass(folder / "annotations", LABELS)
    write_pass(folder / "passes" / "first", first)
    write_pass(folder / "passes" / "second", first)
    name = f"{PAPERS[0].document_id}.csv"
    change(folder / "passes" / "second" / name, 3, finding="recommendation", themes="voice", annotator="reader")
    return folder


def test_a_pass_comes_back_as_it_was_written(corpus):
    written = read_pass(corpus / "passes" / "first", LABELS)
    own = {a.sentence_id: (a.finding, a.themes, a.annotator) for a in read_corpus(corpus).annotations}
    assert {v.sentence_id: (v.finding, v.themes, v.annotator) for v in written} == own


def test_a_pass_may_hold_a_reason(tmp_path):
    given = vote(1, "concern", "voice")
    write_pass(tmp_path / "p", [Vote(**{**vars(given), "reason": 'the main clause, not the "although"'})])
    (found,) = read_pass(tmp_path / "p", LABELS)
    assert found.reason == 'the main clause, not the "although"'


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"finding": "praise"}, "unknown finding 'praise'"),
        ({"themes": "voice parking"}, "unknown theme 'parking'"),
        ({"annotator": ""}, "no annotator"),
    ],
)
def test_a_wrong_label_in_a_pass_is_told_with_file_and_row(corpus, cells, message):
    file = corpus / "passes" / "second" / f"{PAPERS[0].document_id}.csv"
    change(file, 4, **cells)
    with pytest.raises(InvalidCorpusError) as caught:
        read_pass(file.parent, LABELS)
    assert str(caught.value).startswith(f"{file}:4: {message}")


def test_a_pass_that_is_torn_double_or_not_there_is_refused(corpus, tmp_path):
    with pytest.raises(FindingsError, match="nowhere: no such folder"):
        read_pass(tmp_path / "nowhere", LABELS)
    file = corpus / "passes" / "second" / f"{PAPERS[0].document_id}.csv"
    drop_column(corpus / "passes" / "first" / file.name, "annotator")
    with pytest.raises(FindingsError, match="no column 'annotator'"):
        read_pass(corpus / "passes" / "first", LABELS)
    append(file, (f"{PAPERS[0].document_id}-001", "none", "", "reader", ""))
    with pytest.raises(InvalidCorpusError, match="is not unique"):
        read_pass(file.parent, LABELS)


def test_agreement_command_prints_figures_and_writes_them(corpus, tmp_path):
    passes = corpus / "passes"
    for name in ("figures.json", "figures.md"):
        out = tmp_path / "out" / name
        done = command("annotate", "agreement", passes / "first", passes / "second", "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "4 sentences of 2 documents have both" in done.stdout
        assert "finding_kappa" in done.stdout
        assert out.is_file()
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["figures"]["finding_agreement"][0] == 0.75
    assert "| finding_agreement | 0.750" in (tmp_path / "out" / "figures.md").read_text()
    wrong = command("annotate", "agreement", passes / "first", passes / "second", "--out", "a.txt", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "ends in .json or .md" in wrong.stderr


def test_disagreements_command_lists_sentence_heading_and_both_labels(corpus, tmp_path):
    passes = corpus / "passes"
    done = command("annotate", "disagreements", passes / "first", passes / "second", "--out", "d.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heads, row = (tmp_path / "d.csv").read_text(encoding="utf-8").splitlines()
    assert heads.startswith("sentence_id,document_id,differs,heading,sentence,first_finding")
    assert row.endswith(
        "finding and themes,Main findings,Plans are too long for parents to follow.,"
        "concern,assessment_planning voice,recommendation,voice,,,,"
    )
    assert "1 of 4 sentences to decide" in done.stdout
