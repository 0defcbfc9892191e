import base64
import csv
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from datetime import date

import openpyxl
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from readings import BY, HOSTILE, SHA256, hostile, labelled, long, small

from findings import pages, sentences, taxonomy
from findings.about import About
from findings.reading import Reading

TAXONOMY = taxonomy.load()
DAY = date(2026, 1, 31)


@pytest.fixture
def write(tmp_path):
    """Write a reading's files; returns a function from an ending to the file."""

    def written(reading):
        pages.write(reading, tmp_path, "x", TAXONOMY, DAY)
        return lambda ending: tmp_path / f"x.{ending}"

    return written


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "lxml")


def visible_text(element):
    return " ".join(element.get_text().split())


def test_every_file_is_written_whole_and_nothing_else(tmp_path):
    written = pages.write(small(), tmp_path, "x", TAXONOMY, DAY)
    names = ["x.csv", "x.document.json", "x.html", "x.jsonl", "x.md", "x.xlsx"]
    assert sorted(p.name for p in written) == names
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_a_file_that_cannot_be_written_leaves_nothing_half_written(tmp_path):
    (tmp_path / "x.html").mkdir()
    with pytest.raises(OSError, match="directory"):
        pages.write(small(), tmp_path, "x", TAXONOMY, DAY)
    assert [p.name for p in tmp_path.iterdir()] == ["x.html"]


# What the files have in common --------------------------------------------------------------------


def test_the_matrix_counts_a_sentence_under_each_of_its_themes():
    rows = {row.theme: row for row in pages.matrix(small(), TAXONOMY)}
    assert list(rows) == [*TAXONOMY.theme_ids, pages.NO_THEME]
    assert rows["leadership"].counts == (3, 0, 0, 0)
    assert rows["workforce"].counts == (1, 0, 0, 0)
    assert rows["assessment_planning"].counts == (0, 2, 0, 0)
    assert rows[pages.NO_THEME].counts == (0, 0, 0, 2)
    assert pages.totals(small(), TAXONOMY) == (3, 2, 1, 2)
    assert sum(row.total for row in rows.values()) == 9


def test_the_summary_quotes_the_most_certain_sentences_and_each_once():
    quotes = {q.theme: [p.labelled.sentence for p in q.sentences] for q in pages.strongest(small(), TAXONOMY)}
    assert quotes == {
        "leadership": ["Leaders spend with care.", "Leaders know their services."],
        "assessment_planning": ["Visits are too seldom."],
        "voice": ["The number of visits."],
    }
    [leadership, *_] = pages.strongest(small(), TAXONOMY, most=1)
    assert [p.number for p in leadership.sentences] == [5]


def test_a_heading_that_is_a_sentence_too_heads_its_section_once():
    made = pages.sections(small())
    assert [section.heading for section in made] == ["", "Summary", "What should be better"]
    assert [section.title.number if section.title else None for section in made] == [None, None, 7]
    assert [[p.number for p in section.sentences] for section in made] == [[1], [2, 3, 4, 5, 6], [8]]


def test_two_headings_of_one_wording_are_two_sections():
    rows = [labelled("One.", heading="A"), labelled("Two.", heading="B"), labelled("Three.", heading="A")]
    assert [s.heading for s in pages.sections(Reading("x", SHA256, 1, BY, About(), rows))] == ["A", "B", "A"]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2024-03-11", "2024-03-22", "11 to 22 March 2024"),
        ("2024-02-26", "2024-03-08", "26 February 2024 to 8 March 2024"),
        ("2024-03-11", "2024-03-11", "11 March 2024"),
        ("2024-03-11", "unreadable", "11 March 2024 to unreadable"),
        ("unreadable", "unreadable", "unreadable"),
    ],
)
def test_the_dates_of_an_inspection_are_said_as_readers_say_them(start, end, said):
    about = About(inspection_start=start, inspection_end=end)
    assert pages.particulars(about)["Inspected"] == said


def test_characters_that_hide_or_reorder_text_are_shown_by_number():
    assert pages.visible("a\u202eb\x00c\u2067\n\ud800") == "a[U+202E]b[U+0000]c[U+2067]\n[U+D800]"
    assert pages.visible("naïve – “quoted” £5, ½ and 😀") == "naïve – “quoted” £5, ½ and 😀"


# HTML ---------------------------------------------------------------------------------------------


def test_html_has_judgements_particulars_and_who_labelled_it(write):
    page = soup(write(small())("html"))
    assert page.h1.get_text() == "Examplemoor Council"
    assert [visible_text(li) for li in page.select(".grades li")] == [
        "Overall effectiveness Requires improvement page 1",
        "Impact of leaders Good page 1",
        "Care leavers Unreadable page 2",
    ]
    facts = {dt.get_text(): visible_text(dt.find_next("dd")) for dt in page.select("dt")}
    assert facts["Inspected"] == "11 to 22 March 2024"
    assert facts["Framework"] == "ILACS, from 2023"
    assert facts["Lead inspector"] == "unreadable"
    assert facts["Labelled by"] == f"{BY} on 2026-01-31"


