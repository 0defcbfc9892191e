import json

import pytest

from findings import manifest
from findings.errors import FindingsError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.json").write_text('{"family": "tfidf"}')
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").write_bytes(bytes(range(256)))
    manifest.write(tmp_path)
    return tmp_path


def test_what_was_stored_is_accepted(folder):
    manifest.verify(folder)
    assert set(json.loads((folder / manifest.FILE).read_text())["sha256"]) == {"model.json", "inner/weights"}


@pytest.mark.parametrize("name", ["model.json", "inner/weights", manifest.FILE])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_any_changed_byte_is_refused(folder, name, place):
    data = bytearray((folder / name).read_bytes())
    data[place] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(FindingsError, match=r"not the file that was stored with the model\. It is not loaded\."):
        manifest.verify(folder)


def test_the_changed_file_is_named(folder):
    (folder / "inner" / "weights").write_bytes(b"other")
    with pytest.raises(FindingsError, match="inner/weights: not the file"):
        manifest.verify(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"sha256": 7}', "{", '{"sha256": {"model.json": null}}'])
def test_a_torn_manifest_is_refused(folder, text):
    (folder / manifest.FILE).write_text(text)
    with pytest.raises(FindingsError, match="It is not loaded"):
        manifest.verify(folder)


def test_files_added_or_gone_are_refused(folder):
    (folder / "extra").touch()
    with pytest.raises(FindingsError, match="extra: not the file"):
        manifest.verify(folder)
    (folder / "extra").unlink()
    (folder / "model.json").unlink()
    with pytest.raises(FindingsError, match=r"model\.json: not the file"):
        manifest.verify(folder)


def test_a_model_without_manifest_is_refused(folder):
    (folder / manifest.FILE).unlink()
    with pytest.raises(FindingsError, match="cannot be checked"):
        manifest.verify(folder)
