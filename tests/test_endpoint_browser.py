"""The page of `findings serve` in a real browser (the system's Chromium), against a real server."""

import pytest
import words
from readings import HOSTILE
from test_pages_browser import CHROMIUM, DESK, axe, browser  # noqa: F401 # a fixture

from findings.markdown import visible

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install '.[dev]')")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")

PHONE = {"width": 360, "height": 740}
TEXT = "Leaders are good. Visits are late.\n\n- The plan should be better.\n\nThe borough lies on the coast."


@pytest.fixture(scope="module")
def served():
    with words.running() as running:
        yield running


@pytest.fixture(scope="module")
def guarded():
    with words.running(token="a-secret") as running:
        yield running


class Opened:
    """The page with all that it asked of the network and told the console."""

    def __init__(self, page, address):
        self.page, self.asked, self.console = page, [], []
        page.set_default_timeout(60_000)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("dialog", lambda dialog: self.console.append(f"dialog: {dialog.message}"))
        page.goto(address)

    def status(self, text):
        self.page.locator("#status", has_text=text).wait_for()

    def paste(self, text):
        self.page.get_by_label("Paste a paragraph").fill(text)
        self.page.get_by_role("button", name="Read the paragraph").click()

    def shown(self):
        return self.page.locator("#sentences li:visible .text").all_inner_texts()

    def focused(self):
        return self.page.evaluate("document.activeElement.id || document.activeElement.textContent")


@pytest.fixture
def show(browser):  # noqa: F811
    contexts, pages = [], []

    def opened(running, viewport=DESK, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        address = f"http://127.0.0.1:{running.port}/"
        pages.append((Opened(contexts[-1].new_page(), address), address))
        return pages[-1][0]

    yield opened
    for context in contexts:
        context.close()
    for page, address in pages:
        assert all(url.startswith(address) or url == "data:," for url in page.asked)


def drop(opened, *files):
    """Drop files, given as (name, content), on the page."""
    script = """files => {
        const data = new DataTransfer();
        for (const [name, content] of files) data.items.add(new File([content], name));
        for (const kind of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    opened.page.evaluate(script, [list(file) for file in files])


def test_a_pasted_paragraph_comes_back_sentence_by_sentence(served, show):
    opened = show(served)
    opened.paste(TEXT)
    opened.status("4 sentences read")
    assert len(opened.shown()) == 4
    rows = opened.page.locator("#sentences li")
    assert rows.evaluate_all("rows => rows.map(row => row.className)") == [
        "strength",
        "concern",
        "recommendation",
        "none",
    ]
    assert rows.first.locator(".meta").inner_text().startswith("✓ Strength 9")
    assert "Leadership" in rows.first.inner_text()
    assert opened.page.get_by_role("checkbox", name="Strength: 1").is_checked()
    assert opened.page.get_by_text("Labelled by findings version 1.").is_visible()
    assert opened.focused() == "result"
    assert axe(opened.page) == []
    assert opened.console == []


def test_the_legend_filters(served, show):
    opened = show(served)
    opened.paste(TEXT)
    opened.status("4 sentences read")
    opened.page.get_by_role("checkbox", name="Concern: 1").uncheck()
    opened.page.get_by_role("checkbox", name="No finding: 1").uncheck()
    opened.status("2 sentences shown")
    assert opened.shown() == ["Leaders are good.", "The plan should be better."]


def test_a_chosen_and_a_dropped_document_are_read(served, show, tmp_path):
    opened = show(served)
    (tmp_path / "a report.md").write_text("# Leaders\n\nVisits are late.\n\n# Plans\n\nPlans are good.")
    opened.page.get_by_label("Or give a report").set_input_files(tmp_path / "a report.md")
    opened.page.get_by_role("button", name="Read the report").click()
    opened.page.get_by_role("heading", name="a report.md").wait_for()
    assert opened.page.locator("#sentences h3").all_inner_texts() == ["Leaders", "Plans"]
    drop(opened, ("b.txt", TEXT))
    opened.page.get_by_role("heading", name="b.txt").wait_for()
    assert len(opened.shown()) == 4
    drop(opened, ("b.txt", TEXT), ("c.txt", TEXT))
    opened.status("Drop one document at a time.")
    assert opened.console == []


def test_what_cannot_be_read_is_told_in_the_servers_words(served, show):
    opened = show(served)
    drop(opened, ("x.exe", "x"))
    opened.status("Documents must be one of .pdf")
    drop(opened, ("x.pdf", "x"))
    opened.status("The document cannot be read: this is not a PDF")
    assert opened.page.locator("#result").is_hidden()
    opened.paste(" \n ")
    opened.status("There is no text to read.")
    assert axe(opened.page) == []


def test_all_works_by_keyboard_alone(served, show):
    opened = show(served)
    opened.page.keyboard.press("Tab")
    assert opened.focused() == "Skip to the sentences"
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.insert_text(TEXT)
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.page.keyboard.press("Enter")
    opened.status("4 sentences read")
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Space")
    opened.status("3 sentences shown")


def test_on_a_phone_nothing_is_cut_off(served, show):
    opened = show(served, PHONE, is_mobile=True, has_touch=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    opened.paste(TEXT + " " + "X" * 300 + " is late.")
    opened.status("5 sentences read")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert opened.page.locator("#status").bounding_box()["y"] < PHONE["height"]
    assert axe(opened.page) == []


def test_a_hostile_text_is_text_and_runs_nothing(served, show):
    opened = show(served)
    texts = [text for text in HOSTILE if "\ud800" not in text and "\x00" not in text]
    opened.paste("\n\n".join(texts))
    opened.status("sentences read")
    shown = " ".join(opened.shown())
    for text in ("<script>window.ran = 1</script>", "<img src=x onerror=window.ran=1>", "[U+202E]tnellecxe[U+202C]"):
        assert text in shown
    assert visible(shown) == shown
    assert opened.page.evaluate("typeof window.ran") == "undefined"
    assert opened.page.locator("#result script, #result img, #result a, #result svg").count() == 0
    name = "<img src=x onerror='window.ran = 1'>\u202e.txt"
    drop(opened, (name, TEXT))
    opened.page.locator("#result-title", has_text=visible(name)).wait_for()
    assert opened.page.evaluate("typeof window.ran") == "undefined"
    assert opened.console == []


def test_even_a_script_that_slipped_in_would_not_run(served, show):
    opened = show(served)
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('img'), { src: 'http://example.invalid/x' }))"
    )
    ran = opened.page.evaluate("""() => {
        try { document.body.innerHTML = "<img src=x onerror='window.ran = 1'>"; } catch (error) { return error.name; }
    }""")
    assert ran == "TypeError"
    assert any("Content Security Policy" in line for line in opened.console)
    opened.asked = [url for url in opened.asked if "example.invalid" not in url]  # stopped before it left


def test_a_token_is_asked_for_and_kept_in_the_page_alone(guarded, show):
    opened = show(guarded)
    token = opened.page.get_by_label("Token of this server")
    token.wait_for()
    assert token.get_attribute("type") == "password"
    opened.paste(TEXT)
    opened.status("This server asks for a token.")
    assert opened.focused() == "token"
    token.fill("a-secret")
    opened.page.get_by_role("button", name="Read the paragraph").click()
    opened.status("4 sentences read")
    assert opened.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie.length]") == [0, 0, 0]
    assert not any("a-secret" in url for url in opened.asked)
    assert axe(opened.page) == []
