"""Documents → sentences with their heading, page, number and span; the fingerprint."""

from itertools import pairwise
from pathlib import Path

import docx
import pytest
from test_pdf import BOLD, PLAIN, paragraph, write_pdf

from findings.documents import read
from findings.sentences import fingerprint, plain, sentences, split

AUTHORED = Path(__file__).parents[1] / "data" / "authored" / "documents"


def parts(text):
    return [text[start:end] for start, end in split(text, 0, len(text))]


@pytest.fixture
def cut(tmp_path):
    """The sentences of a file of the given name and content."""

    def cut(name, content):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return sentences(read(path))

    return cut


# Where a sentence ends ---------------------------------------------------------------------------


def test_a_word_that_looks_like_a_title_ends_a_sentence():
    text = "Children write to those whom they miss. Miss. Cole answers them."
    assert parts(text) == ["Children write to those whom they miss.", "Miss. Cole answers them."]


@pytest.mark.parametrize(
    "text",
    [
        "Mrs. Cole and Dr. Adeyemi-Ross met Cllr. Finch at St. Agnes School.",
        "Some teams, e.g. Duty, wait for partners, i.e. Health.",
        "Managers (cf. Section two, vol. 3, p. 14, paras. 5 to 9) agree.",
        "Item no. 4 and ref. 2201 were noted.",
        "The chair, J. P. Marsh, and Ms A. Cole signed.",
        "J.P. Marsh signed.",
        "Caseloads fell from 21.5 to 16.4 on average, a fall of 3.1.",
        "The meeting opened at 10.30 a.m. and closed at 4.15 p.m. on Monday.",
        "The visit took place from 3 Sept. 2024 to 9 Oct. 2024.",
        "Did it help? they were asked! and it did… mostly.",
        "See www.examplemoor.example/News.Today for more.",
        "12. Leaders listen.",
        "Signed ........ Date ........",
    ],
)
def test_full_stops_that_end_nothing(text):
    assert parts(text) == [text]


@pytest.mark.parametrize(
    "expected",
    [
        ["Leaders listen.", "They act!", "Is it enough?", "Not yet…", "It will be."],
        ["The panel closed at 4 p.m.", "Members then left."],
        ["The answer was no.", "Members asked again."],
        ["Members chose plan B.", "Officers agreed.", "It is in appendix C.", "It is long."],
        ["Staff see more children than I.", "That is right."],
        ["Visits, letters, calls etc.", "They all help."],
        ["It is run by Example Homes Ltd.", "The council pays."],
        ["It began in 2019.", "The end is near."],
        ["Costs rose.", "£3 million was spent.", "40 children moved.", "Élan was lost."],
        ["The wait is long (six weeks).", "(It was two.)", "It grows."],
        ["Plans are clear.\n", "Staff know them."],
    ],
)
def test_sentences_end(expected):
    assert parts(" ".join(expected)) == [text.strip() for text in expected]


@pytest.mark.parametrize(
    "expected",
    [
        ["A child said: ‘They came back.", "They stayed.’", "Others agreed."],
        ["“We are proud.", "We will go on,” said the leader.", "“More is to come.”", "She left."],
        ["‘Why?’ he asked."],
        ['He wrote "It works."', '"It does," she wrote.'],
    ],
)
def test_quotes_may_hold_several_sentences(expected):
    assert parts(" ".join(expected)) == expected


@pytest.mark.parametrize("mark", ["1", "12"])
def test_a_footnote_mark_stays_with_the_sentence_it_follows(mark):
    assert parts(f"There is a fund for trips.{mark} Families like it.") == [
        f"There is a fund for trips.{mark}",
        "Families like it.",
    ]


@pytest.mark.parametrize("reference", ["(outcome 2, national framework)", "(enabler 1, national framework)"])
def test_a_reference_to_the_framework_after_a_sentence_stands_alone(reference):
    assert parts(f"Families get help early. {reference}") == ["Families get help early.", reference]
    assert parts(f"Families get help early {reference}. It lasts.") == [
        f"Families get help early {reference}.",
        "It lasts.",
    ]


def test_split_stays_within_its_span():
    text = "Before it. One here. Two here. After it."
    start, end = text.index("One"), text.index(" After")
    assert [text[a:b] for a, b in split(text, start, end)] == ["One here.", "Two here."]


def test_nothing_but_space_holds_no_sentence():
    assert parts(" \n ") == []


# Headings, lists, numbers, pages -----------------------------------------------------------------

MARKDOWN = """# Visit to Examplemoor

Opening words.

## What *works* [well](https://examplemoor.example/well)

3. Leaders listen. They act.

- visits to children
- letters. Calls too

| Judgement | Grade |
| --- | --- |
| The impact of leaders | Good |
| Homes visited. All of them | 3 |
"""


