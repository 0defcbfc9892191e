import json

import pytest
import words

from findings import forms
from findings.errors import Refused

JSON = "application/json"
ONE = forms.Rows(["Plans drift."], [""])
TWO = forms.Rows(["Plans drift.", "Visits are late."], ["Plans", ""])


def read(body, content_type=JSON, **limits):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return forms.read(data, content_type, **limits)


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"dataframe_split": {"columns": ["sentence"], "data": [["Plans drift."]]}}, ONE),
        (
            {
                "dataframe_split": {
                    "index": [7, 8],
                    "columns": ["id", "heading", "sentence"],
                    "data": [[1, "Plans", "Plans drift."], [2, None, "Visits are late."]],
                }
            },
            TWO,
        ),
        (
            {
                "dataframe_records": [
                    {"sentence": "Plans drift.", "heading": "Plans"},
                    {"sentence": "Visits are late.", "n": 1},
                ]
            },
            TWO,
        ),
        ({"inputs": ["Plans drift."]}, ONE),
        ({"inputs": "Plans drift."}, ONE),
        ({"inputs": {"sentence": ["Plans drift.", "Visits are late."], "heading": ["Plans", None]}}, TWO),
        ({"inputs": {"sentence": "Plans drift."}}, ONE),
        ({"instances": [{"sentence": "Plans drift."}]}, ONE),
        ({"instances": ["Plans drift."], "params": {}, "signature_name": "x"}, ONE),
        ({"instances": ["Plans drift."], "params": None}, ONE),
        ({"dataframe_records": [{"sentence": "Plans drift.", "heading": float("nan")}]}, ONE),
        ({"inputs": []}, forms.Rows([], [])),
        ({"dataframe_split": {"columns": [], "data": []}}, None),
        ("\ufeff".encode() + json.dumps({"inputs": ["Plans drift."]}).encode(), ONE),
    ],
)
def test_mlflows_json_forms(body, rows):
    if rows is None:
        with pytest.raises(Refused, match="no column 'sentence'"):
            read(body)
    else:
        assert read(body) == rows


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("sentence\nPlans drift.\n", ONE),
        ('heading,sentence\r\nPlans,Plans drift.\r\n\r\n"",Visits are late.\r\n', TWO),
        (",sentence\n0,Plans drift.\n", ONE),
        ('sentence\n"Two\nlines, ""quoted"""\n', forms.Rows(['Two\nlines, "quoted"'], [""])),
        ("sentence\n", forms.Rows([], [])),
    ],
)
def test_csv(body, rows):
    assert read(body.encode(), "text/csv; charset=UTF-8") == rows


