"""The data card's figures are those of the data."""

import shutil

import pytest
from conftest import command

from findings import agreement, annotations, card, dataset, standoff, taxonomy
from findings.errors import FindingsError

LABELS = taxonomy.load()


@pytest.fixture(scope="module")
def figures():
    return card.figures(dataset.default_folder(), standoff.default_folder(), LABELS)


def test_the_card_that_ships_has_the_figures_of_the_data(figures):
    text = card.path().read_text(encoding="utf-8")
    assert card.with_figures(text, figures) == text, "run `findings data card`"


def test_figures_follow_the_labels(figures, tmp_path):
    corpus = tmp_path / "authored"
    shutil.copytree(dataset.default_folder(), corpus)
    file = next(iter(sorted((corpus / "annotations").glob("*_report.csv"))))
    changed = file.read_text(encoding="utf-8").replace(",strength,", ",concern,", 1)
    file.write_text(changed, encoding="utf-8")
    assert card.figures(corpus, standoff.default_folder(), LABELS) != figures


def test_everything_on_which_the_two_passes_differ_was_decided():
    first, second, decided = (
        annotations.read_pass(dataset.default_folder() / "passes" / name, LABELS)
        for name in ("first", "second", "adjudicated")
    )
    differing = {pair[0].sentence_id for pair, _ in agreement.disagreements(first, second)}
    assert len(differing) > 5000
    assert differing <= {vote.sentence_id for vote in decided}


@pytest.mark.parametrize("text", ["", card.START, card.END + card.START, 2 * (card.START + card.END)])
def test_a_card_without_a_place_for_figures_says_so(text):
    with pytest.raises(FindingsError, match="no place for the figures"):
        card.with_figures(text, "figures")


def test_what_stands_around_the_figures_is_kept():
    text = f"before\n{card.START}\nold\n{card.END}\nafter\n"
    assert card.with_figures(text, "new\n") == f"before\n{card.START}\n\nnew\n\n{card.END}\nafter\n"


def test_check_tells_whether_they_are_current(tmp_path):
    done = command("data", "card", "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "are those of the data" in done.stdout
