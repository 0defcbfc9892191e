import csv
import json
from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from findings import piles
from findings.errors import FindingsError

COUNT = piles.ROWS * 2 + 7
SENTENCES = [
    f"Plan {number} drifts, “too” slowly.\nAnd on." if number % 3 else f"Plan {number}." for number in range(COUNT)
]
HEADINGS = ["Leaders", "", "What needs to improve"]


def as_csv(folder):
    with (folder / "pile.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["urn", "sentence", "heading"])
        writer.writerows([f"{n:05}", text, HEADINGS[n % 3]] for n, text in enumerate(SENTENCES))
    return folder / "pile.csv"


def as_jsonl(folder):
    rows = ({"urn": f"{n:05}", "sentence": text, "heading": HEADINGS[n % 3]} for n, text in enumerate(SENTENCES))
    (folder / "pile.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")
    return folder / "pile.jsonl"


def table():
    return pa.table(
        {
            "urn": [f"{n:05}" for n in range(COUNT)],
            "sentence": SENTENCES,
            "heading": [HEADINGS[n % 3] for n in range(COUNT)],
        }
    )


def as_parquet(folder):
    pq.write_table(table(), folder / "pile.parquet", row_group_size=1000)
    return folder / "pile.parquet"


def as_parts(folder):
    made = folder / "pile"
    made.mkdir()
    pq.write_table(table().slice(0, 3000), made / "part-0.parquet")
    pq.write_table(table().slice(3000), made / "part-1.parquet", row_group_size=500)
    (made / "_metadata.parquet").write_bytes(b"not a part")
    return made


FORMS = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet, "parts": as_parts}


