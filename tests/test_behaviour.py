"""The behaviour tests: their file, their machinery on a classifier that anybody can follow, and what
the baseline reaches on them. `pytest -s` prints the baseline's rates."""

import re
from itertools import pairwise

import numpy as np
import pytest
from conftest import REPOSITORY
from omegaconf import OmegaConf
from scipy.stats import binomtest

from findings import behaviour, config, dataset, models, taxonomy
from findings.calibration import Calibration, Scores
from findings.errors import FindingsError

LABELS = taxonomy.load()
CAPABILITIES = {
    "plain", "negation", "hedging", "contrast", "history", "listed_items", "reported_speech", "authority_names",
    "person_names", "numbers", "spelling", "quotation_marks", "upper_case", "typing_errors", "heading_removed",
    "irrelevant_heading", "grade_in_heading",
}  # fmt: skip


# The file -----------------------------------------------------------------------------------------


def test_the_cases_that_ship_are_as_many_and_as_various_as_they_should_be():
    cases = behaviour.read()
    assert 300 <= len(cases) <= 450
    assert {case.capability for case in cases} == CAPABILITIES
    assert {case.type for case in cases} == set(behaviour.TYPES)
    assert len({case.name for case in cases}) == len(cases)
    assert behaviour.fits(LABELS, cases)
    assert {case.finding for case in cases if case.type == "minimum"} == set(LABELS.finding_ids)
    assert {theme for case in cases for theme in case.themes or ()} == set(LABELS.theme_ids)


def test_the_readme_tells_their_number():
    assert f"{len(behaviour.read())} behaviour tests" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_no_text_is_asked_twice_of_the_same_capability():
    cases = behaviour.read()
    asked = [(case.capability, case.type, case.text) for case in cases]
    assert len(set(asked)) == len(asked)


@pytest.fixture(scope="module")
def authored():
    return dataset.build(dataset.default_folder(), name="authored", source="authored", taxonomy=LABELS)


def test_no_case_is_in_the_corpus(authored):
    own = sorted({text.sentence for case in behaviour.read() for text in (case.text, *case.variants)})
    known = [sentence for frame in authored.rows.values() for sentence in frame["sentence"]]
    pairs = dataset.near_duplicates([*own, *known])
    assert [(own[i], known[j - len(own)]) for i, j, _ in pairs if i < len(own) <= j] == []


GROUP = "- capability: x\n  type: minimum\n  finding: none\n  cases: [A sentence.]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- [", "cannot be read as YAML"),
        ("just text", "group 1"),
        (GROUP.replace("minimum", "maximum"), "group 1: 'maximum' is no type"),
        (GROUP + GROUP.replace("finding: none", "findings: none"), "group 2: there is no setting 'findings'"),
        (GROUP.replace("  type: minimum\n", ""), "group 1: 'type' is missing"),
        (GROUP.replace("finding", "rises"), "minimum needs 'finding'"),
        (GROUP.replace("[A sentence.]", "[[A, B]]"), "'A' has variants"),
        (GROUP.replace("minimum\n  finding: none", "invariance"), "'A sentence.' has no variants"),
        (GROUP.replace("minimum\n  finding: none", "invariance\n  headings: ['']"), "no variant, it is the same"),
        (GROUP.replace("minimum\n  finding: none", "invariance\n  swap: {B: [C]}"), "'B' is not in 'A sentence.'"),
        (GROUP.replace("minimum\n  finding: none", "invariance\n  change: lower case"), "'lower case' is missing"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_told_with_its_group(tmp_path, text, said):
    path = tmp_path / "cases.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FindingsError) as caught:
        behaviour.read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FindingsError, match=r"none\.yaml: cannot be read"):
        behaviour.read(tmp_path / "none.yaml")


