"""What a document says of itself: read from its text, unreadable where that is not certain."""

import csv
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from test_pdf import BOLD, PLAIN, write_pdf

from findings import dataset, documents
from findings.about import UNREADABLE, Judgement, about

SHARED = Path(__file__).resolve().parents[2] / "shared" / "reports"
LABEL, GRADE = 76, 395
GRADED = ("Judgement", 12, BOLD), ("Grade", 12, BOLD)


def row(height, grade, *label):
    """A row of a table of grades: its label's lines and, level with the first, its grade's."""
    parts = [(text, height - 14 * n, 12, PLAIN, LABEL) for n, text in enumerate(label)]
    return parts + [(text, height - 14 * n, 12, PLAIN, GRADE) for n, text in enumerate(grade)]


def front(*rows, dates="Inspection dates: 4 to 15 March 2024", inspector="Lead inspector: Ann Noone, HMI"):
    lines = [
        ("Inspection of Examplemoor local authority", 780, 26, PLAIN),
        ("children’s services", 750, 26, PLAIN),
        (dates, 710, 12, BOLD),
        (inspector, 685, 12, BOLD),
        ("Judgement", 650, 12, BOLD, LABEL),
        ("Grade", 650, 12, BOLD, GRADE),
    ]
    for height, (grade, *label) in zip(range(615, 200, -45), rows, strict=False):
        lines += row(height, grade, *label)
    body = "Children are helped early and well by people who stay with them for years."
    return [*lines, *((body, height, 12, PLAIN) for height in (180, 166, 152, 138))]


LEADERS = "The impact of leaders on social work", "practice with children and families"
PROTECTION = "The experiences and progress of", "children who need help and protection"
CARE = "The experiences and progress of", "children in care"
BOTH = "The experiences and progress of", "children in care and care leavers"
LEAVERS = "The experiences and progress of care", "leavers"
RI = ["Requires improvement", "to be good"]


@pytest.fixture
def said(tmp_path):
    def said(*pages):
        return about(documents.read(write_pdf(tmp_path / "2031-01-01_elsewhere.pdf", *pages)))

    return said


def test_a_report_with_five_grades(said):
    found = said(
        front(
            (["Good"], *LEADERS),
            (RI, *PROTECTION),
            (["Outstanding"], *CARE),
            (["Inadequate"], *LEAVERS),
            (RI, "Overall effectiveness"),
        )
    )
    assert asdict(found) == {
        "authority": "Examplemoor",
        "kind": "inspection_report",
        "framework": "ilacs_2023",
        "inspection_start": "2024-03-04",
        "inspection_end": "2024-03-15",
        "published": UNREADABLE,
        "lead_inspector": "Ann Noone",
        "judgements": {
            "overall": {"grade": "requires_improvement", "page": 1},
            "leaders": {"grade": "good", "page": 1},
            "help_and_protection": {"grade": "requires_improvement", "page": 1},
            "children_in_care": {"grade": "outstanding", "page": 1},
            "care_leavers": {"grade": "inadequate", "page": 1},
        },
    }


def test_care_and_care_leavers_together_before_2023(said):
    found = said(front((["Good"], *LEADERS), (RI, *PROTECTION), (["Good"], *BOTH), (["Good"], "Overall effectiveness")))
    assert found.framework == "ilacs_2018"
    assert found.judgements["children_in_care_and_care_leavers"] == Judgement("good", 1)
    assert {"children_in_care", "care_leavers"}.isdisjoint(found.judgements)


def test_no_overall_grade_since_april_2026_though_the_text_speaks_of_one(said):
    page = front((["Good"], *LEADERS), (RI, *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS))
    found = said([*page, ("In 2022 overall effectiveness was inadequate.", 110, 12, PLAIN)])
    assert found.framework == "ilacs_2026"
    assert "overall" not in found.judgements


def test_four_grades_where_the_overall_one_cannot_be_read_are_no_era(said):
    page = front((["Good"], *LEADERS), (RI, *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS))
    found = said([*page, ("Overall effectiveness", 410, 12, PLAIN, LABEL)])
    assert found.framework == UNREADABLE


@pytest.mark.parametrize(
    "grade",
    [
        ["Requires", "improvement to be", "good"],
        ["Requires improvement to", "be good"],
        ["Requires improvement"],
        ["Requires Improvement to be good"],
    ],
)
def test_a_grade_however_it_wraps(said, grade):
    found = said(front((["Good"], *LEADERS), (grade, *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS)))
    assert found.judgements["help_and_protection"].grade == "requires_improvement"


