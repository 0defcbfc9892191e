import pytest
import yaml

from findings import taxonomy
from findings.errors import FindingsError

SMALL = """
name: kennels
findings:
  - {id: good, title: Good, definition: Dogs are content.}
  - {id: none, title: No finding, definition: No judgement.}
themes:
  - {id: walks, title: Walks, definition: Being taken out.}
"""


def test_shipped_taxonomy_has_the_agreed_labels_in_order():
    labels = taxonomy.load()
    assert labels.name == taxonomy.DEFAULT
    assert labels.finding_ids == ["strength", "concern", "recommendation", "none"]
    assert labels.theme_ids == [
        "leadership",
        "workforce",
        "management_oversight",
        "quality_assurance",
        "front_door",
        "early_help",
        "assessment_planning",
        "child_protection",
        "partnership",
        "voice",
        "children_in_care",
        "care_leavers",
        "health_education",
    ]
    for label in (*labels.findings, *labels.themes):
        assert label.title
        assert label.definition.endswith(".")
        assert "\n" not in label.definition
        assert not set(label.id) & set(" ,;")  # annotations separate themes by blanks


def test_file_by_path_is_another_taxonomy(tmp_path):
    path = tmp_path / "kennels.yaml"
    path.write_text(SMALL, encoding="utf-8")
    labels = taxonomy.load(path)
    assert (labels.name, labels.finding_ids, labels.theme_ids) == ("kennels", ["good", "none"], ["walks"])
    assert taxonomy.load(str(path)) == labels


def test_title_of_finding_theme_and_stranger():
    labels = taxonomy.from_dict(yaml.safe_load(SMALL))
    assert [labels.title(i) for i in ("none", "walks", "barking")] == ["No finding", "Walks", "barking"]


def test_as_dict_is_the_form_of_the_file():
    labels = taxonomy.load()
    assert taxonomy.from_dict(labels.as_dict()) == labels


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (", definition: Being taken out.", "", "every entry under 'themes' needs id, title and definition"),
        ("id: good", "name: good", "every entry under 'findings' needs id, title and definition"),
        ("id: good", "id: none", "'findings' lists 'none' twice. List each id once"),
        ("id: none", "id: nothing", "'findings' has no 'none'. Add it"),
        ("{id: walks, title: Walks, definition: Being taken out.}", "walks", "every entry under 'themes' needs id"),
        (SMALL, "findings: 7", "every entry under 'findings' needs id"),
        (SMALL[SMALL.index("themes") :], "themes: []", "'themes' is empty. List each id once"),
        (SMALL[SMALL.index("themes") :], "", "'themes' is empty"),
        (SMALL, "- findings", "expected keys name, findings and themes"),
        (SMALL, "", "expected keys name, findings and themes"),
    ],
)
def test_file_of_wrong_form_is_told_in_one_line(tmp_path, before, after, message):
    path = tmp_path / "kennels.yaml"
    assert before in SMALL
    path.write_text(SMALL.replace(before, after), encoding="utf-8")
    with pytest.raises(FindingsError) as caught:
        taxonomy.load(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert message in told
    assert "\n" not in told


def test_broken_yaml_names_its_line(tmp_path):
    path = tmp_path / "kennels.yaml"
    path.write_text("name: kennels\nfindings: [}\n", encoding="utf-8")
    with pytest.raises(FindingsError) as caught:
        taxonomy.load(path)
    assert str(caught.value).startswith(f"{path}:2: not valid YAML")
    assert "\n" not in str(caught.value)


def test_file_in_another_encoding_is_told_in_one_line(tmp_path):
    path = tmp_path / "kennels.yaml"
    path.write_bytes("name: caf\u00e9".encode("latin-1"))
    with pytest.raises(FindingsError, match="not valid YAML") as caught:
        taxonomy.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["kennels", "missing/kennels.yaml", "../taxonomy/kennels"])
def test_missing_taxonomy_names_the_one_that_ships(name):
    with pytest.raises(FindingsError, match=rf"no such taxonomy. Name one that ships \({taxonomy.DEFAULT}\)"):
        taxonomy.load(name)