@pytest.fixture(scope="module", params=FORMS)
def pile(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pile")
    return piles.look_through(FORMS[request.param](folder), folder / "out")


def test_every_form_gives_the_same_rows_in_order(pile):
    assert pile.rows == COUNT
    read = list(piles.tables(pile))
    assert [t.num_rows for t in read] == [piles.ROWS, piles.ROWS, 7]
    whole = pa.concat_tables(read)
    assert whole.schema == pile.schema
    assert whole.select(["urn", "sentence", "heading"]).to_pydict() == table().to_pydict()
    ids = whole["sentence_id"].to_pylist()
    assert len(set(ids)) == COUNT
    first = "part-0-1" if len(pile.files) > 1 else "pile-1"
    assert (ids[0], ids[-1]) == (first, f"part-1-{COUNT - 3000}" if len(pile.files) > 1 else f"pile-{COUNT}")


@pytest.mark.parametrize("start", [1, 999, 1000, 3000, 3001, piles.ROWS, COUNT - 1, COUNT])
def test_reading_goes_on_at_any_row(pile, start):
    whole = pa.concat_tables(piles.tables(pile))
    rest = list(piles.tables(pile, start))
    assert (pa.concat_tables(rest) if rest else pile.schema.empty_table()).equals(whole.slice(start))


def test_ids_and_other_columns_are_kept_as_they_are(tmp_path):
    given = pa.table(
        {
            "sentence_id": pa.array([7, 7, None], pa.int16()),
            "sentence": pa.array(["Plans drift.", None, "Plans drift."]).dictionary_encode(),
            "on": [date(2024, 1, 2)] * 3,
            "scores": [[1.5, None], [], None],
            "who": [{"a": 1}, None, {"a": 2}],
        }
    )
    pq.write_table(given, tmp_path / "p.parquet")
    assert pa.concat_tables(piles.tables(piles.look_through(tmp_path / "p.parquet", tmp_path / "out"))).equals(given)


def test_an_index_of_pandas_is_a_column(tmp_path):
    frame = pd.DataFrame({"sentence": ["Plans drift.", "Visits are late."]}, index=pd.Index(["a", "b"], name="urn"))
    frame.to_parquet(tmp_path / "p.parquet")
    (read,) = piles.tables(piles.look_through(tmp_path / "p.parquet", tmp_path / "out"))
    assert read["urn"].to_pylist() == ["a", "b"]


def test_json_values_have_the_type_that_holds_them_all(tmp_path):
    rows = [
        {"sentence": "Plans drift.", "page": 1, "share": 1, "themes": ["voice"], "odd": 1, "empty": {}, "big": 2**70},
        {"sentence": "Visits are late.", "page": 2, "share": 0.5, "themes": [], "odd": "x", "late": True},
        {"page": None, "odd": [1, "x"], "never": None},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8-sig")
    (read,) = piles.tables(piles.look_through(tmp_path / "p.jsonl", tmp_path / "out"))
    assert read.drop_columns("sentence_id").to_pydict() == {
        "sentence": ["Plans drift.", "Visits are late.", None],
        "page": [1, 2, None],
        "share": [1.0, 0.5, None],
        "themes": [["voice"], [], None],
        "odd": ["1", "x", '[1, "x"]'],
        "empty": ["{}", None, None],
        "big": [str(2**70), None, None],
        "late": [None, True, None],
        "never": [None, None, None],
    }
    pq.write_table(read, tmp_path / "can_be_written.parquet")


def test_documents_are_a_pile_with_page_and_heading(tmp_path):
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    (folder / "a.md").write_text("# Visit\n\n## Leaders\n\nPlans drift. Visits are late.\n\n- Better plans.\n")
    (folder / "more" / "a.txt").write_text("Supervision is regular.")
    (folder / "bad.pdf").write_text("no PDF")
    pile = piles.look_through(folder, tmp_path / "out")
    (read,) = piles.tables(pile)
    assert "bad.pdf" in pile.unread[0]
    rows = {row["sentence"]: row for row in read.to_pylist()}
    assert rows["Visits are late."] == {
        "sentence_id": rows["Visits are late."]["sentence_id"],
        "document_id": "a.md",
        "file": "a.md",
        "page": 1,
        "heading": "Leaders",
        "list_item": False,
        "sentence": "Visits are late.",
    }
    assert rows["Better plans."]["list_item"]
    assert rows["Supervision is regular."]["file"] == "more/a.txt"
    assert len({row["sentence_id"] for row in read.to_pylist()}) == pile.rows == len(rows)
    assert next(piles.tables(pile, 2)).equals(read.slice(2))


def damaged(folder):
    content = bytearray(as_parquet(folder).read_bytes())
    content[4000:8000] = bytes(4000)
    return bytes(content)


REFUSED = {
    "no such file": ("none.csv", None, ["none.csv", "no such|No such"]),
    "no column sentence": ("p.csv", b"text,id\nPlans drift.,1\n", ["p.csv", "no column 'sentence'", "text, id"]),
    "an empty CSV file": ("p.csv", b"", ["p.csv", "no column 'sentence'"]),
    "a column twice": ("p.csv", b"sentence,id,ID\na,b,c\n", ["'ID'"]),
    "a torn row": ("p.csv", b"sentence,id\nPlans drift.,1\nVisits,are,late\n", ["p.csv:3", "torn"]),
    "an open quote": ("p.csv", b'sentence,id\nPlans,1\n"Plans drift.,1\n', ["p.csv", "row 3"]),
    "a huge field": ("p.csv", b"sentence\nPlans\n" + b"x" * 200_000, ["p.csv", "row 3", "131072"]),
    "no UTF-8": ("p.csv", b"sentence\nPlans\n\xff\xfe\n", ["p.csv", "UTF-8"]),
    "torn JSON": ("p.jsonl", b'{"sentence": "a"}\n{"sentence": "b', ["p.jsonl:2", "JSON"]),
    "JSON in Latin-1": ("p.jsonl", b'{"sentence": "\xe9"}\n', ["p.jsonl:1", "UTF-8"]),
    "half a surrogate": ("p.jsonl", b'{"sentence": "a"}\n{"sentence": "\\ud800"}\n', ["p.jsonl:2", "UTF-8"]),
    "deep JSON": ("p.jsonl", b"[" * 100_000, ["p.jsonl:1", "JSON"]),
    "a JSON list": ("p.jsonl", b'["a"]\n', ["p.jsonl:1", "object"]),
    "a number as sentence": ("p.jsonl", b'{"sentence": "a"}\n\n{"sentence": 5}\n', ["p.jsonl:3", "not text"]),
    "JSON lines without sentence": ("p.jsonl", b'{"text": "a"}\n', ["p.jsonl", "no column 'sentence'", "text"]),
    "no JSON lines": ("p.jsonl", b"\n", ["p.jsonl", "no row"]),
    "a line of JSON without end": ("p.jsonl", b'{"sentence": "' + b"x" * 2**24, ["p.jsonl:1", "bytes"]),
    "no Parquet": ("p.parquet", b"PAR1 not really", ["p.parquet", "not a whole Parquet file"]),
    "a torn Parquet file": ("p.parquet", lambda folder: as_parquet(folder).read_bytes()[:5000], ["not a whole"]),
    "a damaged Parquet file": ("p.parquet", damaged, ["p.parquet", "damaged after row"]),
    "something else": ("p.xyz", b"?", ["p.xyz"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_pile_is_refused_by_file_and_row(case, tmp_path):
    name, content, words = REFUSED[case]
    if content is not None:
        (tmp_path / name).write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(FindingsError) as refusal:
        list(piles.tables(piles.look_through(tmp_path / name, tmp_path / "out")))
    assert "\n" not in str(refusal.value)
    for word in words:
        assert any(w in str(refusal.value) for w in word.split("|")), str(refusal.value)


def test_wrong_types_and_unlike_parts_are_refused(tmp_path):
    pq.write_table(pa.table({"sentence": [1, 2]}), tmp_path / "p.parquet")
    with pytest.raises(FindingsError, match="'sentence' holds int64, not text"):
        piles.look_through(tmp_path / "p.parquet", tmp_path / "out")
    parts = as_parts(tmp_path)
    pq.write_table(pa.table({"sentence": ["a"]}), parts / "part-2.parquet")
    with pytest.raises(FindingsError, match=r"part-2\.parquet: its columns are not those of part-0"):
        piles.look_through(parts, tmp_path / "out")


def test_a_pile_that_changes_while_it_is_read_is_told(tmp_path):
    pile = piles.look_through(as_csv(tmp_path), tmp_path / "out")
    (tmp_path / "pile.csv").write_text("urn,sentence,heading\n1,Plans drift.,\n")
    with pytest.raises(FindingsError, match="has changed"):
        list(piles.tables(pile))


def test_the_fingerprint_is_of_content_and_names(tmp_path):
    mark = piles.look_through(as_csv(tmp_path), tmp_path / "out").fingerprint
    assert piles.look_through(as_csv(tmp_path), tmp_path / "elsewhere").fingerprint == mark
    (tmp_path / "pile.csv").rename(tmp_path / "other.csv")
    assert piles.look_through(tmp_path / "other.csv", tmp_path / "out").fingerprint != mark
    with (as_csv(tmp_path)).open("a") as file:
        file.write("1,Plans drift.,\n")
    assert piles.look_through(tmp_path / "pile.csv", tmp_path / "out").fingerprint != mark
