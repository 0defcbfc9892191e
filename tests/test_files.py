import pytest

from findings.errors import FindingsError
from findings.files import make_folder, whole, write_text


class Cut(Exception):  # noqa: N818
    pass


def write_half(path):
    with whole(path) as temporary:
        temporary.write_text("ne")
        raise Cut


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "new")]


def test_what_was_there_stays_when_writing_is_cut_off(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(Cut):
        write_half(tmp_path / "a.txt")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_what_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FindingsError, match=r"folder: .*directory\. Nothing half-written is left\."):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(FindingsError, match=r"nowhere/a\.txt: No such file"):
        write_text(tmp_path / "nowhere" / "a.txt", "text")


def test_a_file_in_the_folders_place_is_told(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(FindingsError, match=r"taken: is a file, not a folder\. Give another folder with --out\."):
        make_folder(tmp_path / "taken")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
