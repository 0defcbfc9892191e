import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from findings import serving, taxonomy
from findings.errors import FindingsError

LABELS = taxonomy.load()
FORMS = {
    "both columns": pd.DataFrame({"sentence": ["Plans drift."] * 2, "heading": ["Plans", "Plans"]}),
    "no heading": pd.DataFrame({"sentence": ["Plans drift."] * 2}),
    "a null heading": pd.DataFrame({"sentence": ["Plans drift."] * 2, "heading": ["Plans", None]}),
    "only null headings": pd.DataFrame({"sentence": ["Plans drift."] * 2, "heading": [None, None]}),
    "records": [{"sentence": "Plans drift."}, {"sentence": "Plans drift.", "heading": "Plans"}],
    "a dict of lists": {"sentence": ["Plans drift."] * 2, "heading": ["", "Plans"]},
    "more columns": pd.DataFrame({"sentence": ["Plans drift."] * 2, "id": [1, 2]}),
}


@pytest.fixture(scope="module")
def pyfunc(store):
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    return mlflow.pyfunc.load_model("models:/findings@champion")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_answered_as_the_contract_says(pyfunc, form):
    out = pyfunc.predict(FORMS[form])
    assert list(out.columns) == list(serving.COLUMNS)
    assert len(out) == 2
    for row in out.itertuples():
        assert row.finding in LABELS.finding_ids
        assert row.finding_probability == pytest.approx(max(row.finding_probabilities.values()), abs=1e-5)
        assert sum(row.finding_probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert set(row.finding_probabilities) == set(LABELS.finding_ids)
        assert set(row.theme_probabilities) == set(LABELS.theme_ids)
        assert set(row.themes) <= set(LABELS.theme_ids)
        assert len(row.themes) <= 3
        shares = [row.theme_probabilities[theme] for theme in row.themes]
        assert shares == sorted(shares, reverse=True)


def test_a_heading_may_change_the_answer_and_a_null_is_like_none(pyfunc):
    sentence = "The timeliness of visits."
    frame = pd.DataFrame({"sentence": [sentence] * 3, "heading": ["What needs to improve", None, ""]})
    under, null, empty = (row.finding_probabilities for row in pyfunc.predict(frame).itertuples())
    assert under["recommendation"] > null["recommendation"]
    assert null == empty


def test_a_null_sentence_is_refused_by_its_row(pyfunc):
    with pytest.raises(MlflowException, match="row 2: the sentence is null"):
        pyfunc.predict(pd.DataFrame({"sentence": ["Plans drift.", None]}))


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("one", 1),
        (["one", "two"], 2),
        (np.array(["one", "two"]), 2),
        (pd.Series(["one"]), 1),
        ([], 0),
        (pd.DataFrame({"sentence": [], "heading": []}), 0),
        ({"sentence": "one", "heading": "h"}, 1),
        (pd.DataFrame({"sentence": [["one", "two"]]}), 2),
    ],
)
def test_inputs_takes_lists_and_frames(data, rows):
    sentences, headings = serving.inputs(data)
    assert len(sentences) == len(headings) == rows


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (5, "list of strings"),
        ([5], "row 1: the sentence is not text"),
        ([{"sentence": "a"}, "b"], "row 2: not an object"),
        ({"text": ["a"]}, "no column 'sentence'"),
        ({"sentence": ["a", "b"], "heading": ["c"]}, "2 sentences but 1 headings"),
        (pd.DataFrame({"sentence": ["a"], "heading": [3]}), "row 1: the heading is not text"),
    ],
)
def test_inputs_refuses_with_one_line(data, words):
    with pytest.raises(FindingsError) as refusal:
        serving.inputs(data)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_logged_model_holds_no_pickle(pyfunc, store, tmp_path):
    uri = f"models:/{pyfunc.metadata.model_id}"
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(tmp_path)))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"MLmodel", "model.json", "tfidf.skops", "serving_model.py"} <= {path.name for path in files}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".pt", ".bin"), path
        assert not _is_pickle(path.read_bytes()), path
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    assert not _is_pickle(archive.read(name)), f"{path}: {name}"
    assert "python_model" not in (folder / "MLmodel").read_text().replace("python_model_code", "")


def _is_pickle(data):
    """Protocol 2 and later begin with a PROTO opcode; an .npy of objects holds one after its header."""
    return (data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05") or b"'|O'" in data[:256]


def test_the_model_has_schema_and_example(pyfunc):
    assert pyfunc.metadata.get_input_schema().input_names() == ["sentence", "heading"]
    assert pyfunc.metadata.get_input_schema().required_input_names() == ["sentence"]
    assert pyfunc.metadata.get_output_schema().input_names() == list(serving.COLUMNS)
    assert pyfunc.input_example is not None


def test_plain_mlflow_refuses_a_bare_list_before_the_model_sees_it(pyfunc):
    # Its schema check knows columns only; `findings serve` and `Model.predict` take a list of strings.
    with pytest.raises(MlflowException, match="missing inputs"):
        pyfunc.predict(["Plans drift."])
