"""What a model must get right, capability by capability, whatever its family: behaviour tests in the
manner of CheckList (Ribeiro et al. 2020, "Beyond Accuracy: Behavioral Testing of NLP Models with
CheckList").

The cases are data (data/behaviour.yaml). Three types: minimum functionality (this sentence has this
finding, and its first theme is one of these), invariance (a change that carries no judgement leaves
the labels as they are) and direction (a change moves the probability of a finding one way).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy.stats import binomtest

from findings.errors import FindingsError
from findings.evaluation import LEVEL
from findings.models import Model, theme_lists
from findings.taxonomy import Taxonomy

TYPES = ("minimum", "invariance", "direction")
KEYS = {"capability", "type", "finding", "rises", "falls", "heading", "headings", "swap", "change", "cases"}
RATES = ("capability", "type", "label", "cases", "passed", "rate", "low", "high")
FAILURES = (
    "capability", "type", "label", "case", "sentence", "heading", "variant", "variant_heading", "expected", "given",
)  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A sentence and the heading that it stands under, perhaps none."""

    sentence: str
    heading: str = ""


@dataclass(frozen=True)
class Case:
    """One test: a text and, but for minimum functionality, what it is changed to.

    Attributes:
        name: capability and number, the same in every run on the same file.
        finding: what the text must be (minimum), or whose probability must move (direction).
        themes: what the first theme must be among; () for no theme at all, None where it is not asked.
        rises: whether the probability must rise or fall.
    """

    name: str
    capability: str
    type: str
    text: Text
    variants: tuple[Text, ...] = ()
    finding: str = ""
    themes: tuple[str, ...] | None = None
    rises: bool = True


@dataclass(frozen=True)
class Behaviour:
    """How a model fared.

    Attributes:
        rates: a row a capability, type and label (finding or themes): cases, passed, their share
            and its 95 % Wilson interval.
        failures: a row for each text or variant whose answer failed its case.
    """

    rates: pd.DataFrame
    failures: pd.DataFrame

    def metrics(self) -> dict[str, float]:
        """Pass rates by capability and of all cases: `negation`, `negation_themes`, …, `all`, `all_themes`."""
        both = pd.concat([self.rates.assign(capability="all"), self.rates])
        ends = both["label"].map({"finding": "", "themes": "_themes"})
        sums = both.assign(key=both["capability"] + ends).groupby("key", sort=False)[["passed", "cases"]].sum()
        return {str(key): float(rate) for key, rate in (sums["passed"] / sums["cases"]).items()}


# The cases ----------------------------------------------------------------------------------------


def default_path() -> Path:
    """The cases that ship."""
    return Path(str(resources.files("findings.data"))) / "behaviour.yaml"