def test_markdown_sentences_carry_heading_number_and_list(cut):
    found = cut("letter.md", MARKDOWN)
    well = "What works well"
    assert [(s.text, s.heading, s.paragraph, s.list_item, s.page) for s in found] == [
        ("Opening words.", "Visit to Examplemoor", None, False, 1),
        ("Leaders listen.", well, 3, False, 1),
        ("They act.", well, 3, False, 1),
        ("visits to children", well, None, True, 1),
        ("letters.", well, None, True, 1),
        ("Calls too", well, None, True, 1),
        ("Homes visited. All of them 3", well, None, False, 1),
    ]


def test_there_is_no_heading_before_the_first(cut):
    assert [s.heading for s in cut("a.md", "Leaders listen.\n\n# Head\n\nThey act.\n")] == ["", "Head"]


def test_a_title_of_plain_text_is_a_sentence_and_heads_what_follows(cut):
    after = "Members heard that the team now visits every child within the ten days that its plan allows."
    found = cut("minutes.txt", f"Leadership. Part 2\n\n{after}\n\n2. Numbered words come next. And more.\n")
    assert [(s.text, s.heading, s.paragraph) for s in found] == [
        ("Leadership. Part 2", "", None),
        (after, "Leadership. Part 2", None),
        ("Numbered words come next.", "Leadership. Part 2", 2),
        ("And more.", "Leadership. Part 2", 2),
    ]


def test_marks_without_letters_are_no_sentences(cut):
    after = "Members heard that the team now visits every child within the ten days that its plan allows."
    assert [(s.text, s.heading) for s in cut("a.txt", f"-----\n{after}\n")] == [(after, "")]
    assert [s.text for s in cut("a.md", "Leaders listen.\n\n\\*\\*\\*\n\n____ !\n\nThey act.\n")] == [
        "Leaders listen.",
        "They act.",
    ]


def test_pdf_sentences_know_their_page_and_heading(tmp_path):
    path = write_pdf(
        tmp_path / "report.pdf",
        [
            ("Findings", 700, 16, BOLD),
            *paragraph(["1. Leaders meet children each month and they answer.", "They also write and they"], 74),
        ],
        [("put it on record. All is kept.", 760), ("• Timely visits", 700)],
    )
    found = sentences(read(path))
    assert [(s.text, s.page, s.paragraph, s.list_item) for s in found] == [
        ("Leaders meet children each month and they answer.", 1, 1, False),
        ("They also write and they put it on record.", 1, 1, False),
        ("All is kept.", 2, 1, False),
        ("Timely visits", 2, None, True),
    ]
    assert {s.heading for s in found} == {"Findings"}


# What a reader sees ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("**Leaders** *listen* and __they__ _act_.", "Leaders listen and they act."),
        ("***Leaders*** listen, *and so,* they “*act*”.", "Leaders listen, and so, they “act”."),
        ("*‘Kind’* words (_“warm”_ ones) help.", "‘Kind’ words (“warm” ones) help."),
        ("See [the *letter*](https://examplemoor.example/a_b) now.", "See the letter now."),
        ("![Logo](logo.png) Words follow.", "Logo Words follow."),
        ("A `plan` is\\* kept.", "A plan is* kept."),
        ("Wrapped\nin  two.", "Wrapped in two."),
        ("> Quoted and\n> wrapped.", "Quoted and wrapped."),
        ("Use snake_case_names and 2 * 3 * 4.", "Use snake_case_names and 2 * 3 * 4."),
    ],
)
def test_markdown_marks_are_not_seen(cut, source, seen):
    assert [s.text for s in cut("a.md", f"{source}\n")] == [seen]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("Leaders listen. **Staff stay.** *Plans* are clear.", ["Leaders listen.", "Staff stay.", "Plans are clear."]),
        ("It met **Dr.** Cole. She spoke.", ["It met Dr. Cole.", "She spoke."]),
        ("[Read it. Now](a.md) or not. Go.", ["Read it. Now or not.", "Go."]),
        ("[Read it.](a.md) Then go.", ["Read it.", "Then go."]),
        ("> One is here.\n> Two is here.", ["One is here.", "Two is here."]),
        ("One Example Street.\\\nExamplemoor.", ["One Example Street.", "Examplemoor."]),
    ],
)
def test_markdown_marks_do_not_hide_where_sentences_end(cut, source, seen):
    assert [s.text for s in cut("a.md", f"{source}\n")] == seen