def test_a_grade_that_a_heading_contradicts_is_unreadable(said):
    page = front((["Good"], *LEADERS), (["Good"], *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS))
    headed = [
        ("The experiences and progress of children in care: inadequate", 700, 14, BOLD),
        ("Children in care wait too long for a home that suits them.", 670, 12, PLAIN),
        ("The experiences and progress of care leavers: good", 600, 14, BOLD),
        ("Care leavers are known well.", 570, 12, PLAIN),
    ]
    found = said(page, headed)
    assert found.judgements["children_in_care"] == Judgement(UNREADABLE, 1)
    assert found.judgements["care_leavers"] == Judgement("good", 1)


def test_a_grade_of_another_scale_is_unreadable(said):
    found = said(front((["Adequate"], *LEADERS), (["Good"], *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS)))
    assert found.judgements["leaders"] == Judgement(UNREADABLE, 1)


def test_a_report_of_the_single_inspection_framework(said):
    title = [
        ("Examplemoor County Council", 780, 26, PLAIN),
        ("Inspection of services for children in need of help and", 740, 14, BOLD),
        ("protection, children looked after and care leavers", 723, 14, BOLD),
        ("Inspection dates: 9–24 November 2016", 690, 14, PLAIN),
        ("Report published: 19 January 2017", 665, 14, PLAIN),
        ("Children’s services in Examplemoor require improvement to be", 630, 14, BOLD),
        ("good", 613, 14, BOLD),
    ]
    rows = [
        *row(570, ["Requires improvement"], "1. Children who need help and protection"),
        *row(530, ["Good"], "2. Children looked after and achieving", "permanence"),
        *row(490, ["Outstanding"], "2.1 Adoption performance"),
        *row(460, ["Requires", "improvement"], "2.2 Experiences and progress of care leavers"),
        *row(420, ["Good"], "3. Leadership, management and governance"),
    ]
    body = [("Children are helped early by people who stay.", height, 12, PLAIN) for height in (300, 286, 272)]
    team = [("The inspection team", 700, 12, BOLD), ("Lead inspector: Ann Noone", 675, 12, PLAIN), *body]
    found = said([*title, *rows, *body], team)
    assert (found.framework, found.authority, found.published) == ("sif", "Examplemoor County Council", "2017-01-19")
    assert (found.inspection_start, found.inspection_end) == ("2016-11-09", "2016-11-24")
    assert found.lead_inspector == "Ann Noone"
    assert {key: judged.grade for key, judged in found.judgements.items()} == {
        "overall": "requires_improvement",
        "leaders": "good",
        "help_and_protection": "requires_improvement",
        "children_in_care": "good",
        "care_leavers": "requires_improvement",
        "adoption": "outstanding",
    }


@pytest.mark.parametrize(
    ("dates", "start", "end"),
    [
        ("Inspection dates: 11 to 15 March 2024", "2024-03-11", "2024-03-15"),
        ("Inspection dates: 29 April 2019 to 3 May 2019", "2019-04-29", "2019-05-03"),
        ("Inspection dates: 26 February to 8 March 2024", "2024-02-26", "2024-03-08"),
        ("Inspection dates: 29 November to 3 January 2024", "2023-11-29", "2024-01-03"),
        ("Inspection date: 7 June–28 June 2018", "2018-06-07", "2018-06-28"),
        ("Inspection dates: 9–24 November 2017", "2017-11-09", "2017-11-24"),
        ("Inspection dates: 9\u00a0to\u00a013\u00a0May 2022", "2022-05-09", "2022-05-13"),
        (
            "Inspection dates: 28 November to 9 December 2022 and 14 to 15 February 2023",
            "2022-11-28",
            "2023-02-15",
        ),
        (
            "Inspection dates: 8 July 2019 to 12 July 2019 and 7 August 2019 to 8 August 2019",
            "2019-07-08",
            "2019-08-08",
        ),
        ("Inspection dates: 4 to 15 Marchember 2024", UNREADABLE, UNREADABLE),
        ("Inspection dates: 30 to 31 February 2024", UNREADABLE, UNREADABLE),
        ("Inspection dates: 15 to 4 March 2024", UNREADABLE, UNREADABLE),
        ("Inspection dates: March 2024", UNREADABLE, UNREADABLE),
        ("Inspection dates: 4 March 2014 to 15 March 2024", UNREADABLE, UNREADABLE),
    ],
)
def test_dates_of_an_inspection(said, dates, start, end):
    found = said(front((["Good"], *LEADERS), (RI, *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS), dates=dates))
    assert (found.inspection_start, found.inspection_end) == (start, end)


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("Lead inspector: Ann Noone HMI", "Ann Noone"),
        ("Lead inspector: Ann Noone, His Majesty’s Inspector", "Ann Noone"),
        ("Lead inspector: Ann-Marie O’Noone Her Majesty's Inspector", "Ann-Marie O’Noone"),
        ("Lead inspectors: Ann Noone, HMI, and Bo van Nobody, HMI", "Ann Noone and Bo van Nobody"),
        ("Lead inspector: one of His Majesty’s Inspectors", UNREADABLE),
        ("Lead inspector: 12345", UNREADABLE),
        ("An inspector called.", UNREADABLE),
    ],
)
def test_lead_inspector(said, printed, name):
    rows = (["Good"], *LEADERS), (RI, *PROTECTION), (["Good"], *CARE), (["Good"], *LEAVERS)
    assert said(front(*rows, inspector=printed)).lead_inspector == name


