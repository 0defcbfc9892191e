"""What a document says of itself: authority, kind, framework, dates, lead inspector, judgements.

Read from the document's own text, never from its file's name; what is not read with certainty is
`unreadable`, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from findings.documents import Document

UNREADABLE = "unreadable"

JUDGEMENTS = (
    "overall",
    "leaders",
    "help_and_protection",
    "children_in_care",
    "care_leavers",
    "children_in_care_and_care_leavers",
    "adoption",
)
"""What is judged, in the order in which readers expect it."""

GRADES = ("outstanding", "good", "requires_improvement", "inadequate")


@dataclass(frozen=True)
class Judgement:
    """A grade (one of `GRADES`, or `unreadable`) and the page, from 1, that it was read from."""

    grade: str
    page: int


@dataclass(frozen=True)
class About:
    """What a document says of itself; each field is `unreadable` where it could not be read.

    Attributes:
        kind: inspection_report, visit_letter, minutes or news.
        framework: sif, ilacs_2018, ilacs_2023, ilacs_2026 or other.
        inspection_start, inspection_end, published: ISO dates.
        judgements: those of `JUDGEMENTS` that the document states.
    """

    authority: str = UNREADABLE
    kind: str = UNREADABLE
    framework: str = UNREADABLE
    inspection_start: str = UNREADABLE
    inspection_end: str = UNREADABLE
    published: str = UNREADABLE
    lead_inspector: str = UNREADABLE
    judgements: Mapping[str, Judgement] = field(default_factory=dict)


def about(document: Document) -> About:
    """What the document says of itself."""
    return About()
