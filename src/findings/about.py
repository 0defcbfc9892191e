"""What a document says of itself: authority, kind, framework, dates, lead inspector, judgements.

Read from the document's own text, never from its file's name; what is not read with certainty is
`unreadable`, never a guess.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from findings.documents import Document
from findings.sentences import plain

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


GRADE = re.compile(
    r"[\s|:–-]*(?<!to be )(?<!not )(?<!yet )"
    r"\b(requires? improvement(?: to be good)?|outstanding|good|adequate|inadequate)[\s|*.]*$",
    re.I,
)

LABELS = (
    ("overall", r"overall effectiveness"),
    ("leaders", r"\bleaders\b|\bleadership\b"),
    ("help_and_protection", r"help and protection|help (?:and|or) (?:care|support) and protection"),
    ("adoption", r"\badoption\b"),
    (
        "children_in_care_and_care_leavers",
        r"(?:in care|looked.after).*\bcare leavers|care leavers.*(?:in care|looked.after)",
    ),
    ("care_leavers", r"care leavers|care experienced"),
    ("children_in_care", r"^(?!.*\boutcomes for\b).*(?:children in care|looked.after)"),
)
"""What a judgement's label is about; the first that matches counts."""

VERDICT = re.compile(
    r"(?:^|\s)(?:children[’']s services in [^\n.]{2,80}?|the overall judgement) (?:is|are)?\s*(?:that (?:it|they) )?"
    r"(outstanding|good|inadequate|requires? improvement(?: to be good)?)\s*\.?\s*(?:\n|$)",
    re.I,
)
"""How reports before 2018 give their overall judgement: as a title, without a row in a table."""

MONTHS = ("january february march april may june july august september october november december").split()
DAY = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?:\s+({'|'.join(MONTHS)}))?(?:,?\s+(\d{{4}}))?\b", re.I)
INSPECTED = re.compile(
    r"inspection dates?\s*:?\s*(\d[^\n]{4,110}?)(?=\s*(?:lead inspector|report(?:ing| published)|judgement|\n|$))", re.I
)
VISITED = re.compile(
    r"(?:visit(?:ed)?|inspectors|HMI)\b[^.\n]{0,160}?\bon "
    r"(\d{1,2}(?: [A-Z][a-z]+)?(?: \d{4})?(?: (?:and|to) \d{1,2})? [A-Z][a-z]+ \d{4})"
)
PUBLISHED = re.compile(
    r"(?:^|\n|\s)(?:report )?published:?\s*(?:on\s+)?(\d{1,2}(?:st|nd|rd|th)? [A-Z][a-z]+ \d{4})", re.I
)
INSPECTOR = re.compile(
    r"(?:^|\n|\s)(?:lead inspectors?|reporting inspector)\s*:?\s*"
    r"([^\n]{3,120}?)(?=\s*(?:\n|$|judgement|age group|published|(?:deputy|team|senior|quality)\b))",
    re.I,
)
POST = re.compile(
    r",?\s*\(?(?:h[ie][rs] majesty[’']s inspectors?|senior h[ie][rs] majesty.*|s?hmi|ofsted inspector|oi)\b\)?", re.I
)
NAME = re.compile(
    r"(?:[A-Z][\w’'.-]*|van|von|de|der|den|la|le|bin|al)(?: (?:[A-Z][\w’'.-]*|van|von|de|der|den|la|le|bin|al)){1,4}"
)
MINUTES = tuple(
    re.compile(cue, re.I | re.M)
    for cue in (
        r"\bminutes\b",
        r"\bapologies\b",
        r"^(?:also )?(?:present|in attendance|in the chair|attend\w+|chair\w*|members)\b(?![’']).{0,40}:",
        r"\bdeclarations?\b|\binterests?\b.{0,20}(?:none|declared)|(?:declared|disclosable)\b.{0,40}\binterest",
        r"\bresolved\b|\bit was agreed\b|^(?:decision|agreed|action)s?\b.{0,20}:",
        r"\b(?:cllrs?|councillors?)\b",
        r"\b(?:committee|board|panel|cabinet|members|forum)\b[^.\n]{0,30}"
        r"\b(?:noted|agreed|asked|heard|considered|received|thanked|queried)\b",
        r"\bin (?:response|reply|answer) to\b",
        r"\bagenda\b|\bitem \d|^\w{0,5}/?\d{1,3}[./]?\s+[A-Z]",
    )
)
"""What minutes hold, each wherever it stands."""