def test_html_says_so_where_no_judgement_was_read(write):
    page = soup(write(replace(small(), about=About()))("html"))
    assert page.h1.get_text() == "examplemoor.pdf"
    assert "No judgement with a grade was read" in visible_text(page.header)


def test_html_gives_each_sentence_its_sign_word_probability_and_place(write):
    page = soup(write(small())("html"))
    said = [visible_text(p) for p in page.select("#sentences .m")]
    assert said == [
        "– No finding 98% · page 1",
        "! Concern 95% · Assessment and planning · page 1, paragraph 1",
        "✓ Strength 97% · Leadership · page 1, paragraph 2",
        "✓ Strength 91% · Leadership, Workforce · page 1, paragraph 2",
        "✓ Strength over 99% · Leadership · page 2, paragraph 3",
        "! Concern 41% To review · Assessment and planning · page 2, paragraph 3",
        "– No finding 88% · page 2",
        "→ Recommendation 99% · Voice · page 2",
    ]
    headings = [h.get_text() for h in page.select("#sentences h3")]
    assert headings == ["Summary", "What should be better"]


def test_html_quotes_lead_to_their_sentences(write):
    page = soup(write(small())("html"))
    for link in page.select(".quotes a"):
        quoted = link.find_previous("q").get_text()
        assert quoted in page.select_one(link["href"]).get_text()
    assert len(page.select(".quotes a")) == 4


def test_html_matrix_is_a_table_with_headers_and_a_row_of_totals(write):
    table = soup(write(small())("html")).select_one("#matrix")
    rows = {row.th.get_text(): [td.get_text() for td in row.select("td")] for row in table.select("tbody tr, tfoot tr")}
    assert rows["Leadership"] == ["3", "0", "0", "0", "3"]
    assert rows["No theme"] == ["0", "0", "0", "2", "2"]
    assert rows["All sentences"] == ["3", "2", "1", "2", "8"]
    assert len(table.select("th[scope=col]")) == 6
    assert table.select_one("button")["aria-label"] == "3: Leadership, Strength"