def read(path: Path | None = None) -> tuple[Case, ...]:
    """Read a file of cases; its form is told in data/behaviour.yaml.

    Raises:
        FindingsError: it cannot be read, or a group is not as it must be; names the group.
    """
    path = path or default_path()
    try:
        groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FindingsError(f"{path}: cannot be read as YAML. Mend it, or take the file that ships.") from error
    cases: list[Case] = []
    numbers: dict[str, int] = {}
    for number, group in enumerate(groups if isinstance(groups, list) else [groups], 1):
        try:
            for case in _cases(group):
                numbers[case.capability] = numbers.get(case.capability, 0) + 1
                cases.append(replace(case, name=f"{case.capability} {numbers[case.capability]}"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise FindingsError(f"{path}: group {number}: {told}. Mend it as data/behaviour.yaml tells.") from error
    return tuple(cases)


def _cases(group: Mapping[str, Any]) -> Iterator[Case]:
    """The cases of one group of the file."""
    kind = group["type"]
    if strange := sorted(set(group) - KEYS):
        raise ValueError(f"there is no setting '{strange[0]}'")
    if kind not in TYPES:
        raise ValueError(f"'{kind}' is no type, choose from {', '.join(TYPES)}")
    moved = group.get("rises") or group.get("falls")
    if (kind == "direction") != bool(moved) or (kind == "minimum") != ("finding" in group):
        raise ValueError("minimum needs 'finding', direction 'rises' or 'falls', and no type another's")
    for entry in group["cases"]:
        given = entry if isinstance(entry, Mapping) else {"sentence": entry}
        first, *others = [given["sentence"]] if isinstance(given["sentence"], str) else given["sentence"]
        text = Text(first, given.get("heading", group.get("heading", "")))
        variants = [Text(other, text.heading) for other in others] + list(_varied(text, group))
        if (kind == "minimum") == bool(variants):
            raise ValueError(f"'{first[:60]}' has {'variants' if variants else 'no variants'}")
        if unchanged := [v for v in variants if v == text]:
            raise ValueError(f"'{unchanged[0].sentence[:60]}' is no variant, it is the same")
        themes = tuple(given["themes"]) if "themes" in given else None
        yield Case(
            "",
            str(group["capability"]),
            kind,
            text,
            tuple(variants),
            str(group.get("finding") or moved or ""),
            themes,
            "rises" in group,
        )


def _varied(text: Text, group: Mapping[str, Any]) -> Iterator[Text]:
    """The variants of a text that its group asks for."""
    for heading in group.get("headings", ()):
        yield Text(text.sentence, heading)
    for name, others in group.get("swap", {}).items():
        if name not in text.sentence:
            raise ValueError(f"'{name}' is not in '{text.sentence[:60]}'")
        yield from (Text(text.sentence.replace(name, other), text.heading) for other in others)
    if "change" in group:
        yield Text(CHANGES[group["change"]](text.sentence), text.heading)


def _curly(text: str) -> str:
    """Straight quotation marks as a word processor sets them."""
    opened = re.sub(r'(^|[\s(])"', r"\1“", text).replace('"', "”")
    return re.sub(r"(^|[\s(“])'", r"\1‘", opened).replace("'", "’")


CHANGES: dict[str, Callable[[str], str]] = {"upper case": str.upper, "curly quotes": _curly}
"""What a group's `change` may be."""


def fits(labels: Taxonomy, cases: Iterable[Case]) -> bool:
    """Whether the taxonomy has every label that the cases name; another inspectorate needs cases of its own."""
    named = {label for case in cases for label in (case.finding, *(case.themes or ())) if label}
    return named <= {*labels.finding_ids, *labels.theme_ids}


# A model put to them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    """What a model says of one text."""

    finding: str
    themes: list[str]
    probabilities: dict[str, float]


def check(model: Model, cases: Sequence[Case] | None = None) -> Behaviour:
    """Put a model to the cases (by default to those that ship)."""
    cases = read() if cases is None else cases
    answers = _answers(model, [text for case in cases for text in (case.text, *case.variants)])
    passed: list[dict[str, Any]] = []
    failures: list[tuple[str, ...]] = []
    for case in cases:
        base = next(answers)
        checked = [(text, next(answers)) for text in case.variants] or [(case.text, base)]
        for label, judge in _judges(case, base).items():
            wrong = [(text, *said) for text, answer in checked for said in [judge(answer)] if said]
            passed.append({"capability": case.capability, "type": case.type, "label": label, "passed": not wrong})
            known = (case.capability, case.type, label, case.name, case.text.sentence, case.text.heading)
            for text, expected, given in wrong:
                varied = (text.sentence, text.heading) if case.variants else ("", "")
                failures.append((*known, *varied, expected, given))
    return Behaviour(_rates(pd.DataFrame(passed)), pd.DataFrame(failures, columns=list(FAILURES)))


def _answers(model: Model, texts: Sequence[Text]) -> Iterator[_Answer]:
    predictions = model.predict([t.sentence for t in texts], [t.heading for t in texts])
    findings = model.taxonomy.finding_ids
    themes = theme_lists(predictions, model.taxonomy)
    for row, best, given in zip(predictions.finding_probabilities, predictions.findings, themes, strict=True):
        yield _Answer(findings[best], given, dict(zip(findings, map(float, row), strict=True)))


Judge = Callable[[_Answer], tuple[str, str] | None]
"""An answer → None where it passes, else what was expected and what was given."""


def _judges(case: Case, base: _Answer) -> dict[str, Judge]:
    """By label, finding or themes: what judges the answers of a case."""
    if case.type == "direction":
        before, sign = base.probabilities[case.finding], 1 if case.rises else -1

        def moved(answer: _Answer) -> tuple[str, str] | None:
            after = answer.probabilities[case.finding]
            way = "above" if case.rises else "below"
            wanted = f"p({case.finding}) {way} {before:.4f}"
            return None if sign * (after - before) > 0 else (wanted, f"{after:.4f}")

        return {"finding": moved}
    if case.type == "invariance":
        return {
            "finding": lambda a: None if a.finding == base.finding else (base.finding, a.finding),
            "themes": lambda a: None if set(a.themes) == set(base.themes) else (_told(base.themes), _told(a.themes)),
        }
    judges: dict[str, Judge] = {"finding": lambda a: None if a.finding == case.finding else (case.finding, a.finding)}
    if case.themes is not None:
        wanted = case.themes
        judges["themes"] = lambda a: None if _first_fits(a.themes, wanted) else (_told(wanted), _told(a.themes))
    return judges


def _first_fits(given: Sequence[str], wanted: Sequence[str]) -> bool:
    return given[0] in wanted if given and wanted else not given and not wanted


def _told(themes: Sequence[str]) -> str:
    return " ".join(themes) or "no theme"


def _rates(passed: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (capability, kind, label), group in passed.groupby(["capability", "type", "label"], sort=False):
        right, total = int(group["passed"].sum()), len(group)
        low, high = binomtest(right, total).proportion_ci(LEVEL, method="wilson")
        rows.append((capability, kind, label, total, right, right / total, float(low), float(high)))
    return pd.DataFrame(rows, columns=list(RATES))
