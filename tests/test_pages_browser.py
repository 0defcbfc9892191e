"""The page in a real browser (the system's Chromium), as its readers meet it: by mouse, by keyboard,
on a phone, on paper, without scripts."""

import os
import shutil
from dataclasses import dataclass, field
from datetime import date

import pypdfium2
import pytest
from readings import HOSTILE, hostile, long, small

from findings import pages, taxonomy

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")

DESK = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Opened:
    """A page in the browser with all that it asked of the network and told the console."""

    page: object
    requests: list = field(default_factory=list)
    console: list = field(default_factory=list)

    def refused(self, request):
        """What the page's own policy stops is told as a request, but never leaves the browser."""
        if request.failure == "csp":
            self.requests.remove(request.url)

    def sentences(self):
        """The numbers of the sentences that are shown."""
        shown = self.page.locator("#sentences li.s:visible, #sentences div.s:not(.off)").all()
        return sorted(int(element.get_attribute("id")[1:]) for element in shown)

    def count(self):
        return self.page.locator("#count").inner_text()

    def box(self, label):
        return self.page.get_by_role("checkbox", name=label, exact=True)

    def theme(self):
        return self.page.get_by_role("combobox", name="Theme", exact=True)

    def cell(self, label):
        return self.page.get_by_role("button", name=label, exact=True)

    def focused(self):
        return self.page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id")

    def tab_to(self, element):
        """Press Tab until the element has the focus, as a reader without a mouse would."""
        for _ in range(150):
            self.page.keyboard.press("Tab")
            if element.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"Tab does not reach {element}")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, whom containers run as.
        options = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@pytest.fixture
def show(browser, tmp_path):
    """Write a reading's files and open its page; what went wrong in the browser fails the test."""
    contexts, shown = [], []

    def opened(reading, viewport=DESK, change=lambda text: text, **options):
        pages.write(reading, tmp_path, "x", taxonomy.load(), date(2026, 1, 31))
        file = tmp_path / "x.html"
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
        context = browser.new_context(viewport=viewport, offline=True, **options)
        contexts.append(context)
        made = Opened(context.new_page())
        made.page.set_default_timeout(10_000)
        made.page.on("request", lambda request: made.requests.append(request.url))
        made.page.on("requestfailed", made.refused)
        made.page.on("console", lambda message: made.console.append(f"{message.type}: {message.text}"))
        made.page.on("pageerror", lambda error: made.console.append(str(error)))
        made.page.on("dialog", lambda dialog: made.console.append(f"dialog: {dialog.message}"))
        made.page.goto(file.as_uri())
        shown.append((made, file.as_uri()))
        return made

    yield opened
    for context in contexts:
        context.close()
    for made, asked in shown:
        assert made.requests == [asked]