def test_plain_text_keeps_its_stars_and_bars(cut):
    assert [s.text for s in cut("a.txt", "Rated **two** out | of _five_ [see](note).")] == [
        "Rated **two** out | of _five_ [see](note)."
    ]


# Spans -------------------------------------------------------------------------------------------


def check_spans(document):
    """Spans hold their sentence, are ordered and do not overlap; the number of sentences."""
    found = sentences(document)
    for sentence in found:
        span = document.text[sentence.start : sentence.end]
        assert fingerprint(span) == fingerprint(sentence.text)
        assert plain(span, document.format) == sentence.text
        assert span == span.strip()
        assert sentence.text == " ".join(sentence.text.split())
        assert sentence.page == document.page(sentence.start)
    for before, after in pairwise(found):
        assert before.end <= after.start
    return len(found)


def test_spans_hold_in_markdown(tmp_path):
    path = tmp_path / "letter.md"
    path.write_text(
        f'\n{MARKDOWN}\n> **Quoted** words\n> [go on](a.md). _Next_ ones.\n\n1. Ones.\n2. [Twos](b.md "T").\n', "utf-8"
    )
    assert check_spans(read(path)) == 11


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_spans_hold_in_plain_text(tmp_path, ending):
    path = tmp_path / "minutes.txt"
    lines = [
        "Agenda item 4",
        "",
        "Members heard that the team now visits every child within the ten",
        "days that its plan allows. Dr. Cole asked “Why ten? Why not five?” and",
        "waited for an answer.",
        "  • first point",
        "\t(b) second point. It has more",
        "7. Numbered words.",
    ]
    path.write_bytes(ending.join(lines).encode())
    assert check_spans(read(path)) == 8


def test_spans_hold_in_html(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(
        "<h1>Visit</h1><p>Leaders&nbsp;<b>listen.</b> They  act&hellip; Then\nrest.</p><ul><li>cr&egrave;che</ul>"
        "<table><tr><td>Homes. All</td><td>3</td></tr></table><p>Soft&shy;ly done.</p>",
        "utf-8",
    )
    assert check_spans(read(path)) == 6


def test_spans_hold_in_word(tmp_path):
    word = docx.Document()
    word.add_heading("Visit", 1)
    word.add_paragraph("Leaders listen.\tThey act.\nThen they rest.")
    word.add_paragraph("first item", style="List Bullet")
    word.save(tmp_path / "letter.docx")
    assert check_spans(read(tmp_path / "letter.docx")) == 4


def test_spans_hold_in_pdf(tmp_path):
    path = write_pdf(
        tmp_path / "report.pdf",
        [
            ("Findings", 700, 16, BOLD),
            *paragraph(["1. Partners do good multi-", "agency work and chil-", "dren gain. All children"], 88),
        ],
        [("say so. Good.", 760), ("• Long-", 700), ("term homes", 686, 11, PLAIN, 70)],
    )
    assert check_spans(read(path)) == 4


def test_spans_hold_in_every_authored_document():
    paths = sorted(path for path in AUTHORED.iterdir() if path.suffix in (".md", ".txt"))
    assert paths
    for path in paths:
        assert check_spans(read(path)) > 0, path.name


# The fingerprint ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        "the council’s long-term plan is good, at 3.5",
        "The council's long‑term plan is  good,\nat 3.5",
        "“The councils longterm plan” is good at 35.",
        "THE COUNCIL’S LONG-\u00adTERM PLAN IS GOOD, AT 3.5",
        "**The** council’s _long-term_ plan is good, at 3.5",
        "The council’s [long-term plan](https://examplemoor.example/plan) is good, at 3.5",
    ],
)
def test_fingerprint_is_the_same_through_changes_of_form(other):
    assert fingerprint(other) == fingerprint("The council’s long-term plan is good, at 3.5")


@pytest.mark.parametrize(
    "other", ["Plan 2 is good", "Plan 1 is food", "Plan 1 is", "1 Plan is good", "Plan 1 is góod", ""]
)
def test_fingerprint_tells_other_words_apart(other):
    assert fingerprint(other) != fingerprint("Plan 1 is good")


def test_fingerprint_stays_what_it_was():
    """Hashes that are stored in annotation files depend on it."""
    assert fingerprint("Leaders listen.") == "3ba5a73bf7ac04d74deb430cd03daecf039c8f0840ff7cbfa6b8deea9e52e409"


@pytest.mark.parametrize("piece", [".", "Mr. ", "a. B ", "[](", ". A", "?!"])
def test_a_long_hostile_repetition_comes_to_an_end(piece):
    # A splitter of quadratic time would take hours for this.
    text = piece * 200_000
    spans = list(split(text, 0, len(text)))
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text.rstrip())