def test_variants_come_from_swaps_headings_and_changes(tmp_path):
    path = tmp_path / "cases.yaml"
    path.write_text(
        """
- {capability: names, type: invariance, swap: {Ann: [Bo, Cy]}, cases: [Ann met Ann.]}
- {capability: heads, type: invariance, heading: One, headings: [Two, ""], cases: [Text.]}
- {capability: quotes, type: invariance, change: curly quotes, cases: ["\\"It's 'fine',\\" he said."]}
- capability: moves
  type: direction
  falls: concern
  cases: [[Late., On time., Early.]]
""",
        encoding="utf-8",
    )
    names, heads, quotes, moves = behaviour.read(path)
    assert [v.sentence for v in names.variants] == ["Bo met Bo.", "Cy met Cy."]
    assert [(v.sentence, v.heading) for v in heads.variants] == [("Text.", "Two"), ("Text.", "")]
    assert [v.sentence for v in quotes.variants] == ["“It’s ‘fine’,” he said."]
    assert (moves.finding, moves.rises, len(moves.variants)) == ("concern", False, 2)


# The machinery ------------------------------------------------------------------------------------


class Words:
    """Says concern by the word 'late', strength by 'prompt' and recommendation by the heading, each
    the surer the more often it stands there; one theme by the word 'plan'."""

    def scores(self, sentences, headings):
        findings = np.zeros((len(sentences), len(LABELS.findings)))
        themes = np.full((len(sentences), len(LABELS.themes)), -3.0)
        for row, (sentence, heading) in enumerate(zip(sentences, headings, strict=True)):
            for finding, word in {"strength": "prompt", "concern": "late"}.items():
                findings[row, LABELS.finding_ids.index(finding)] = len(re.findall(word, sentence))
            findings[row, LABELS.finding_ids.index("recommendation")] = 5 * ("improve" in heading)
            findings[row, LABELS.finding_ids.index("none")] = 0.5
            if "plan" in sentence:
                themes[row, LABELS.theme_ids.index("assessment_planning")] = 3.0
        return Scores(findings, themes)


@pytest.fixture(scope="module")
def words():
    calibration = Calibration(1.0, 1.0, 0.0, (0.5,) * len(LABELS.themes))
    return models.Model("words", Words(), calibration, LABELS)


def case(kind, sentence, *variants, heading="", **rest):
    texts = [behaviour.Text(v) if isinstance(v, str) else v for v in variants]
    return behaviour.Case(f"{kind} case", kind, kind, behaviour.Text(sentence, heading), tuple(texts), **rest)


def test_minimum_functionality_asks_for_finding_and_first_theme(words):
    cases = [
        case("minimum", "The plan was late.", finding="concern", themes=("assessment_planning", "voice")),
        case("minimum", "The plan was late.", finding="concern", themes=("voice",)),
        case("minimum", "The plan was late.", finding="concern", themes=()),
        case("minimum", "Page 3", finding="none", themes=()),
        case("minimum", "Nothing was on time.", finding="concern"),
    ]
    result = behaviour.check(words, cases)
    rates = result.rates.set_index("label")
    assert rates.loc["finding", ["cases", "passed"]].tolist() == [5, 4]
    assert rates.loc["themes", ["cases", "passed"]].tolist() == [4, 2]
    told = result.failures[["label", "expected", "given"]].to_numpy().tolist()
    assert told == [
        ["themes", "voice", "assessment_planning"],
        ["themes", "no theme", "assessment_planning"],
        ["finding", "concern", "none"],
    ]


def test_invariance_fails_with_any_variant_that_changes_a_label(words):
    improve = behaviour.Text("The plan was late.", "What to improve")
    cases = [
        case("invariance", "The plan was late.", "The plan was very late.", "The big plan was late."),
        case("invariance", "The plan was late.", "The plan was late!", improve),
        case("invariance", "The plan was late.", "The paln was late."),
    ]
    result = behaviour.check(words, cases)
    rates = result.rates.set_index("label")
    assert rates["passed"].to_dict() == {"finding": 2, "themes": 2}
    assert result.failures["variant_heading"].tolist() == ["What to improve", ""]
    assert result.failures["given"].tolist() == ["recommendation", "no theme"]