S = "Plans drift."
REFUSED = {
    "no content type": (415, {"inputs": [S]}, None),
    "a form's content type": (415, {"inputs": [S]}, "application/x-www-form-urlencoded"),
    "another charset": (415, {"inputs": [S]}, "application/json; charset=latin-1"),
    "an unknown parameter": (415, {"inputs": [S]}, "application/json; profile=x"),
    "not UTF-8": (400, b'{"inputs": ["\xff"]}', JSON),
    "UTF-16": (400, '{"inputs": ["x"]}'.encode("utf-16"), JSON),
    "torn": (400, b'{"inputs": ["a', JSON),
    "empty": (400, b"", JSON),
    "a list": (400, [S], JSON),
    "a number": (400, b"1", JSON),
    "two forms": (400, {"inputs": [S], "instances": [S]}, JSON),
    "no form": (400, {"sentences": [S]}, JSON),
    "a key twice": (400, b'{"inputs": ["a"], "inputs": ["b"]}', JSON),
    "a key twice in a row": (400, b'{"inputs": [{"sentence": "a", "sentence": "b"}]}', JSON),
    "params of another kind": (400, {"inputs": [S], "params": [1]}, JSON),
    "deep": (400, b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON),
    "deep objects": (400, b'{"a":' * 50_000, JSON),
    "a long number": (400, b'{"inputs": [' + b"9" * 10_000 + b"]}", JSON),
    "a huge exponent": (400, b'{"inputs": [1e999999999]}', JSON),
    "infinity": (400, b'{"inputs": [Infinity]}', JSON),
    "no number": (400, b'{"inputs": [NaN]}', JSON),
    "null": (400, {"inputs": None}, JSON),
    "a null row": (400, {"inputs": [S, None]}, JSON),
    "a null sentence": (400, {"dataframe_records": [{"sentence": None}]}, JSON),
    "a row without sentence": (400, {"inputs": [{"sentence": S}, {"heading": "a"}]}, JSON),
    "rows of strings and objects": (400, {"inputs": [{"sentence": S}, S]}, JSON),
    "objects after strings": (400, {"inputs": [S, {"sentence": S}]}, JSON),
    "a list as sentence": (400, {"inputs": [[S], [S]]}, JSON),
    "a number as heading": (400, {"inputs": [{"sentence": S, "heading": 3}]}, JSON),
    "true as sentence": (400, {"inputs": [True]}, JSON),
    "records of strings": (400, {"dataframe_records": [S]}, JSON),
    "records as object": (400, {"dataframe_records": {"sentence": S}}, JSON),
    "split without data": (400, {"dataframe_split": {"columns": ["sentence"]}}, JSON),
    "split as list": (400, {"dataframe_split": [S]}, JSON),
    "a short row": (400, {"dataframe_split": {"columns": ["sentence", "heading"], "data": [[S]]}}, JSON),
    "a row that is none": (400, {"dataframe_split": {"columns": ["sentence"], "data": [S]}}, JSON),
    "a column twice": (400, {"dataframe_split": {"columns": ["sentence", "sentence"], "data": [[S, S]]}}, JSON),
    "columns that are none": (400, {"dataframe_split": {"columns": [["sentence"], {}], "data": [[S, S]]}}, JSON),
    "uneven columns": (400, {"inputs": {"sentence": [S, S], "heading": ["a"]}}, JSON),
    "half a surrogate pair": (400, b'{"inputs": ["a \\ud800 b"]}', JSON),
    "half a pair in a heading": (400, b'{"inputs": [{"sentence": "a", "heading": "\\udfff"}]}', JSON),
    "too many rows": (413, {"inputs": [S] * 6}, JSON),
    "too many columns' rows": (413, {"inputs": {"sentence": [S] * 6}}, JSON),
    "too many split rows": (413, {"dataframe_split": {"columns": ["sentence"], "data": [[S]] * 6}}, JSON),
    "too many lines": (413, b"sentence\n" + b"a\n" * 6, "text/csv"),
    "a long sentence": (413, {"inputs": ["x" * (forms.MAX_CHARACTERS + 1)]}, JSON),
    "a long heading": (413, {"inputs": [{"sentence": S, "heading": "x" * (forms.MAX_CHARACTERS + 1)}]}, JSON),
    "CSV without a header": (400, b"", "text/csv"),
    "CSV without the column": (400, b"text\na\n", "text/csv"),
    "CSV with an open quote": (400, b'sentence\n"a\n', "text/csv"),
    "CSV with a field too many": (400, b"sentence\na,b\n", "text/csv"),
    "CSV with an endless field": (400, b"sentence\n" + b"x" * 200_000, "text/csv"),
    "CSV that is binary": (400, b"\x00\x01\xfe", "text/csv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_client_gets_wrong_is_told_in_one_short_sentence(case):
    status, body, content_type = REFUSED[case]
    with pytest.raises(Refused) as refusal:
        read(body, content_type, max_rows=5)
    assert refusal.value.status == status
    message = str(refusal.value)
    assert message.endswith(".")
    assert len(message) < 160
    assert "\n" not in message


def test_an_answer_has_a_row_a_sentence():
    model = words.model()
    sentences = ["Leaders are good.", "Visits are late."]
    first, second = forms.answers(model, model.predict(sentences))
    assert list(first) == list(forms.COLUMNS)
    assert (first["finding"], first["themes"]) == ("strength", ["leadership"])
    assert (second["finding"], second["themes"]) == ("concern", [])
    assert first["finding_probability"] == pytest.approx(first["finding_probabilities"]["strength"], abs=1e-6)
    json.dumps([first, second])


def test_no_sentences_no_rows():
    model = words.model()
    assert forms.answers(model, model.predict([])) == []
