"""Lines of PDF files: text, page, size, weight, position; files that cannot be read."""

import pypdfium2
import pytest
from reportlab.lib import pdfencrypt
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from findings import pdf
from findings.errors import FindingsError

PLAIN, BOLD = "Vera", "VeraBd"
BULLETS = "\uf0b7\uf0a7▪"


def write_pdf(path, *pages, encrypt=None):
    """A PDF of pages of lines: (text, height above the foot, size 11, font plain, left 60)."""
    for font in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(font, f"{font}.ttf"))
        glyphs = pdfmetrics.getFont(font).face.charToGlyph
        # Word maps its bullets into the private-use area of a symbol font; this font has the glyph only.
        glyphs.update({ord(bullet): glyphs[ord("•")] for bullet in BULLETS})
    canvas = Canvas(str(path), encrypt=encrypt)
    for page in pages:
        for line in page:
            text, height, size, font, left = (*line, *(11, PLAIN, 60)[len(line) - 2 :])
            canvas.setFont(font, size)
            canvas.drawString(left, height, text)
        canvas.showPage()
    canvas.save()
    return path


def paragraph(lines, height, size=11, step=14, left=60):
    """The lines of a paragraph, the first at `height`, for `write_pdf`."""
    return [(line, height - step * index, size, PLAIN, left) for index, line in enumerate(lines)]


def test_a_line_has_its_text_page_size_weight_and_place(tmp_path):
    path = write_pdf(
        tmp_path / "a.pdf",
        [("Inspection of Examplemoor", 780, 20, BOLD), ("Leaders listen.", 700)],
        [("Second page.", 500, 9, PLAIN, 100)],
    )
    title, body, second = pdf.read_lines(path)
    assert (title.text, title.page, title.size, title.bold) == ("Inspection of Examplemoor", 1, 20.0, True)
    assert (body.text, body.page, body.size, body.bold) == ("Leaders listen.", 1, 11.0, False)
    assert (second.text, second.page, second.size) == ("Second page.", 2, 9.0)
    assert title.left == pytest.approx(60, abs=1)
    assert second.left == pytest.approx(100, abs=1)
    assert body.bottom < 700 < body.top < title.bottom


def test_lines_of_one_font_have_one_height_whatever_their_letters(tmp_path):
    low, high = pdf.read_lines(write_pdf(tmp_path / "a.pdf", [("ace", 700), ("Ybgpl", 600)]))
    assert low.top - low.bottom == pytest.approx(high.top - high.bottom)


def test_size_and_weight_are_those_of_the_first_letter_not_of_the_bullet(tmp_path):
    path = write_pdf(tmp_path / "a.pdf", [("•", 700, 7), ("Item in bold", 700, 12, BOLD, 70)])
    (line,) = pdf.read_lines(path)
    assert (line.text, line.size, line.bold) == ("• Item in bold", 12.0, True)


@pytest.mark.parametrize("bullet", BULLETS)
def test_private_use_bullets_come_through(tmp_path, bullet):
    (line,) = pdf.read_lines(write_pdf(tmp_path / "a.pdf", [(f"{bullet} Visits happen on time.", 700)]))
    assert line.text == f"{bullet} Visits happen on time."


def test_a_page_without_text_has_no_lines_but_counts(tmp_path):
    path = write_pdf(tmp_path / "a.pdf", [("One.", 700)], [], [("Three.", 700)])
    assert [(line.text, line.page) for line in pdf.read_lines(path)] == [("One.", 1), ("Three.", 3)]


def test_a_pdf_without_text_has_no_lines(tmp_path):
    assert pdf.read_lines(write_pdf(tmp_path / "a.pdf", [])) == []


def test_a_password_to_open_is_refused(tmp_path):
    path = write_pdf(tmp_path / "a.pdf", [("Secret.", 700)], encrypt=pdfencrypt.StandardEncryption("let-me-in"))
    with pytest.raises(FindingsError, match=r"a\.pdf: the PDF is encrypted"):
        pdf.read_lines(path)


def test_a_password_only_to_change_does_not_hinder(tmp_path):
    protection = pdfencrypt.StandardEncryption("", ownerPassword="mine", canModify=0)
    (line,) = pdf.read_lines(write_pdf(tmp_path / "a.pdf", [("Open to read.", 700)], encrypt=protection))
    assert line.text == "Open to read."


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, keep):
    path = write_pdf(tmp_path / "a.pdf", *[[("Leaders listen.", 700)]] * 5)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(FindingsError, match=r"a\.pdf: not a readable PDF"):
        pdf.read_lines(path)


def test_a_page_that_cannot_be_loaded_is_refused(tmp_path):
    path = write_pdf(tmp_path / "a.pdf", [("Leaders listen.", 700)])
    path.write_bytes(path.read_bytes().replace(b"/Type /Page\n", b"/Type /Rage\n"))
    with pytest.raises(FindingsError, match=r"a\.pdf: a page cannot be read"):
        pdf.read_lines(path)


def test_too_many_pages_are_refused(tmp_path):
    path = tmp_path / "a.pdf"
    document = pypdfium2.PdfDocument.new()
    for _ in range(pdf.MAX_PAGES + 1):
        document.new_page(100, 100)
    document.save(path)
    with pytest.raises(FindingsError, match="2001 pages are more than 2000"):
        pdf.read_lines(path)