def test_html_allows_its_own_style_and_script_by_hash_and_nothing_else(write):
    page = soup(write(small())("html"))
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        [found] = page.find_all(element)
        digest = base64.b64encode(hashlib.sha256(found.string.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not page.select("[style], [src], link, img, iframe, object, form, base")
    assert not [a for tag in page.find_all(True) for a in tag.attrs if a.startswith("on")]


def test_html_shows_hostile_text_as_text(write):
    page = soup(write(hostile())("html"))
    shown = [li.p.get_text() for li in page.select("#sentences li")]
    assert shown == [pages.visible(text) for text in HOSTILE]
    assert not page.select("svg, img, image, iframe, a[href^=javascript]")
    assert len(page.select("script")) == 1
    assert not sentences.HIDDEN.search(str(page))


def test_html_of_forty_pages_is_under_a_megabyte(write):
    assert write(long())("html").stat().st_size < 1_000_000


def test_another_taxonomys_findings_get_a_sign_too(tmp_path):
    other = taxonomy.from_dict(
        {
            "name": "other",
            "findings": [{"id": i, "title": i.title(), "definition": ""} for i in ("praise", "none")],
            "themes": [{"id": "food", "title": "Food", "definition": ""}],
        }
    )
    reading = Reading("x.txt", SHA256, 1, BY, About(), [labelled("The soup is good.", "praise", 0.9, ["food"])])
    pages.write(reading, tmp_path, "x", other, DAY)
    assert "• Praise 90% · Food" in visible_text(soup(tmp_path / "x.html"))


# Workbook -----------------------------------------------------------------------------------------


def test_workbook_has_sentences_with_filters_matrix_and_judgements(write):
    book = openpyxl.load_workbook(write(small())("xlsx"))
    assert book.sheetnames == ["sentences", "matrix", "judgements"]
    sentences, matrix, judgements = book.worksheets
    rows = list(sentences.values)
    assert rows[0] == tuple(pages.WIDTHS)
    sixth = (6, 2, 3, "Summary", "Concern", 0.41, "yes", "Assessment and planning", "Some plans may drift.")
    assert rows[6] == sixth
    assert len(rows) == 9
    assert sentences.auto_filter.ref == "A1:I9"
    assert sentences.freeze_panes == matrix.freeze_panes == judgements.freeze_panes == "A2"
    counts = {row[0]: row[1:] for row in matrix.values}
    assert counts["theme"] == ("Strength", "Concern", "Recommendation", "No finding", "all")
    assert counts["Leadership"] == (3, 0, 0, 0, 3)
    assert counts["All sentences"] == (3, 2, 1, 2, 8)
    about = list(judgements.values)
    assert about[1] == ("Overall effectiveness", "Requires improvement", 1)
    assert ("Care leavers", "unreadable", 2) in about
    assert ("Lead inspector", "unreadable", None) in about
    assert ("Labelled by", f"{BY} on 2026-01-31", None) in about


def test_workbook_holds_hostile_text_as_strings(write):
    book = openpyxl.load_workbook(write(hostile())("xlsx"))
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    assert not [cell for cell in cells if cell.hyperlink]
    sentences = [row[8] for row in book["sentences"].iter_rows(min_row=2, values_only=True)]
    assert sentences == [pages.visible(text) for text in HOSTILE]


def test_workbook_says_where_a_text_was_too_long_for_a_cell(write):
    book = openpyxl.load_workbook(write(Reading("x", SHA256, 1, BY, About(), [labelled("word " * 10_000)]))("xlsx"))
    text = book["sentences"]["I2"].value
    assert (len(text), text[-1]) == (pages.CELL_MAX, "…")


def test_a_document_without_sentences_has_its_files_too(write):
    file = write(Reading("x", SHA256, 1, BY, About(), []))
    assert openpyxl.load_workbook(file("xlsx"))["sentences"].max_row == 1
    assert "No sentence is certain enough" in visible_text(soup(file("html")))


# CSV, JSON, Markdown ------------------------------------------------------------------------------


def test_csv_cells_cannot_run_as_formulas(write):
    text = write(hostile())("csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(HOSTILE)
    assert all(not value.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for value in row.values())
    assert rows[8]["sentence"] == "'" + HOSTILE[8]


def test_json_lines_keep_the_exact_text(write):
    lines = write(hostile())("jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert [row["sentence"] for row in rows] == HOSTILE
    assert {row["document"] for row in rows} == {hostile().name}


def test_document_json_holds_what_the_document_says_of_itself(write):
    assert json.loads(write(small())("document.json").read_text(encoding="utf-8")) == {
        "authority": "Examplemoor Council",
        "kind": "inspection_report",
        "framework": "ilacs_2023",
        "inspection_start": "2024-03-11",
        "inspection_end": "2024-03-22",
        "published": "2024-05-07",
        "lead_inspector": "unreadable",
        "judgements": {
            "care_leavers": {"grade": "unreadable", "page": 2},
            "overall": {"grade": "requires_improvement", "page": 1},
            "leaders": {"grade": "good", "page": 1},
        },
        "document": "examplemoor.pdf",
        "sha256": SHA256,
        "labelled_by": BY,
        "reader": pages.reader(),
    }


def test_what_is_written_already_is_known_by_content_model_and_files(tmp_path):
    document = tmp_path / "a.md"
    document.write_text("Plans drift.\n")
    reading = replace(small(), sha256=hashlib.sha256(b"Plans drift.\n").hexdigest())
    assert not pages.is_written(tmp_path, "x", document, BY)
    pages.write(reading, tmp_path, "x", TAXONOMY, DAY)
    assert pages.is_written(tmp_path, "x", document, BY)
    assert not pages.is_written(tmp_path, "x", document, "findings version 8")
    assert not pages.is_written(tmp_path, "x", tmp_path / "missing.md", BY)
    (tmp_path / "x.xlsx").unlink()
    assert not pages.is_written(tmp_path, "x", document, BY)
    pages.write(reading, tmp_path, "x", TAXONOMY, DAY)
    document.write_text("Plans drift no more.\n")
    assert not pages.is_written(tmp_path, "x", document, BY)


def test_markdown_has_judgements_matrix_and_sentences_by_heading(write):
    text = write(small())("md").read_text(encoding="utf-8")
    assert text.startswith("# Examplemoor Council\n")
    for line in (
        "| Overall effectiveness | Requires improvement | 1 |",
        "| Leadership | 3 | 0 | 0 | 0 | 3 |",
        "| All sentences | 3 | 2 | 1 | 2 | 8 |",
        "### What should be better",
        "- ! Some plans may drift. *(Concern, 41%; Assessment and planning; page 2, paragraph 3; to review)*",
    ):
        assert f"\n{line}\n" in text


def test_markdown_shows_hostile_text_as_text(write):
    text = write(hostile())("md").read_text(encoding="utf-8")
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    page = BeautifulSoup(rendered, "lxml")
    assert {tag.name for tag in page.find_all(True)} <= set(
        "html body h1 h2 h3 ul li p em table thead tbody tr th td".split()
    )
    shown = [re.sub(r" \(Strength.*", "", visible_text(li)) for li in page.find_all("ul")[-1].find_all("li")]
    assert shown == [f"✓ {' '.join(pages.visible(HOSTILE[-1]).split())}"]
    assert html.unescape(visible_text(page.h1)) == HOSTILE[0]
