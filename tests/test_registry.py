import os
import signal
from dataclasses import replace

import pandas as pd
import pytest

from findings import registry, tracking
from findings.errors import FindingsError
from findings.evaluation import Comparison


def comparison(macro, themes):
    """A comparison whose decisive differences have these (value, low, high)."""
    rows = {
        name: {"base": 0.8, "candidate": 0.8 + d[0], "difference": d[0], "low": d[1], "high": d[2]}
        for name, d in {"finding_macro_f1": macro, "themes_micro_f1": themes}.items()
    }
    return Comparison(100, 10, pd.DataFrame.from_dict(rows, orient="index"), pd.DataFrame(), 0, 0, 1.0)


GAIN, LOSS, EQUAL, UNSURE = (0.03, 0.01, 0.05), (-0.04, -0.06, -0.02), (0.0, -0.005, 0.005), (0.0, -0.03, 0.03)


@pytest.mark.parametrize(
    ("macro", "themes", "costs", "promoted", "words"),
    [
        (GAIN, (0.0, -0.01, 0.01), (1.0, 1.0), True, "a gain that the interval supports in finding_macro_f1 ("),
        (UNSURE, GAIN, (0.1, 0.1), True, "in themes_micro_f1 ("),
        (GAIN, GAIN, (0.1, 0.1), True, "in finding_macro_f1 and themes_micro_f1 ("),
        (GAIN, LOSS, (5.0, 5.0), False, "worse in themes_micro_f1"),
        (LOSS, EQUAL, (5.0, 5.0), False, "worse in finding_macro_f1"),
        ((0.01, -0.02, 0.04), EQUAL, (5.0, 5.0), False, "may be worse by more than 0.01 in finding_macro_f1"),
        (EQUAL, UNSURE, (5.0, 5.0), False, "may be worse by more than 0.01 in themes_micro_f1"),
        (EQUAL, (0.0, -0.01, 0.01), (5.0, 5.0), False, "may be worse"),
        (EQUAL, EQUAL, (2.0, 1.0), True, "equal quality at lower cost: 2.00 times as fast and 1.00 times as small"),
        (EQUAL, EQUAL, (1.0, 2.0), True, "equal quality at lower cost"),
        (EQUAL, EQUAL, (1.5, 0.8), True, "equal quality at lower cost"),
        (EQUAL, EQUAL, (1.5, 0.79), False, "equal quality but not at lower cost"),
        (EQUAL, EQUAL, (0.79, 9.0), False, "equal quality but not at lower cost: 0.79 times as fast"),
        (EQUAL, EQUAL, (1.49, 1.49), False, "equal quality but not at lower cost"),
        (EQUAL, EQUAL, (9.0, float("nan")), False, "equal quality but not at lower cost"),
        ((float("nan"),) * 3, EQUAL, (9.0, 9.0), False, "may be worse"),
    ],
)
def test_the_rule_of_promotion(macro, themes, costs, promoted, words):
    """`costs`: how many times as fast and as small the candidate is."""
    decision = registry.decide(registry.Match(comparison(macro, themes), *costs))
    assert decision.promoted is promoted
    assert words in decision.reason
    assert "\n" not in decision.reason


def test_a_gain_on_a_few_documents_is_none():
    match = registry.Match(replace(comparison(GAIN, GAIN), documents=4), 9.0, 9.0)
    assert registry.decide(match) == registry.Decision(False, "4 test documents say too little: 5 are the least")


def test_a_match_of_two_versions_has_quality_cost_and_data(rivals, monkeypatch):
    """What is measured depends on the machine; what is decided follows from it by the rule."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", rivals.uri)
    tracking.connect({"uri": rivals.uri, "experiment": "findings"}, create=False)
    base, candidate = registry.find("findings", "1"), registry.find("findings", "2")
    match = registry.compare(base, candidate)
    assert match.same_data
    assert match.speed > 0
    sizes = [tracking.read_run(v.run_id).metrics["cost/model_megabytes"] for v in (base, candidate)]
    assert match.smaller == pytest.approx(sizes[0] / sizes[1])
    assert set(registry.DECISIVE) <= set(match.quality.metrics.index)
    assert registry.decide(match) == registry.decide(match)


def test_the_champion_is_found_by_every_name(connected):
    champion = registry.require_champion("findings")
    for reference in ("champion", "latest", champion.version, champion.run_id, champion.run_id[:8]):
        assert registry.find("findings", reference) == champion


def test_an_unknown_reference_names_what_there_is(connected):
    with pytest.raises(FindingsError, match="'99' names no version of 'findings'"):
        registry.find("findings", "99")


def test_a_model_without_champion_is_told(connected):
    assert registry.champion("other") is None
    with pytest.raises(FindingsError, match="no champion of 'other'"):
        registry.require_champion("other")


def test_a_model_against_itself_differs_by_nothing(connected):
    champion = registry.require_champion("findings")
    match = registry.compare(champion, champion)
    assert match.quality.difference("finding_macro_f1").value == 0
    assert match.quality.mcnemar == 1
    assert match.smaller == 1


def test_promoting_the_champion_changes_nothing(connected):
    champion = registry.require_champion("findings")
    assert registry.promote(champion).promoted
    assert registry.require_champion("findings") == champion


def test_registration_is_not_cut_in_two_by_ctrl_c():
    done = []

    def work():
        with tracking.unbroken():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"]


def test_the_champion_loads_in_this_process(connected):
    model = registry.load(registry.require_champion("findings"))
    assert len(model.predict(["Supervision is regular."]).findings) == 1