NEWS = tuple(
    re.compile(cue, re.I | re.M)
    for cue in (
        r"[,.!?][\"”’'] (?:said|says|added|adds|told)\b|\b(?:said|added|adds|says|told [^.\n]{2,40})[:,] ?[\"“‘']",
        r"\b(?:news(?:room|paper|desk|letter)?|press (?:release|office)|media (?:release|enquiries))\b",
        r"^by (?-i:[A-Z])|\b(?:reporter|correspondent|editor)\b",
        r"\bspokes(?:man|woman|person)\b",
        r"\b(?:share|sign up|cookie|comments?|read more|related|advert\w*|home|sport)\b$|\b(?:cookies|subscribe)\b",
        r"\b(?:ofsted|watchdog|inspectors)\b[^.\n]{0,80}\b(?:said|says|found|praised|warned|highlighted|noted|rated)\b",
        r"^(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\bpublished\b|\b\d{1,2}[:.]\d\d ?(?:am|pm)\b",
        r"\bcouncillor\b[^.\n]{0,80}\bsaid\b|\bcabinet member\b",
    )
)
"""What news holds, each wherever it stands."""

TITLE = re.compile(
    r"^(?:inspection|re-inspection|focused visit|monitoring visit|ilacs inspection) (?:of|to) (?:the )?(.{2,80}?)"
    r"(?:\s+local authority)?(?:\s+children[’']s (?:social care )?services.*)?$",
    re.I | re.S,
)
COUNCIL = re.compile(
    r"\b(?:council|borough|county|city|unitary authority|trust|corporation|isles of scilly|district)\b", re.I
)
SUBJECT = re.compile(r"\b(?:inspection|services|visit|children[’']s)\b", re.I)


def about(document: Document) -> About:
    """What the document says of itself. It reads the first page, the table of grades and, for
    reports before 2018, the list of the inspection's team."""
    kind = _kind(document)
    judgements = _judgements(document) if kind in ("inspection_report", "visit_letter") else {}
    start, end = _inspected(document, kind)
    return About(
        authority=_authority(document, kind),
        kind=kind,
        framework=_framework(document, kind, judgements, start),
        inspection_start=start,
        inspection_end=end,
        published=_published(document),
        lead_inspector=_lead_inspector(document) if kind in ("inspection_report", "visit_letter") else UNREADABLE,
        judgements=judgements,
    )


def _front(document: Document) -> str:
    """The text of the first page, or of the first 3,000 characters where there are no pages."""
    ends = [start for start in document.page_starts[1:] if start > 0]
    return document.text[: min([3000, *ends[:1]])].replace("\u00a0", " ")


def _kind(document: Document) -> str:
    front = _front(document)
    inspection = any(re.search(r"\binspection of\b", title, re.I) for title in _titles(document))
    letter = re.search(r"(?:^|\n)\s*dear\b", front, re.I)
    if letter and re.search(r"\b(?:focused|monitoring|assurance) visit\b", front, re.I):
        return "visit_letter"
    if inspection and (INSPECTED.search(front) or len(_rows(document)) > 1):
        return "inspection_report"
    if len({key for key, _, _ in _rows(document)}) >= 3 and not letter:
        return "inspection_report"
    minutes, news = (sum(bool(cue.search(document.text)) for cue in cues) for cues in (MINUTES, NEWS))
    if minutes >= 3 and minutes > news + 1:
        return "minutes"
    return "news" if news >= 3 and news > minutes + 1 else UNREADABLE


def _titles(document: Document) -> list[str]:
    """The headings of the first page, and the lines before them, each on one line."""
    last = len(_front(document))
    blocks = [b for b in document.blocks if b.kind in ("heading", "title") and b.start < last]
    return [plain(document.text[b.start : b.end], document.format) for b in blocks]


def _authority(document: Document, kind: str) -> str:
    """As the title has it: 'Hampshire County Council', or 'Torbay' of 'Inspection of Torbay local authority …'."""
    if kind not in ("inspection_report", "visit_letter"):
        return UNREADABLE
    titles = _titles(document)[:4]
    for title in titles:
        named = TITLE.match(title)
        if named and not re.match(r"(?:local authority|services|looked.after|children|a |an )", named.group(1), re.I):
            return named.group(1).strip(" :,")
    for title, following in pairwise([*titles, ""]):
        alone = not re.search(r"\d|:", title) and len(title.split()) <= 9
        if alone and not SUBJECT.search(title) and (COUNCIL.search(title) or SUBJECT.search(following)):
            return title
    return UNREADABLE


def _rows(document: Document) -> list[tuple[str, str, int]]:
    """(key, grade, page) of each row of a table of grades."""
    found = []
    for block in document.blocks:
        if block.kind != "judgement":
            continue
        row = plain(document.text[block.start : block.end], document.format)
        graded = GRADE.search(row)
        if graded and (key := _key(row[: graded.start()])):
            found.append((key, _grade(graded.group(1)), document.page(block.start)))
    return found


def _key(label: str) -> str:
    return next((key for key, pattern in LABELS if re.search(pattern, label, re.I)), "")


