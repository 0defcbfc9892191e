"""Files of every format → text and blocks; files that cannot be read."""

import io
import json
import struct
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import OxmlElement
from real_reports import GOLDEN, structure
from reportlab.lib import pdfencrypt
from test_pdf import BOLD, PLAIN, paragraph, write_pdf

from findings import documents
from findings.documents import read
from findings.errors import FindingsError
from findings.sentences import sentences

SHARED = Path(__file__).resolve().parents[2] / "shared" / "reports"
LONG = "The team in Examplemoor knows its children well and visits them as often as their plans say it should."


def blocks(document, kind=None):
    """(kind, text) of the blocks, or the texts of one kind; furniture left out."""
    found = [(b.kind, document.text[b.start : b.end]) for b in document.blocks if b.kind != "furniture"]
    return [text for k, text in found if k == kind] if kind else found


@pytest.fixture
def reads(tmp_path):
    """Read content (text or bytes) as a file of the given name."""

    def reads(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path)

    return reads


@pytest.fixture
def reads_pdf(tmp_path):
    return lambda *pages: read(write_pdf(tmp_path / "report.pdf", *pages))


# Files that cannot be read -----------------------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(FindingsError, match=r"gone\.pdf: No such file.*Check the name"):
        read(tmp_path / "gone.pdf")


def test_a_folder_is_no_document(tmp_path):
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(FindingsError, match=r"folder\.pdf"):
        read(tmp_path / "folder.pdf")


@pytest.mark.parametrize(("name", "named"), [("report.odt", r"'\.odt'"), ("report", "'no ending'")])
def test_unknown_ending(reads, name, named):
    with pytest.raises(FindingsError, match=rf"cannot read {named} files. Give one of \.pdf, \.docx"):
        reads(name, LONG)


def test_an_ending_in_capitals_is_known(reads):
    assert reads("NOTES.TXT", LONG).format == "text"


@pytest.mark.parametrize("ending", documents.READERS)
def test_empty_file(reads, ending):
    with pytest.raises(FindingsError, match="the file is empty"):
        reads(f"empty{ending}", "")


@pytest.mark.parametrize(
    ("name", "most"), [("large.txt", documents.MAX_TEXT_BYTES), ("large.pdf", documents.MAX_BYTES)]
)
def test_a_file_too_large_is_refused_unread(name, most, tmp_path):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(most + 1)
    with pytest.raises(FindingsError, match=f"MiB are more than {most // 2**20} MiB"):
        read(path)


def test_text_that_windows_calls_unicode_is_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Plans are clear. £5 was saved.".encode("utf-16"))
    assert read(path).text == "Plans are clear. £5 was saved."


@pytest.mark.parametrize("mark", ["<w:vMerge/>", '<w:gridSpan w:val="3000000"/>', '<w:gridSpan w:val="abc"/>'])
def test_docx_table_with_hostile_cells_is_read_or_refused_at_once(mark, tmp_path):
    import docx
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    made = docx.Document()
    made.add_paragraph("Plans are clear.")
    cell = made.add_table(rows=1, cols=2).cell(0, 0)
    cell.text = "Visits are late."
    cell._tc.get_or_add_tcPr().append(parse_xml(mark.replace("/>", f" {nsdecls('w')}/>", 1)))
    path = tmp_path / "a.docx"
    made.save(path)
    document = read(path)
    assert "Plans are clear." in document.text
    assert document.text.count("Visits are late.") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", " \n\t\n"),
        ("a.txt", b"\xef\xbb\xbf"),
        ("a.txt", "-----\n=====\n"),
        ("a.md", "\n\n"),
        ("a.md", "<!-- nothing to see -->\n"),
        ("a.html", "<html><head><title>Report</title></head><body><!-- none --></body></html>"),
    ],
)
def test_a_file_without_text(reads, name, content):
    with pytest.raises(FindingsError, match="no text in it"):
        reads(name, content)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
@pytest.mark.parametrize("make", ["pdf", "docx"])
def test_a_pdf_or_word_file_named_as_text(tmp_path, reads, name, make):
    path = tmp_path / f"real.{make}"
    if make == "pdf":
        write_pdf(path, [(LONG, 700)])
    else:
        word = docx.Document()
        word.add_paragraph(LONG)
        word.save(path)
    with pytest.raises(FindingsError, match="not a text file"):
        reads(name, path.read_bytes())


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_nul_bytes_are_no_text(reads, name):
    with pytest.raises(FindingsError, match="not a text file"):
        reads(name, b"Leaders\0listen.")


# PDF ---------------------------------------------------------------------------------------------


def test_html_named_pdf(reads):
    with pytest.raises(FindingsError, match="an HTML page, not a PDF"):
        reads("report.pdf", "<!DOCTYPE html><html><body><h1>Not found</h1></body></html>")


