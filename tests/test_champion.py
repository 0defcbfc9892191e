import shutil
import sqlite3

import pytest

from findings import champion, registry
from findings.errors import FindingsError


def test_the_tables_and_mlflow_name_the_same_version(connected):
    found = champion.find(connected.uri, "findings")
    known = registry.require_champion("findings")
    assert (found.name, found.version, found.run_id) == (known.name, known.version, known.run_id)
    assert str(found) == str(known)
    assert (found.folder / champion.FILES / "model.json").is_file()


def test_mlflow_is_asked_where_the_tables_are_others(connected, tmp_path):
    path = tmp_path / "mlflow.db"
    shutil.copy(connected.uri.removeprefix("sqlite:///"), path)
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE model_versions RENAME COLUMN storage_location TO elsewhere")
    assert champion._ask(path, "findings") is None
    assert champion._ask(tmp_path / "none.db", "findings") is None


def test_no_champion_is_told_with_the_remedy(connected):
    with pytest.raises(FindingsError, match="no champion of 'others'"):
        champion.find(connected.uri, "others")


def test_no_store_is_told_with_the_remedy(tmp_path):
    with pytest.raises(FindingsError, match="no store there"):
        champion.find(f"sqlite:///{tmp_path / 'x.db'}", "findings")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///a/b%20c/d", "/a/b c/d"),
        ("file://localhost/a", "/a"),
        ("/a/b", "/a/b"),
        ("s3://bucket/a", None),
        ("file://elsewhere/a", None),
        ("mlflow-artifacts:/1/a", None),
        ("", None),
    ],
)
def test_only_a_folder_of_this_machine_is_one(location, path):
    found = champion._local(location)
    assert (str(found) if found else None) == path


def test_its_model_answers_as_the_registrys_does(connected):
    found = champion.find(connected.uri, "findings")
    model, known = champion.load(connected.uri, found), registry.load(registry.require_champion("findings"))
    sentences = ["Too many plans are late.", "Leaders know their services."]
    assert (model.predict(sentences).finding_probabilities == known.predict(sentences).finding_probabilities).all()


def test_without_a_folder_the_registry_loads_it(connected):
    known = registry.require_champion("findings")
    model = champion.load(connected.uri, champion.Champion("findings", known.version, known.run_id))
    assert model.family == "tfidf"
