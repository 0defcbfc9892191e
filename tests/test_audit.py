import csv
import json

import numpy as np
import pytest
from conftest import SMALL, command

from findings import audit, config, models, taxonomy
from findings.annotations import InvalidCorpusError
from findings.errors import FindingsError
from findings.models import Predictions

LABELS = taxonomy.load()
SETTINGS = dict(config.load(SMALL).model)


@pytest.fixture(scope="module")
def rows(corpus):
    return audit.read_rows(corpus, LABELS)


@pytest.fixture(scope="module")
def predictions(rows):
    return audit.out_of_fold(rows, SETTINGS, LABELS, folds=4)


def sure(rows, share=0.94):
    """Predictions that agree with every label."""
    truth = models.examples(rows, LABELS)
    rest = (1 - share) / (len(LABELS.findings) - 1)
    findings = np.full((len(rows), len(LABELS.findings)), rest)
    findings[np.arange(len(rows)), truth.findings] = share
    return Predictions(findings, np.where(truth.themes, share, 1 - share), truth.themes)


def test_predictions_agree_with_sound_labels_and_no_label_is_suspected(rows):
    assert audit.suspects(rows, sure(rows), LABELS) == []


def test_a_changed_finding_is_found_with_its_reason(rows):
    given = sure(rows)
    wrong = rows.copy()
    at = int(np.flatnonzero(rows["finding"] == "strength")[0])
    wrong.loc[at, "finding"] = "concern"
    (found,) = audit.suspects(wrong, given, LABELS)
    assert (found.row, found.label, found.given, found.suggested) == (at, "finding", "concern", "strength")
    assert found.reason == "Models trained on other authorities take it for strength, not concern (94% against 2%)."


@pytest.mark.parametrize(
    ("themes", "given", "words"),
    [
        (lambda own: [], "not given", "miss the theme {theme} (94% against 6%)."),
        (lambda own: [*own, "voice"], "given", "do not see the theme voice in it (94% against 6%)."),
    ],
)
def test_a_missing_and_a_needless_theme_are_found(rows, themes, given, words):
    at = next(i for i, own in enumerate(rows["themes"]) if len(own) == 1 and own != ["voice"])
    own = rows["themes"][at]
    wrong = rows.copy()
    wrong.at[at, "themes"] = themes(own)
    (found,) = audit.suspects(wrong, sure(rows), LABELS)
    assert (found.row, found.given) == (at, given)
    assert found.reason.endswith(words.format(theme=own[0]))


def test_the_likeliest_come_first_findings_before_themes(rows, predictions):
    found = audit.suspects(rows.assign(finding=rows["finding"][::-1].to_numpy()), predictions, LABELS)
    parts = [[s for s in found if (s.label == "finding") == first] for first in (True, False)]
    assert found == parts[0] + parts[1]
    assert parts[0]
    for part in parts:
        margins = [s.suggested_probability - s.given_probability for s in part]
        assert margins == sorted(margins, reverse=True)


def test_nothing_about_a_sentence_comes_from_its_own_authority(rows, predictions):
    """Labels of an authority turned round change nothing in the predictions for it."""
    # The fold that calibrates is another authority's too, so this holds of the whole procedure.
    where = (rows["authority"] == rows["authority"][0]).to_numpy()
    turned = rows.copy()
    turned["finding"] = np.where(where, "none", rows["finding"])
    again = audit.out_of_fold(turned, SETTINGS, LABELS, folds=4)
    assert np.array_equal(again.finding_probabilities[where], predictions.finding_probabilities[where])
    assert not np.array_equal(again.finding_probabilities[~where], predictions.finding_probabilities[~where])


def test_probabilities_are_whole(rows, predictions):
    assert predictions.finding_probabilities.shape == (len(rows), len(LABELS.findings))
    assert predictions.finding_probabilities.sum(axis=1) == pytest.approx(1)
    assert ((predictions.theme_probabilities > 0) & (predictions.theme_probabilities < 1)).all()


def test_too_few_authorities_are_refused(rows):
    with pytest.raises(FindingsError, match="2 authorities in 5 folds"):
        audit.out_of_fold(rows[rows["authority"].isin(rows["authority"].unique()[:2])], SETTINGS, LABELS)


LINE = {"id": "a", "local_authority": "Testbury", "sentence": "Plans drift.", "finding": "concern", "themes": ["voice"]}


def test_rows_of_a_jsonl_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    other = {"sentence_id": "b", "authority": "Mockshire", "heading": None, "list_item": True} | LINE
    path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(other)}\n", encoding="utf-8")
    found = audit.read_rows(path, LABELS)
    assert found["sentence_id"].tolist() == ["a", "b"]
    assert found["authority"].tolist() == ["Testbury", "Mockshire"]
    assert found["heading"].tolist() == ["", ""]
    assert found["place"].tolist() == [f"{path}:1", f"{path}:3"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (json.dumps(LINE)[:20], "not a labelled sentence (JSONDecodeError"),
        (json.dumps({k: v for k, v in LINE.items() if k != "themes"}), "not a labelled sentence (KeyError: 'themes')"),
        (json.dumps(LINE | {"finding": "praise"}), "unknown label 'praise'"),
        (json.dumps(LINE | {"themes": ["voice", "parking"]}), "unknown label 'parking'"),
        ("[]", "not a labelled sentence"),
    ],
)
def test_a_line_that_is_no_labelled_sentence_is_named(tmp_path, line, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidCorpusError) as caught:
        audit.read_rows(path, LABELS)
    assert str(caught.value).startswith(f"{path}:2: {message}")


def test_signs_that_end_a_line_in_print_end_none_in_a_file(tmp_path):
    path = tmp_path / "x.jsonl"
    said = "Plans drift\u2028and stall\u0085again."
    line = {"authority": "A", "sentence": said, "finding": "concern", "themes": []}
    path.write_text(json.dumps(line, ensure_ascii=False) + "\r\n" + json.dumps(line) + "\n", encoding="utf-8")
    assert audit.read_rows(path, LABELS)["sentence"].tolist() == [said, said]


def test_a_file_without_sentences_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n")
    with pytest.raises(FindingsError, match=r"x\.jsonl: no sentence in it"):
        audit.read_rows(path, LABELS)


def test_audit_command_writes_what_is_to_be_judged(corpus, tmp_path):
    done = command("annotate", "audit", "--corpus", corpus, "--out", "out/audit.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sentences are suspected" in done.stdout
    with (tmp_path / "out" / "audit.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == list(audit.COLUMNS)
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    missing = command("annotate", "audit", "--corpus", "nowhere.jsonl", cwd=tmp_path)
    assert missing.returncode == 1
    assert "nowhere.jsonl: No such file or directory." in missing.stderr