def axe(page):
    """The violations that axe finds, as (impact, rule, elements)."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(v["impact"], v["id"], [node["target"] for node in v["nodes"]][:3]) for v in found]


# Filters and matrix -------------------------------------------------------------------------------


def test_filters_by_finding_theme_and_review(show):
    opened = show(small())
    assert (opened.sentences(), opened.count()) == ([1, 2, 3, 4, 5, 6, 7, 8], "8 sentences")
    opened.box("Strength").uncheck()
    assert (opened.sentences(), opened.count()) == ([1, 2, 6, 7, 8], "5 of 8 sentences shown")
    opened.box("To review only").check()
    assert opened.sentences() == [6]
    opened.page.get_by_role("button", name="Show all").click()
    opened.theme().select_option("Workforce")
    assert opened.sentences() == [4]
    opened.theme().select_option("No theme")
    assert opened.sentences() == [1, 7]
    opened.box("No finding").uncheck()
    assert (opened.sentences(), opened.count()) == ([], "0 of 8 sentences shown")
    assert opened.console == []


def test_a_heading_is_shown_while_anything_under_it_is(show):
    opened = show(small())
    headings = opened.page.locator("#sentences h3:visible")
    opened.cell("1: Voice, Recommendation").click()
    assert headings.all_inner_texts() == ["What should be better"]
    assert opened.sentences() == [8]  # the heading, a sentence without the finding, stands but does not count
    assert opened.page.locator("#s7 .m").is_hidden()
    opened.cell("2: No theme, No finding").click()
    assert opened.page.locator("#s7 .m").is_visible()
    opened.cell("3: Leadership, Strength").click()
    assert headings.all_inner_texts() == ["Summary"]


def test_a_number_of_the_matrix_shows_as_many_sentences(show):
    opened = show(small())
    cells = opened.page.locator("#matrix button")
    for cell in cells.all():
        cell.click()
        assert len(opened.sentences()) == int(cell.inner_text())
        pressed = opened.page.locator("#matrix button[aria-pressed=true]")
        assert pressed.evaluate_all("cells => cells.map(c => c.ariaLabel)") == [cell.get_attribute("aria-label")]
    assert cells.count() == 14
    assert opened.console == []


def test_a_pressed_number_pressed_again_shows_all(show):
    opened = show(small())
    cell = opened.cell("2: Assessment and planning, Concern")
    cell.click()
    assert (cell.get_attribute("aria-pressed"), opened.sentences()) == ("true", [2, 6])
    cell.click()
    assert (cell.get_attribute("aria-pressed"), opened.count()) == ("false", "8 sentences")


def test_the_filters_tell_the_matrix(show):
    opened = show(small())
    opened.cell("3: Leadership, Strength").click()
    assert opened.theme().locator("option:checked").inner_text() == "Leadership"
    assert opened.page.locator("input[name=finding]:checked").count() == 1
    opened.box("Concern").check()
    assert opened.cell("3: Leadership, Strength").get_attribute("aria-pressed") == "false"


def test_a_quote_leads_to_its_sentence_also_when_that_was_filtered_away(show):
    opened = show(small())
    opened.cell("2: Concern, all themes").click()
    opened.page.locator(".quotes a").first.click()
    assert opened.page.locator("#s5").is_visible()
    assert opened.page.evaluate("document.querySelector(':target').id") == "s5"
    box = opened.page.locator("#s5").bounding_box()
    bar = opened.page.locator("#bar").bounding_box()
    assert bar["y"] + bar["height"] <= box["y"] < DESK["height"]


def test_matrix_and_filters_stay_in_view_on_a_wide_screen(show):
    opened = show(long(200))
    opened.page.locator("#s150").scroll_into_view_if_needed()
    for part in ("#bar", "#matrix"):
        assert 0 <= opened.page.locator(part).bounding_box()["y"] < DESK["height"] / 2


# Other ways to read -------------------------------------------------------------------------------


def test_all_works_by_keyboard_alone(show):
    opened = show(small())
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the sentences"
    assert opened.page.locator(".skip").bounding_box()["y"] >= 0
    opened.page.keyboard.press("Enter")
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.value") == "strength"
    outline = opened.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    opened.page.keyboard.press("Space")
    assert opened.sentences() == [1, 2, 6, 7, 8]
    opened.tab_to(opened.theme())
    opened.page.keyboard.type("Asses")
    assert opened.sentences() == [2, 6]
    opened.tab_to(opened.box("To review only"))
    opened.page.keyboard.press("Space")
    assert opened.sentences() == [6]
    opened.tab_to(opened.page.get_by_role("button", name="Show all"))
    opened.page.keyboard.press("Enter")
    assert opened.count() == "8 sentences"
    opened.page.reload()
    opened.requests.pop()
    opened.tab_to(opened.cell("1: Workforce, Strength"))
    opened.page.keyboard.press("Enter")
    assert (opened.sentences(), opened.focused()) == ([4], "1: Workforce, Strength")


def test_on_a_phone_nothing_is_cut_off_and_the_matrix_leads_to_the_sentences(show):
    opened = show(small(), PHONE, is_mobile=True, has_touch=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    opened.cell("2: Assessment and planning, Concern").tap()
    assert opened.focused() == "sentences"
    assert opened.page.locator("#count").bounding_box()["y"] < PHONE["height"]


def test_without_scripts_all_is_there_to_read(show):
    opened = show(small(), java_script_enabled=False)
    for text in ("Visits are too seldom.", "What should be better", "The number of visits."):
        assert opened.page.locator("#sentences").get_by_text(text, exact=True).is_visible()
    assert opened.page.locator("#sentences .s:visible").count() == 8
    assert opened.page.locator("#filters").is_hidden()
    assert opened.page.locator("#matrix button:enabled").count() == 0
    assert opened.page.get_by_text("Choose a number").is_hidden()


def test_printed_it_has_what_is_shown_and_no_controls(show, tmp_path):
    opened = show(small())
    opened.cell("2: Concern, all themes").click()
    opened.page.emulate_media(media="print")
    assert opened.page.locator("input:visible, select:visible, #reset:visible, .skip:visible").count() == 0
    border = opened.page.locator("#s2").evaluate(
        "e => getComputedStyle(e).borderLeftColor + getComputedStyle(e).borderLeftStyle"
    )
    assert border == "rgb(161, 36, 43)solid"
    opened.page.pdf(path=tmp_path / "x.pdf", format="A4")
    document = pypdfium2.PdfDocument(tmp_path / "x.pdf")
    text = " ".join(" ".join(page.get_textpage().get_text_range() for page in document).split())
    sentences = text[text.index("sentence by sentence") :]
    for said in ("2 of 8 sentences shown", "Visits are too seldom. ! Concern 95%", "Some plans may drift."):
        assert said in sentences
    assert "Leaders listen" not in sentences
    for said in ("Requires improvement", "Themes and findings", "All sentences 3 2 1 2 8"):
        assert said in text


def test_a_long_document_prints_every_sentence(show, tmp_path):
    opened = show(long(300))
    opened.page.pdf(path=tmp_path / "x.pdf", format="A4")
    text = " ".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(tmp_path / "x.pdf"))
    assert [i for i in range(300) if f"plan number {i} is" not in " ".join(text.split())] == []


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing(show, viewport):
    opened = show(small(), viewport)
    assert axe(opened.page) == []
    opened.cell("2: Assessment and planning, Concern").click()
    assert axe(opened.page) == []
    assert opened.console == []


def test_axe_finds_nothing_in_a_long_document(show):
    assert axe(show(long(300)).page) == []


# Safety -------------------------------------------------------------------------------------------


def test_a_hostile_document_is_text_and_runs_nothing(show):
    opened = show(hostile())
    shown = opened.page.locator("#sentences li > p:first-child").all_text_contents()
    assert shown == [pages.visible(text) for text in HOSTILE]
    assert opened.page.locator("script").count() == 1
    assert opened.page.evaluate("typeof window.ran") == "undefined"
    assert opened.page.locator("h1").inner_text() == HOSTILE[0]
    opened.box("Strength").uncheck()
    assert opened.count() == f"0 of {len(HOSTILE)} sentences shown"
    assert opened.console == []


@pytest.mark.parametrize(
    "harm",
    [
        "<script>window.ran = 1</script>",
        "<img src=x onerror='window.ran = 1'>",
        "<svg onload='window.ran = 1'></svg>",
        "<iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
        "<link rel=stylesheet href='http://example.invalid/x.css'>",
        "<style>body { background: url(http://example.invalid/x.png) }</style>",
    ],
)
def test_even_markup_that_slipped_in_would_not_run_nor_ask_for_anything(show, harm):
    opened = show(small(), change=lambda text: text.replace("<main>", f"<main>{harm}"))
    opened.page.wait_for_load_state("load")
    assert opened.page.evaluate("typeof window.ran") == "undefined"
    assert any("Content Security Policy" in line for line in opened.console)


def test_a_document_of_a_thousand_sentences_filters(show):
    opened = show(long())
    opened.box("No finding").uncheck()
    assert opened.count() == "750 of 1000 sentences shown"
    assert opened.console == []
