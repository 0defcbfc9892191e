import os
import signal

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


SAME, FAST = 1.0, 2.0


@pytest.mark.parametrize(
    ("macro", "themes", "speed", "promoted", "words"),
    [
        ((0.03, 0.01, 0.05), (0.0, -0.01, 0.01), SAME, True, "gain"),
        ((0.03, 0.01, 0.05), (-0.04, -0.06, -0.02), SAME, False, "worse in themes_micro_f1"),
        ((0.01, -0.02, 0.04), (0.0, -0.01, 0.01), SAME, False, "no gain"),
        ((0.0, -0.005, 0.005), (0.0, -0.005, 0.005), FAST, True, "2.0 times the speed"),
        ((0.0, -0.005, 0.005), (0.0, -0.005, 0.005), SAME, False, "no gain"),
        ((0.0, -0.03, 0.03), (0.0, -0.005, 0.005), FAST, False, "no gain"),
    ],
)
def test_the_rule_of_promotion(macro, themes, speed, promoted, words):
    decision = registry.decide(registry.Match(comparison(macro, themes), speed))
    assert decision.promoted is promoted
    assert words in decision.reason


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
    result = registry.compare(champion, champion).quality
    assert result.difference("finding_macro_f1").value == 0
    assert result.mcnemar == 1


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