def test_text_named_pdf(reads):
    with pytest.raises(FindingsError, match=r"this is not a PDF\. Fetch the file again"):
        reads("report.pdf", LONG)


def test_damaged_pdf(reads):
    with pytest.raises(FindingsError, match="damaged or cut short"):
        reads("report.pdf", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog")


def test_encrypted_pdf(tmp_path):
    path = write_pdf(tmp_path / "a.pdf", [(LONG, 700)], encrypt=pdfencrypt.StandardEncryption("let-me-in"))
    with pytest.raises(FindingsError, match="Save a copy without a password"):
        read(path)


@pytest.mark.parametrize("page", [[], [("4", 30)]])
def test_pdf_without_text(reads_pdf, page):
    with pytest.raises(FindingsError, match=r"run text recognition \(OCR\)"):
        reads_pdf(page)


def test_pdf_headings_by_size_or_weight_go_over_two_lines(reads_pdf):
    document = reads_pdf(
        [
            ("Inspection of children’s services in", 790, 20, PLAIN),
            ("Examplemoor", 766, 20, PLAIN),
            ("The experiences of children who need help", 700, 13, BOLD),
            ("and protection", 684, 13, BOLD),
            *paragraph(["Workers see children often and they write down what", "the children say."], 650),
            ("What needs to improve", 600, 11, BOLD),
            *paragraph(["The oversight of plans by managers is not yet good", "enough."], 580),
        ]
    )
    assert document.format == "pdf"
    assert blocks(document) == [
        ("heading", "Inspection of children’s services in Examplemoor"),
        ("heading", "The experiences of children who need help and protection"),
        ("paragraph", "Workers see children often and they write down what the children say."),
        ("heading", "What needs to improve"),
        ("paragraph", "The oversight of plans by managers is not yet good enough."),
    ]
    assert [b.level for b in document.blocks if b.kind == "heading"] == [1, 2, 2]


@pytest.mark.parametrize("bullet", ["•", "\uf0b7", "\uf0a7", "▪", "-", "–", "o", "a)", "(iv)"])
def test_pdf_bullets(reads_pdf, bullet):
    document = reads_pdf(
        [
            ("Leaders should improve:", 700),
            (f"{bullet} Visits to children who live far from the", 680),
            ("homes of their families", 666, 11, PLAIN, 74),
            (f"{bullet} Letters to children.", 652),
        ]
    )
    assert blocks(document) == [
        ("paragraph", "Leaders should improve:"),
        ("list_item", "Visits to children who live far from the homes of their families"),
        ("list_item", "Letters to children."),
    ]


def test_pdf_bullet_drawn_apart_from_its_item(reads_pdf):
    document = reads_pdf([("•", 700), ("Managers read each plan.", 700, 11, PLAIN, 80), (LONG, 650)])
    assert blocks(document) == [("list_item", "Managers read each plan."), ("paragraph", LONG)]


def test_pdf_numbered_paragraphs_may_touch_their_number(reads_pdf):
    document = reads_pdf(
        [
            ("9. Leaders know their services well.", 700),
            ("10.Child protection meetings start on time and all of the", 680),
            ("partners who matter come to them.", 666),
            ("11.‘Listening days’ are held twice a year.", 646),
        ]
    )
    assert [b.number for b in document.blocks] == [9, 10, 11]
    assert blocks(document, "paragraph") == [
        "Leaders know their services well.",
        "Child protection meetings start on time and all of the partners who matter come to them.",
        "‘Listening days’ are held twice a year.",
    ]


def with_furniture(number, lines):
    header, footer = ("Inspection of Examplemoor", 815, 9), (f"Example Inspectorate, page {number}", 30, 9)
    return [header, *lines, footer, (str(number), 30, 9, PLAIN, 500)]


def test_pdf_headers_and_footers_are_taken_out_of_a_sentence_they_cut(reads_pdf):
    document = reads_pdf(
        with_furniture(
            1, paragraph(["The new team listens to children and puts what", "they say into plans that the"], 90)
        ),
        with_furniture(2, paragraph(["family then signs. Meetings are kind and they", "end on time."], 760)),
        with_furniture(3, paragraph(["Schools in Examplemoor said the same."], 760)),
    )
    assert blocks(document) == [
        (
            "paragraph",
            "The new team listens to children and puts what they say into plans that the "
            "family then signs. Meetings are kind and they end on time.",
        ),
        ("paragraph", "Schools in Examplemoor said the same."),
    ]
    for words in ("Inspectorate", "Inspection"):
        assert words not in document.text
    assert sum(b.kind == "furniture" for b in document.blocks) >= 6


@pytest.mark.parametrize("number", ["7", "Page 7", "page 7 of 12"])
def test_pdf_page_numbers_are_furniture_on_a_single_page(reads_pdf, number):
    assert blocks(reads_pdf([(LONG, 700), (number, 30)])) == [("paragraph", LONG)]


def test_pdf_a_bullet_that_recurs_at_the_foot_of_pages_is_no_footer(reads_pdf):
    page = [(LONG, 700), ("• Timeliness of visits", 60)]
    assert blocks(reads_pdf(page, page, page), "list_item") == ["Timeliness of visits"] * 3


def test_pdf_pages_of_a_paragraph_over_a_break(reads_pdf):
    document = reads_pdf(
        [("Leaders meet children each month and they", 60)],
        [("answer their questions.", 760)],
        [("The end is here.", 760)],
    )
    text = document.text
    assert blocks(document, "paragraph")[0] == "Leaders meet children each month and they answer their questions."
    assert [document.page(text.index(word)) for word in ("Leaders", "they", "answer", "questions", "The end")] == [
        1,
        1,
        2,
        2,
        3,
    ]


def test_pdf_a_sentence_that_ends_with_its_page_ends_the_paragraph(reads_pdf):
    document = reads_pdf([("Leaders meet children each month.", 60)], [("They answer questions.", 760)])
    assert blocks(document, "paragraph") == ["Leaders meet children each month.", "They answer questions."]


def test_pdf_a_hanging_paragraph_goes_on_over_the_page_after_a_full_stop(reads_pdf):
    document = reads_pdf(
        [("4. Leaders meet children each month and", 74), ("they listen.", 60, 11, PLAIN, 75)],
        [("They answer questions.", 760, 11, PLAIN, 75)],
    )
    assert blocks(document) == [
        ("paragraph", "Leaders meet children each month and they listen. They answer questions.")
    ]
    assert document.blocks[0].number == 4


def test_pdf_first_page_without_text(reads_pdf):
    document = reads_pdf([], [("Leaders listen.", 700)])
    assert document.page(document.blocks[0].start) == 2


@pytest.mark.parametrize(
    ("wrapped", "joined"),
    [
        (["Partners do good multi-", "agency work."], "Partners do good multi-agency work."),
        (["All children are safe and the chil-", "dren say so."], "All children are safe and the children say so."),
        (["Visits are long -", "too long, some say."], "Visits are long - too long, some say."),
    ],
)
def test_pdf_hyphens_at_line_ends(reads_pdf, wrapped, joined):
    assert blocks(reads_pdf(paragraph(wrapped, 700)), "paragraph") == [joined]


def test_pdf_hyphen_at_the_end_of_a_page(reads_pdf):
    document = reads_pdf([("Partners do good multi-", 60)], [("agency work.", 760)])
    assert blocks(document, "paragraph") == ["Partners do good multi-agency work."]
    assert document.page(document.text.index("agency")) == 2


def test_pdf_footnote_follows_the_paragraph_that_runs_past_it(reads_pdf):
    document = reads_pdf(
        [
            *paragraph(["There is a fund for clubs and trips.1 Families know it", "well and they use it and the"], 120),
            ("1 The fund began in the year before.", 70, 8),
        ],
        [("council renews it.", 760)],
    )
    assert blocks(document) == [
        (
            "paragraph",
            "There is a fund for clubs and trips.1 Families know it well and they use it and the council renews it.",
        ),
        ("paragraph", "1 The fund began in the year before."),
    ]


# Word --------------------------------------------------------------------------------------------


def test_pdf_a_number_in_another_size_does_not_part_its_paragraph(reads_pdf):
    lines = ["1. Social workers in Examplemoor know their children well and they", "visit them as often as plans say."]
    page = [(lines[0][:2], 700, 14, PLAIN, 60), (lines[0][2:], 700, 11, PLAIN, 74), (lines[1], 686, 11, PLAIN, 80)]
    assert blocks(reads_pdf(page, paragraph([LONG] * 3, 600)), "paragraph")[0] == " ".join(lines)[3:]


def test_pdf_table_of_grades_whose_labels_and_grades_wrap(reads_pdf):
    table = [
        ("Judgement", 700, 12, BOLD, 70),
        ("Grade", 700, 12, BOLD, 395),
        ("The impact of leaders on social work practice with", 665, 12, PLAIN, 70),
        ("children and families", 651, 12, PLAIN, 70),
        ("Outstanding", 658, 12, PLAIN, 395),
        ("The experiences and progress of children in care", 615, 12, PLAIN, 70),
        ("Requires improvement", 615, 12, PLAIN, 395),
        ("to be good", 601, 12, PLAIN, 395),
        ("Overall effectiveness", 565, 12, PLAIN, 70),
        ("Good", 565, 12, PLAIN, 395),
    ]
    document = reads_pdf([*table, *paragraph([LONG] * 3, 500, size=12)])
    assert blocks(document, "judgement") == [
        "Judgement Grade",
        "The impact of leaders on social work practice with children and families Outstanding",
        "The experiences and progress of children in care Requires improvement to be good",
        "Overall effectiveness Good",
    ]
    assert blocks(document, "paragraph") == [" ".join([LONG] * 3)]


def test_pdf_a_grade_beside_a_sections_heading_leaves_the_heading(reads_pdf):
    heading = [("Leadership and governance", 750, 14, BOLD, 60), ("Good", 750, 14, BOLD, 395)]
    document = reads_pdf(paragraph([LONG] * 3, 600), [*heading, *paragraph([LONG] * 3, 700)])
    assert blocks(document)[1:3] == [
        ("heading", "Leadership and governance"),
        ("judgement", "Leadership and governance Good"),
    ]


def test_pdf_a_grade_word_in_running_text_is_no_table(reads_pdf):
    lines = [LONG, LONG[:-1] + " and practice is", "good"]
    assert blocks(reads_pdf(paragraph(lines, 700), paragraph([LONG] * 3, 700)), "judgement") == []


def test_pdf_a_table_of_contents_is_furniture(reads_pdf):
    rows = ("Summary", 3), ("Recommendations", 8), ("The inspection team", 21)
    contents = [("Contents", 780, 20, PLAIN)]
    for height, (title, number) in zip(range(740, 0, -25), rows, strict=False):
        contents += [(title, height, 11, PLAIN, 60), (str(number), height, 11, PLAIN, 500)]
    document = reads_pdf(contents, [("Summary", 780, 16, BOLD), *paragraph([LONG] * 3, 740)])
    assert blocks(document) == [("heading", "Summary"), ("paragraph", " ".join([LONG] * 3))]


def test_pdf_footnote_marks_are_no_part_of_the_text(reads_pdf):
    page = [
        ("What needs to improve?", 750, 14, BOLD, 60),
        ("1", 757, 8, BOLD, 236),
        ("Four children live in special schools", 700, 11, PLAIN, 60),
        ("2", 705, 7, PLAIN, 247),
        (", all of them in the county.", 700, 11, PLAIN, 252),
        *paragraph([LONG] * 3, 600),
    ]
    document = reads_pdf(page)
    assert blocks(document, "heading") == ["What needs to improve?"]
    assert blocks(document, "paragraph")[0].replace(" ,", ",") == (
        "Four children live in special schools, all of them in the county."
    )


def test_pdf_the_publishers_imprint_stands_under_no_heading(reads_pdf):
    section = [("Leadership", 780, 16, BOLD), *paragraph([LONG] * 3, 740)]
    imprint = [("© Crown copyright 2031", 700), ("Town Hall, Examplemoor", 640)]
    document = reads_pdf(section, imprint)
    assert blocks(document, "imprint") == ["© Crown copyright 2031", "Town Hall, Examplemoor"]
    assert [s.heading for s in sentences(document)] == ["Leadership"] * 3 + ["", ""]


def test_pdf_an_imprint_before_the_sections_is_ordinary_text(reads_pdf):
    document = reads_pdf([("© Crown copyright 2031", 780)], [("Leadership", 780, 16, BOLD), (LONG, 740)])
    assert blocks(document, "imprint") == []


def test_pdf_lines_stored_out_of_order_are_read_from_top_to_bottom(reads_pdf):
    top, bottom = paragraph([LONG, LONG], 780), paragraph([LONG.upper()] * 3, 600)
    first = ("Leaders", 500)
    document = reads_pdf([first, first, first, *bottom, *top])
    assert blocks(document, "paragraph")[0] == f"{LONG} {LONG}"


def test_pdf_two_columns_are_read_one_after_the_other(reads_pdf):
    left = paragraph(["Left words go on and on here"] * 12, 780, left=60)
    right = paragraph(["Right words go on and on here"] * 12, 780, left=320)
    document = reads_pdf([*left, *right])
    text = document.text
    assert text.rindex("Left") < text.index("Right")


def test_pdf_a_paragraph_without_a_full_stop_ends_where_the_next_number_begins(reads_pdf):
    page = paragraph(["34. Visits to children are timely", "and have a purpose"], 700)
    page += paragraph(["35. Managers know this and say so", "in their notes."], 660)
    document = reads_pdf([*page, *paragraph([LONG] * 3, 500)])
    numbers = [block.number for block in document.blocks if block.number]
    assert numbers == [34, 35]


def test_pdf_a_number_may_stand_before_a_figure(reads_pdf):
    page = paragraph(["19. Visits to children are timely."], 700)
    page += paragraph(["20. 16- and 17-year-olds are housed."], 670)
    page += paragraph(["21. 94% of them said that they feel safe."], 640)
    document = reads_pdf([*page, *paragraph([LONG] * 3, 500)])
    assert [block.number for block in document.blocks if block.number] == [19, 20, 21]


def test_pdf_a_dash_inside_a_sentence_may_begin_a_line(reads_pdf):
    lines = ["4. Some help, such as the therapy for families", "– a thing that is rare – comes soon."]
    page = [(lines[0], 700, 11, PLAIN, 60), (lines[1], 686, 11, PLAIN, 80)]
    document = reads_pdf([*page, *paragraph([LONG] * 3, 500)])
    assert blocks(document, "paragraph")[0] == " ".join(lines)[3:]


@pytest.fixture
def reads_docx(tmp_path):
    """Read the Word document that the given function fills."""

    def reads_docx(fill):
        word = docx.Document()
        fill(word)
        word.save(tmp_path / "letter.docx")
        return read(tmp_path / "letter.docx")

    return reads_docx


def test_docx_headings_and_paragraphs(reads_docx):
    def fill(word):
        word.add_heading("Visit to Examplemoor", 0)
        word.add_heading("Findings", 1)
        word.add_paragraph("")
        word.add_paragraph("Leaders  listen.\nThey act.")
        word.add_heading("Workforce", 3)
        word.add_paragraph("12. Caseloads fell.")

    document = reads_docx(fill)
    assert document.format == "docx"
    assert [(b.kind, b.level, b.number, document.text[b.start : b.end]) for b in document.blocks] == [
        ("heading", 1, None, "Visit to Examplemoor"),
        ("heading", 1, None, "Findings"),
        ("paragraph", 0, None, "Leaders listen. They act."),
        ("heading", 3, None, "Workforce"),
        ("paragraph", 0, 12, "Caseloads fell."),
    ]


def test_docx_lists_by_style_or_typed_bullet(reads_docx):
    def fill(word):
        word.add_paragraph("Leaders should improve:")
        word.add_paragraph("visits to children", style="List Bullet")
        word.add_paragraph("letters to children", style="List Number")
        word.add_paragraph("• the pace of plans")
        word.add_paragraph("a) supervision")

    assert blocks(reads_docx(fill)) == [
        ("paragraph", "Leaders should improve:"),
        ("list_item", "visits to children"),
        ("list_item", "letters to children"),
        ("list_item", "the pace of plans"),
        ("list_item", "supervision"),
    ]


def test_docx_tables_and_judgement_rows(reads_docx):
    def fill(word):
        word.add_paragraph("Before.")
        table = word.add_table(rows=0, cols=2)
        for cells in [
            ("Judgement", "Grade"),
            ("The impact of leaders", "Requires improvement to be good"),
            ("Experiences of care leavers", "Inadequate"),
            ("Homes visited", "Three"),
        ]:
            for cell, text in zip(table.add_row().cells, cells, strict=True):
                cell.text = text
        wide = table.add_row().cells
        wide[0].merge(wide[1]).text = "One cell over both."
        word.add_paragraph("After.")

    assert blocks(reads_docx(fill)) == [
        ("paragraph", "Before."),
        ("judgement", "Judgement Grade"),
        ("judgement", "The impact of leaders Requires improvement to be good"),
        ("judgement", "Experiences of care leavers Inadequate"),
        ("table_row", "Homes visited Three"),
        ("table_row", "One cell over both."),
        ("paragraph", "After."),
    ]


def test_docx_content_controls_are_read(reads_docx):
    def fill(word):
        word.add_paragraph("Leaders listen.")
        control = OxmlElement("w:sdt")
        content = OxmlElement("w:sdtContent")
        control.append(content)
        word.element.body.insert(0, control)
        content.append(word.add_paragraph("Plans are clear.")._p)

    assert blocks(reads_docx(fill), "paragraph") == ["Plans are clear.", "Leaders listen."]


@pytest.fixture
def word_file(tmp_path):
    word = docx.Document()
    for index in range(40):
        word.add_paragraph(f"Paragraph {index} is about Examplemoor.")
    word.save(tmp_path / "whole.docx")
    return (tmp_path / "whole.docx").read_bytes()


def rezipped(data, name, content):
    """The zip file with the content of one member replaced."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return made.getvalue()


def test_docx_that_is_no_zip(reads):
    with pytest.raises(FindingsError, match="not a Word document"):
        reads("a.docx", LONG)


def test_docx_that_is_another_zip(reads):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("notes.txt", LONG)
    with pytest.raises(FindingsError, match="a zip file, but no Word document"):
        reads("a.docx", made.getvalue())


def test_docx_cut_short(reads, word_file):
    with pytest.raises(FindingsError, match="or damaged"):
        reads("a.docx", word_file[: len(word_file) // 2])


@pytest.mark.parametrize(
    "body",
    [
        "<torn",
        "<other/>",
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"/>',
    ],
)
def test_docx_whose_main_part_is_broken(reads, word_file, body):
    with pytest.raises(FindingsError, match="a damaged Word document"):
        reads("a.docx", rezipped(word_file, "word/document.xml", body))


@pytest.mark.parametrize("offset", range(0, 60, 5))
def test_docx_with_bytes_overwritten(reads, word_file, offset):
    """Damaged packed data shows as a wrong checksum or as an error of the unpacking."""
    with zipfile.ZipFile(io.BytesIO(word_file)) as archive:
        start = archive.getinfo("word/document.xml").header_offset + 30 + len("word/document.xml") + offset
    with pytest.raises(FindingsError, match="a damaged Word document"):
        reads("a.docx", word_file[:start] + b"\xff\x00\xff\x00\xff" + word_file[start + 5 :])


def test_docx_zip_with_a_method_that_is_not_known(reads, word_file):
    with zipfile.ZipFile(io.BytesIO(word_file)) as archive:
        methods = [info.header_offset for info in archive.infolist()]
    data = bytearray(word_file)
    for offset in methods:
        data[offset + 8 : offset + 10] = b"\x63\x00"
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 10 : place + 12] = b"\x63\x00"
        place = data.find(b"PK\x01\x02", place + 4)
    with pytest.raises(FindingsError, match="a damaged Word document"):
        reads("a.docx", bytes(data))


def bomb(data):
    return rezipped(data, "word/document.xml", b" " * (documents.MAX_BYTES + 1))


def test_docx_zip_bomb_is_not_unpacked(reads, word_file):
    packed = bomb(word_file)
    assert len(packed) < 2**20
    with pytest.raises(FindingsError, match="unpacks to more than 100 MiB"):
        reads("a.docx", packed)


def test_docx_zip_bomb_that_lies_about_its_size(reads, word_file):
    packed = bomb(word_file)
    lie = packed.replace(struct.pack("<L", documents.MAX_BYTES + 1), struct.pack("<L", 100))
    assert lie != packed
    with pytest.raises(FindingsError, match="damaged"):
        reads("a.docx", lie)


# HTML --------------------------------------------------------------------------------------------


def test_html_blocks(reads):
    document = reads(
        "page.html",
        """<html><head><title>Not shown</title></head><body><h1>Visit to <em>Examplemoor</em></h1>
        <p>Leaders <b>listen</b>.<br>They act.</p><h3>Improve</h3>
        <ul><li>visits</li><li><p>letters</p></li></ul><ol><li>plans</li></ol>
        <p>7. Numbered paragraph.</p><p>• Typed bullet</p></body></html>""",
    )
    assert document.format == "html"
    assert blocks(document) == [
        ("heading", "Visit to Examplemoor"),
        ("paragraph", "Leaders listen. They act."),
        ("heading", "Improve"),
        ("list_item", "visits"),
        ("list_item", "letters"),
        ("list_item", "plans"),
        ("paragraph", "Numbered paragraph."),
        ("list_item", "Typed bullet"),
    ]
    assert [b.level for b in document.blocks if b.kind == "heading"] == [1, 3]
    assert [b.number for b in document.blocks if b.number] == [7]


def test_html_nested_blocks_come_once_each_and_in_order(reads):
    document = reads(
        "page.html",
        "<div>Before <section><div>first</div><span><p>second</p></span></section> between <a href='#'>them</a>"
        "<ul><li>outer<ul><li>inner</li></ul></li></ul>after</div>",
    )
    assert blocks(document) == [
        ("paragraph", "Before"),
        ("paragraph", "first"),
        ("paragraph", "second"),
        ("paragraph", "between them"),
        ("list_item", "outer"),
        ("list_item", "inner"),
        ("paragraph", "after"),
    ]


def test_html_what_is_not_shown_is_not_read(reads):
    document = reads(
        "page.htm",
        "<p>Shown.</p><script>var a = 'one';</script><style>p { color: red }</style><noscript>two</noscript>"
        "<template><p>three</p></template><!-- four --><p>Also<!-- five --> shown<script>6</script>.</p>",
    )
    assert blocks(document) == [("paragraph", "Shown."), ("paragraph", "Also shown.")]


def test_html_menus_are_furniture(reads):
    document = reads("a.html", "<nav><ul><li>News</li><li>Sport</li></ul></nav><p>Leaders listen.</p>")
    assert [block.kind for block in document.blocks] == ["furniture", "furniture", "paragraph"]
    assert [s.text for s in sentences(document)] == ["Leaders listen."]


def test_html_tables(reads):
    document = reads(
        "page.html",
        "<table><thead><tr><th>Judgement</th><th>Grade</th></tr></thead><tbody>"
        "<tr><td>Overall <b>effectiveness</b></td><td><p>Good</p></td></tr>"
        "<tr><td>Homes visited</td><td>3</td></tr></tbody></table>",
    )
    assert blocks(document) == [
        ("judgement", "Judgement Grade"),
        ("judgement", "Overall effectiveness Good"),
        ("table_row", "Homes visited 3"),
    ]


def test_html_a_table_for_layout_is_walked_into(reads):
    document = reads(
        "page.html",
        "<table><tr><td><h2>News</h2><p>Leaders listen. They act.</p>"
        "<table><tr><td>Homes</td><td>3</td></tr></table></td></tr></table>",
    )
    assert blocks(document) == [
        ("heading", "News"),
        ("paragraph", "Leaders listen. They act."),
        ("table_row", "Homes 3"),
    ]


def test_html_entities_and_encoding(reads):
    document = reads(
        "page.html", "<meta charset='iso-8859-1'><p>Caf&eacute;&nbsp;&amp; cr\xe8che &#8217;n".encode("latin-1")
    )
    assert blocks(document) == [("paragraph", "Café & crèche ’n")]


@pytest.mark.parametrize("deep", [100, 5000])
def test_html_deep_inline_nesting_is_read(reads, deep):
    document = reads("page.html", "<b>" * deep + "deep text" + "</b>" * deep)
    assert blocks(document) == [("paragraph", "deep text")]


def test_html_blocks_nested_beyond_reason_are_refused(reads):
    with pytest.raises(FindingsError, match="nested too deeply"):
        reads("page.html", "<div>" * 5000 + "deep text")


# Markdown ----------------------------------------------------------------------------------------


def test_markdown_headings(reads):
    document = reads(
        "a.md", "# Visit to *Examplemoor* #\n\nTitle below\n=====\n\n### Third\n\n> ## Quoted\n>\n> Text.\n"
    )
    assert [(b.level, document.text[b.start : b.end]) for b in document.blocks if b.kind == "heading"] == [
        (1, "Visit to *Examplemoor*"),
        (1, "Title below"),
        (3, "Third"),
        (2, "Quoted"),
    ]
    assert blocks(document, "paragraph") == ["Text."]


@pytest.mark.parametrize("bullet", ["-", "*", "+"])
def test_markdown_lists(reads, bullet):
    document = reads("a.md", f"Improve:\n\n{bullet} visits\n{bullet} **letters** to\n  children\n  - inner\n\nAfter.\n")
    assert blocks(document) == [
        ("paragraph", "Improve:"),
        ("list_item", "visits"),
        ("list_item", "**letters** to\n  children"),
        ("list_item", "inner"),
        ("paragraph", "After."),
    ]


def test_markdown_numbers_before_one_sentence_each_are_a_list(reads):
    document = reads("a.md", "1. Improve visits.\n2. **Letters** to children.\n3. the pace of plans\n")
    assert blocks(document) == [
        ("list_item", "Improve visits."),
        ("list_item", "**Letters** to children."),
        ("list_item", "the pace of plans"),
    ]
    assert [b.number for b in document.blocks] == [1, 2, 3]


def test_markdown_numbers_before_several_sentences_are_paragraphs(reads):
    document = reads("a.md", "4. Leaders listen. They act.\n\n5. Staff stay.\n")
    assert blocks(document) == [("paragraph", "Leaders listen. They act."), ("paragraph", "Staff stay.")]
    assert [b.number for b in document.blocks] == [4, 5]


def test_markdown_a_single_number_is_a_paragraphs(reads):
    document = reads("a.md", "Before it.\n\n6. Leaders listen.\n\nAfter it.\n")
    assert blocks(document) == [("paragraph", t) for t in ("Before it.", "Leaders listen.", "After it.")]
    assert [b.number for b in document.blocks] == [None, 6, None]


def test_markdown_tables(reads):
    document = reads(
        "a.md",
        "| Judgement | Grade |\n| --- | --- |\n| The impact of leaders | **Good** |\n| Care leavers | Inadequate |\n"
        "| Homes visited | 3 |\n",
    )
    assert blocks(document) == [
        ("judgement", "Judgement | Grade"),
        ("judgement", "The impact of leaders | **Good**"),
        ("judgement", "Care leavers | Inadequate"),
        ("table_row", "Homes visited | 3"),
    ]


def test_markdown_a_paragraph_that_opens_with_emphasis_is_no_list_item(reads):
    document = reads("a.md", "*Leaders* listen.\n\n**Staff** stay.\n\n_Plans_ are clear.\n")
    assert {kind for kind, _ in blocks(document)} == {"paragraph"}


def test_markdown_hard_breaks_part_a_paragraph(reads):
    assert blocks(reads("a.md", "One Example Street  \nExamplemoor\\\nEX1 1EX\n")) == [
        ("paragraph", "One Example Street"),
        ("paragraph", "Examplemoor\\"),
        ("paragraph", "EX1 1EX"),
    ]


def test_markdown_comments_are_not_read(reads):
    assert blocks(reads("a.md", "<!-- to do -->\n\nLeaders listen.\n")) == [("paragraph", "Leaders listen.")]


@pytest.mark.parametrize("strange", ["\f", "\x0b", "\x85", "\u2028"])
def test_markdown_lines_end_only_where_markdown_ends_them(reads, strange):
    document = reads("a.md", f"Before{strange}it.\n\n# Head\n\n- item\n")
    assert blocks(document) == [("paragraph", f"Before{strange}it."), ("heading", "Head"), ("list_item", "item")]


# Plain text --------------------------------------------------------------------------------------


def test_text_titles_stand_above_a_paragraph_or_a_list(reads):
    document = reads("a.txt", f"Leadership\n\n{LONG}\n\nNext steps:\n- visits\n- letters\n\nShort end.\n")
    assert blocks(document) == [
        ("title", "Leadership"),
        ("paragraph", LONG),
        ("title", "Next steps:"),
        ("list_item", "visits"),
        ("list_item", "letters"),
        ("paragraph", "Short end."),
    ]


@pytest.mark.parametrize("line", ["=====", "-----", "* * *", "____"])
def test_text_drawn_lines_are_not_read_and_leave_the_title(reads, line):
    assert blocks(reads("a.txt", f"{line}\nLeadership\n{line}\n{LONG}\n")) == [
        ("title", "Leadership"),
        ("paragraph", LONG),
    ]


def test_text_hard_wrapped_lines_are_one_paragraph(reads):
    wrapped = (
        "The team in Examplemoor knows its children well and visits them as\n"
        "Often as their plans say it should, even where families have moved to\n"
        "another town.\n"
    )
    document = reads("a.txt", f"{wrapped}\n{wrapped}")
    assert blocks(document) == [("paragraph", wrapped.strip())] * 2


def test_text_lines_of_whole_paragraphs_are_kept_apart(reads):
    document = reads("a.txt", f"{LONG}\n{LONG}\n")
    assert blocks(document) == [("paragraph", LONG)] * 2


def test_text_menu_lines_are_kept_apart(reads):
    document = reads("a.txt", "Home\nNews\nYour council\nContact us\n")
    assert blocks(document) == [("paragraph", t) for t in ("Home", "News", "Your council", "Contact us")]


@pytest.mark.parametrize("bullet", ["•", "-", "–", "*", "·", "+", "\uf0b7", "a)", "(b)", "ii."])
def test_text_bullets(reads, bullet):
    document = reads("a.txt", f"Members asked for:\n{bullet} visits to\nchildren\n{bullet} letters\n")
    assert blocks(document) == [
        ("title", "Members asked for:"),
        ("list_item", "visits to\nchildren"),
        ("list_item", "letters"),
    ]


@pytest.mark.parametrize("line", ["-5 degrees is too cold.", "A. Cole spoke.", "of course", "2.5 million pounds"])
def test_text_what_only_looks_like_a_bullet(reads, line):
    assert blocks(reads("a.txt", f"{line}\n")) == [("paragraph", line)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_text_line_ends(reads, ending):
    document = reads("a.txt", ending.join(["Leaders listen.", "", "Staff stay.", ""]))
    assert document.text == "Leaders listen.\n\nStaff stay.\n"
    assert blocks(document, "paragraph") == ["Leaders listen.", "Staff stay."]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_text_encodings(reads, encoding):
    document = reads("a.txt", "Café visits – ‘kind’ ones.".encode(encoding))
    assert document.text == "Café visits – ‘kind’ ones."


def test_text_bytes_of_no_encoding_are_replaced(reads):
    assert reads("a.txt", b"Leaders \x81\xff listen.").text == "Leaders \ufffdÿ listen."


def test_text_and_markdown_keep_the_files_own_text(reads):
    content = f"  # Head  \n\n\t- *item*\n\n{LONG}   \n"
    assert reads("a.md", content).text == content
    assert reads("a.txt", content).text == content
    assert reads("a.txt", content).page(len(content)) == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real reports beside the checkout")
@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text(encoding="utf-8")))
def test_real_reports_keep_their_structure(name):
    assert structure(SHARED / name) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