def _grade(words: str) -> str:
    grade = words.lower().replace("require ", "requires ").replace(" to be good", "").replace(" ", "_")
    return grade if grade in GRADES else UNREADABLE


def _judgements(document: Document) -> dict[str, Judgement]:
    """The grades of the table and of the title; one that the document contradicts is unreadable."""
    said: dict[str, list[Judgement]] = {}
    for key, grade, page in _rows(document):
        said.setdefault(key, []).append(Judgement(grade, page))
    if "overall" not in said and (verdict := VERDICT.search(_front(document))):
        said["overall"] = [Judgement(_grade(verdict.group(1)), document.page(verdict.start(1)))]
    for key, grade in _headed(document):
        if key in said:
            said[key].append(Judgement(grade, said[key][0].page))
    return {
        key: said[key][0] if len({j.grade for j in said[key]}) == 1 else Judgement(UNREADABLE, said[key][0].page)
        for key in JUDGEMENTS
        if key in said
    }


def _headed(document: Document) -> Iterator[tuple[str, str]]:
    """(key, grade) of each section's heading that carries its grade."""
    for block in document.blocks:
        if block.kind != "heading":
            continue
        heading = plain(document.text[block.start : block.end], document.format)
        graded = GRADE.search(heading)
        if graded and graded.group(1).lower() != "adequate" and (key := _key(heading[: graded.start()])):
            yield key, _grade(graded.group(1))


def _framework(document: Document, kind: str, judgements: Mapping[str, Judgement], start: str) -> str:
    """Told from what is judged and, for letters, which have no grades, from when the visit was: the
    framework for local authority children's services began in January 2018, grades care leavers by
    themselves since January 2023, and gives no overall grade since April 2026."""
    if kind == "visit_letter" and start != UNREADABLE:
        return (
            "ilacs_2026"
            if start >= "2026-04"
            else "ilacs_2023"
            if start >= "2023"
            else ("ilacs_2018" if start >= "2018" else "sif")
        )
    if kind != "inspection_report":
        return "other" if kind in ("minutes", "news") else UNREADABLE
    if re.search(
        r"children in need of help and\s+protection, children looked after and\s+care leavers", _front(document), re.I
    ):
        return "sif"
    if "children_in_care_and_care_leavers" in judgements and "overall" in judgements:
        return "ilacs_2018"
    if {"children_in_care", "care_leavers", "help_and_protection", "leaders"} <= set(judgements):
        if "overall" in judgements:
            return "ilacs_2023"
        return UNREADABLE if re.search(r"^overall effectiveness", _front(document), re.I | re.M) else "ilacs_2026"
    return "other" if judgements or re.search(r"inspection of looked.after", _front(document), re.I) else UNREADABLE


def _inspected(document: Document, kind: str) -> tuple[str, str]:
    """First and last day of the inspection or visit, of several visits the first and the last."""
    if kind == "inspection_report":
        stated = INSPECTED.search(re.sub(r"(inspection dates?:)\s+", r"\1 ", _front(document), flags=re.I))
    elif kind == "visit_letter":
        stated = VISITED.search(_front(document))
    else:
        return UNREADABLE, UNREADABLE
    days = _days(stated.group(1)) if stated else []
    if not days or (days[-1] - days[0]).days > 250:
        return UNREADABLE, UNREADABLE
    return days[0].isoformat(), days[-1].isoformat()


def _days(text: str) -> list[datetime.date]:
    """The days named in the text, in order; a day without month or year has those of the day after
    it. Empty where they do not make sense: no year at the end, no such day, or not in order."""
    days: list[datetime.date] = []
    month = year = 0
    for day, name, written in reversed(DAY.findall(text)):
        if name:
            later, month = month, MONTHS.index(name.lower()) + 1
            year -= not written and later and month > later  # "28 November to 9 December 2022", not the year after
        year = int(written or year)
        try:
            days.insert(0, datetime.date(year, month, int(day)))
        except ValueError:
            return []
    return days if days == sorted(days) and days[0].year >= 2000 else []


def _published(document: Document) -> str:
    """Only where the document says 'published' with a day: a copyright line or a file's date is no such thing."""
    stated = PUBLISHED.search(_front(document))
    days = _days(stated.group(1)) if stated else []
    return days[0].isoformat() if days else UNREADABLE


def _lead_inspector(document: Document) -> str:
    """The name as it is printed, without the post; two names are joined by 'and'."""
    stated = INSPECTOR.search(_front(document)) or INSPECTOR.search(document.text)
    if stated is None:
        return UNREADABLE
    names = [
        name.strip(" ,;") for name in re.split(r"\s+and\s+|,|;", POST.sub(",", stated.group(1))) if name.strip(" ,;")
    ]
    return " and ".join(names) if names and all(NAME.fullmatch(name) for name in names) else UNREADABLE