def test_nothing_is_taken_from_the_name_of_the_file(tmp_path):
    path = tmp_path / "2024-05-16_examplemoor_inspection_report_good.txt"
    path.write_text("Children are helped early.\n\nStaff stay for years.\n")
    assert about(documents.read(path)) == about(documents.read(path)).__class__()


def test_a_letter_about_a_visit(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(
        "# Focused visit to Examplemoor children's services\n\nDear Director\n\n"
        "This letter tells what inspectors found when they visited Examplemoor on 14 and 15 May 2019.\n\n"
        "Overall effectiveness was not judged.\n"
    )
    found = about(documents.read(path))
    assert (found.kind, found.authority, found.framework) == ("visit_letter", "Examplemoor", "ilacs_2018")
    assert (found.inspection_start, found.inspection_end) == ("2019-05-14", "2019-05-15")
    assert found.judgements == {}


def test_minutes_and_news_have_no_judgements_of_their_own(tmp_path):
    minutes, news = tmp_path / "a.txt", tmp_path / "b.txt"
    minutes.write_text(
        "Examplemoor Council: Cabinet\nMinutes, 3 May 2024\n\nPresent: Cllr Noone (Chair), Cllr Nobody\n\n"
        "4. Inspection of Examplemoor\nThe Director said that overall effectiveness was good.\n"
    )
    news.write_text(
        "Examplemoor Gazette\nNews | Sport\nBy A. Reporter\n\nOverall effectiveness: Good\n\n"
        'Inspectors found that plans are clear. "We are pleased," said a spokeswoman.\n'
    )
    assert [about(documents.read(path)).kind for path in (minutes, news)] == ["minutes", "news"]
    assert all(about(documents.read(path)).judgements == {} for path in (minutes, news))


def test_a_page_that_tells_of_a_meeting_is_no_minutes(tmp_path):
    page = tmp_path / "branch.txt"
    page.write_text(
        "Examplemoor branch: what the inspectors heard\n\nCouncillor Noone told the committee's members that "
        "the panel had asked for more time.\n\nMembers' meeting: Monday 6 May, 12.30, room 4\n"
    )
    assert about(documents.read(page)).kind == UNREADABLE


def test_a_paragraph_that_begins_with_by_is_no_byline(tmp_path):
    page = tmp_path / "answers.txt"
    asked = "Answers given on Monday\n\n{} a further question, she asked what Ofsted found. A spokesman had told her.\n"
    for begun, kind in (("By way of", UNREADABLE), ("By Ann Other\n\nAfter", "news")):
        page.write_text(asked.format(begun))
        assert about(documents.read(page)).kind == kind


def test_the_kind_of_an_authored_document_is_right_or_unreadable():
    table = csv.DictReader((dataset.default_folder() / "documents.csv").open(encoding="utf-8"))
    told = Counter()
    for entry in table:
        kind = about(documents.read(dataset.default_folder() / "documents" / entry["file"])).kind
        assert kind in (entry["kind"], UNREADABLE), entry["document_id"]
        told[entry["kind"], kind == UNREADABLE] += 1
    for kind in ("inspection_report", "visit_letter", "minutes", "news"):
        assert told[kind, False] > told[kind, True], told


def test_markdown_table_of_grades(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(
        "# Inspection of Examplemoor children's services\n\nInspection dates: 4 to 15 March 2024\n\n"
        "| Judgement | Grade |\n| --- | --- |\n| The impact of leaders on practice | Good |\n"
        "| The experiences and progress of care leavers | **Requires improvement to be good** |\n"
    )
    judged = about(documents.read(path)).judgements
    assert {key: j.grade for key, j in judged.items()} == {"leaders": "good", "care_leavers": "requires_improvement"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real reports beside the checkout")
def test_real_reports_say_their_dates_and_grades():
    """Grades of a table and of its sections' headings agree in every report, else they would be
    unreadable; the publisher's list has the authority and the day of publication."""
    listed = {r["file"]: r for r in csv.DictReader((SHARED / "index.csv").open(encoding="utf-8"))}
    golden = json.loads((Path(__file__).parent / "data" / "real_reports.json").read_text(encoding="utf-8"))
    for name in golden:
        found = about(documents.read(SHARED / name))
        words = [w for w in listed[name]["local_authority"].lower().replace("&", "and").split() if len(w) > 3]
        assert all(word in found.authority.lower() for word in words), name
        assert found.published in (UNREADABLE, listed[name]["published"]), name
        assert found.inspection_end < listed[name]["published"], name
        assert found.lead_inspector != UNREADABLE, name
