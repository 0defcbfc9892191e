"""Documents read once and kept by content; several in parallel."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from findings import documents, parsed
from findings.documents import Document
from findings.errors import FindingsError

TEXT = "# Visit to Examplemoor\n\n1. Plans drift.\n\n- The timeliness of visits.\n"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """The user's cache folder, for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "findings" / "documents"


def written(folder, name="a.md", text=TEXT):
    path = folder / name
    path.write_text(text)
    return path


def kept(store):
    return sorted(store.glob("*.json"))


def test_what_was_kept_is_what_reading_gives(tmp_path, store):
    path = written(tmp_path)
    assert parsed.read(path) == parsed.read(path) == documents.read(path)
    assert len(kept(store)) == 1


def test_a_document_is_known_by_its_content_not_its_name(tmp_path, store):
    first = parsed.read(written(tmp_path, "a.md"))
    assert parsed.read(written(tmp_path, "b.md")) == replace(first, name="b.md")
    assert len(kept(store)) == 1
    parsed.read(written(tmp_path, "b.md", TEXT + "\nMore.\n"))
    assert len(kept(store)) == 2


def test_the_same_content_in_another_format_is_another_document(tmp_path):
    assert parsed.read(written(tmp_path, "a.md")).format == "markdown"
    assert parsed.read(written(tmp_path, "a.txt")).format == "text"


def test_what_was_kept_is_used(tmp_path, store):
    path = written(tmp_path)
    parsed.read(path)
    (file,) = kept(store)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"text": "From the store."}))
    assert parsed.read(path).text == "From the store."


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"parser": 1}', "é", '{"parser": "another version", "text": ""}'])
def test_what_was_kept_and_is_spoilt_or_outdated_is_made_anew(tmp_path, store, spoilt):
    path = written(tmp_path)
    document = parsed.read(path)
    (file,) = kept(store)
    whole = file.read_bytes()
    file.write_text(spoilt)
    assert parsed.read(path) == document
    assert file.read_bytes() == whole


def test_a_store_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert parsed.read(written(tmp_path)).format == "markdown"


def test_text_that_no_encoding_holds_is_kept(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("<p>Plans &#xD800; drift.</p>")
    assert parsed.read(path) == parsed.read(path)


@pytest.mark.parametrize("name", ["missing.md", "a.exe", "folder.md"])
def test_what_is_no_document_is_told_as_ever(tmp_path, name):
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(FindingsError) as plain:
        documents.read(tmp_path / name)
    with pytest.raises(FindingsError) as told:
        parsed.read(tmp_path / name)
    assert str(told.value) == str(plain.value)


@pytest.mark.parametrize("count", [2, 14])
def test_many_are_read_in_order_and_the_bad_ones_come_as_errors(tmp_path, count):
    paths = [written(tmp_path, f"{n:02}.md", f"# Part {n}\n\nPlan {n} drifts.\n") for n in range(count)]
    paths[1].write_bytes(b"")
    found = list(parsed.read_all(paths))
    assert [path for path, _ in found] == paths
    assert isinstance(found[1][1], FindingsError)
    assert "01.md" in str(found[1][1])
    others = [document for n, (_, document) in enumerate(found) if n != 1]
    assert all(isinstance(d, Document) and d == documents.read(tmp_path / d.name) for d in others)


def test_stopping_leaves_no_process_behind(tmp_path):
    for n in range(40):
        written(tmp_path, f"{n:02}.md", f"Plan {n} drifts. " * 5000)
    code = (
        "import sys; from pathlib import Path; from findings import parsed\n"
        "if __name__ == '__main__':\n"
        "    for path, _ in parsed.read_all(sorted(Path(sys.argv[1]).glob('*.md'))): print(path, flush=True)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(parsed.__file__).parents[1])},
        start_new_session=True,
    )
    assert process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    for _ in range(100):
        if not _alive(process.pid):
            break
        time.sleep(0.1)
    assert not _alive(process.pid)


def _alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