def test_direction_asks_the_probability_to_move(words):
    cases = [
        case("direction", "It was late.", "It was late, late.", finding="concern", rises=True),
        case("direction", "It was late.", "It was late, late.", finding="concern", rises=False),
        case("direction", "It was late.", "It was often late.", finding="concern", rises=True),
    ]
    result = behaviour.check(words, cases)
    assert result.rates["passed"].tolist() == [1]
    assert result.failures["expected"].str.contains("below 0.").tolist() == [True, False]


def test_rates_have_wilsons_interval_and_sum_up_to_metrics(words):
    cases = [
        *(case("minimum", f"Case {i} is late.", finding="concern", themes=()) for i in range(7)),
        *(case("minimum", f"Case {i} is on time.", finding="strength", themes=()) for i in range(3)),
        case("direction", "It was late.", "It was late, late.", finding="concern"),
    ]
    result = behaviour.check(words, cases)
    row = result.rates.iloc[0]
    expected = binomtest(7, 10).proportion_ci(0.95, method="wilson")
    assert (row["rate"], row["low"], row["high"]) == pytest.approx((0.7, expected.low, expected.high))
    assert result.metrics() == pytest.approx(
        {"all": 8 / 11, "all_themes": 1.0, "minimum": 0.7, "minimum_themes": 1.0, "direction": 1.0}
    )


def test_cases_do_not_fit_a_taxonomy_without_their_labels():
    small = {**LABELS.as_dict(), "themes": LABELS.as_dict()["themes"][:3]}
    assert not behaviour.fits(taxonomy.from_dict(small), behaviour.read())


# The baseline -------------------------------------------------------------------------------------

FINDING_AT_LEAST = {
    "plain": 0.88, "negation": 0.53, "hedging": 0.85, "contrast": 0.75, "listed_items": 0.9, "reported_speech": 0.85,
    "authority_names": 0.83, "person_names": 0.8, "numbers": 0.94, "spelling": 0.83, "quotation_marks": 0.93,
    "upper_case": 0.95, "typing_errors": 0.79, "heading_removed": 0.9, "irrelevant_heading": 0.7,
    "grade_in_heading": 1.0, "all": 0.84,
}  # fmt: skip
"""Pass rates that the baseline must keep, one to three cases below those measured. None is asked of
history, where it passes less than half: a bag of words does not tell then from now."""

THEMES_AT_LEAST = {
    "plain": 0.88, "negation": 0.86, "hedging": 0.85, "history": 0.78, "listed_items": 0.9, "numbers": 0.94,
    "quotation_marks": 0.93, "upper_case": 0.95, "typing_errors": 0.58, "heading_removed": 0.7,
    "irrelevant_heading": 0.55, "grade_in_heading": 1.0, "all": 0.86,
}  # fmt: skip


@pytest.fixture(scope="module")
def baseline(authored):
    settings = config.load()
    rows = {split: models.examples(frame, LABELS) for split, frame in authored.rows.items()}
    family = OmegaConf.to_container(settings.model, resolve=True)
    return models.train(family, rows["train"], rows["validation"], LABELS, int(settings.seed))


def test_the_baseline_keeps_its_pass_rates(baseline):
    result = behaviour.check(baseline)
    print("\n", result.rates.to_string(), "\n", result.failures.to_string())
    metrics = result.metrics()
    wanted = FINDING_AT_LEAST | {f"{name}_themes": rate for name, rate in THEMES_AT_LEAST.items()}
    low = {name: (round(metrics[name], 3), rate) for name, rate in wanted.items() if metrics[name] < rate}
    assert low == {}, result.failures.to_string()


def test_the_baseline_gets_surer_of_a_concern_with_a_stronger_word(baseline):
    """Of its own accord, apart from the file: four sentences, each worse than the one before."""
    steps = [
        "Supervision is excellent and always on time.",
        "Supervision is on time.",
        "Supervision is not always on time.",
        "Supervision is poor and far too often late.",
    ]
    index = LABELS.finding_ids.index("concern")
    probabilities = baseline.predict(steps).finding_probabilities[:, index]
    assert all(a < b for a, b in pairwise(probabilities))
