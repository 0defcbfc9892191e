import base64
import io
import os
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import command
from markdown_it import MarkdownIt
from readings import HOSTILE
from rich.console import Console

from findings import comparison, registry, tracking
from findings.errors import FindingsError
from findings.evaluation import METRICS


@pytest.fixture(scope="module")
def report(rivals):
    """The second version of the store against the first."""
    tracking.connect({"uri": rivals.uri, "experiment": "findings"}, create=False)
    return comparison.make(registry.find("findings", "1"), registry.find("findings", "2"))


@pytest.fixture(scope="module")
def page(report):
    return BeautifulSoup(comparison.as_html(report), "html.parser")


def differing(report, **changes):
    """The report with some differences put in by hand; rows go by name."""
    frame = report.match.quality.metrics.copy()
    for name, (value, low, high) in changes.items():
        frame.loc[name, ["difference", "low", "high"]] = [value, low, high]
    quality = replace(report.match.quality, metrics=frame, documents=30)
    return replace(report, match=replace(report.match, quality=quality))


def as_text(report):
    out = io.StringIO()
    comparison.show(report, Console(width=140, file=out, soft_wrap=True, markup=False))
    return out.getvalue()


def formats(report):
    return {
        "terminal": as_text(report),
        "markdown": comparison.as_markdown(report),
        "html": BeautifulSoup(comparison.as_html(report), "html.parser").get_text(),
    }


def test_every_form_has_the_figures_and_the_runs_they_come_from(report):
    quality = report.match.quality
    for name, text in formats(report).items():
        plain = text.replace("\\", "")
        for version in (report.base, report.candidate):
            assert version.run_id in plain, name
            assert str(version) in plain, name
        for metric in METRICS:
            row = quality.metrics.loc[metric]
            assert metric.replace("_", " ") in plain, (name, metric)
            shown = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
            assert shown in plain, (name, metric)
        assert f"p = {quality.mcnemar:.3g}" in plain
        assert report.decision.reason in plain
        assert f"{report.match.speed:.2f} times as fast" in plain
        assert f"{quality.sentences} sentences of {quality.documents} documents" in plain


def test_slices_labels_costs_and_behaviour_have_their_tables(report):
    sheets = {sheet.caption: sheet for sheet in comparison.sheets(report)}
    assert list(sheets) == ["Metrics", "F1 by finding", "F1 by theme", "By slice", "Cost", "Behaviour: cases passed"]
    assert all(len(row) == len(sheet.heads) for sheet in sheets.values() for row in sheet.rows)
    kinds = {row[0] for row in sheets["By slice"].rows}
    assert {"kind: news", "kind: inspection report", "form: list item", "heading: known"} <= kinds
    costs = {row[0]: row[1:] for row in sheets["Cost"].rows}
    base, candidate = report.base_run.metrics, report.candidate_run.metrics
    megabytes = [run["cost/model_megabytes"] for run in (base, candidate)]
    assert costs["model, megabytes"] == (*(f"{m:,.1f}" for m in megabytes), f"{megabytes[1] / megabytes[0]:.2f}")
    negation = next(row for row in sheets["Behaviour: cases passed"].rows if row[0] == "negation")
    assert negation[1:3] == (f"{base['behaviour/negation']:.0%}", f"{candidate['behaviour/negation']:.0%}")


@pytest.mark.parametrize(
    ("metric", "difference", "verdict"),
    [
        ("finding_macro_f1", (0.02, 0.01, 0.03), "gain"),
        ("finding_macro_f1", (-0.02, -0.03, -0.01), "loss"),
        ("finding_macro_f1", (0.02, -0.01, 0.03), ""),
        ("finding_calibration_error", (0.02, 0.01, 0.03), "loss"),
        ("finding_calibration_error", (-0.02, -0.03, -0.01), "gain"),
    ],
)
def test_a_gain_or_a_loss_is_named_where_the_interval_supports_it(report, metric, difference, verdict):
    frame = comparison.differences(differing(report, **{metric: difference}))
    row = frame[(frame["group"] == "metric") & (frame["name"] == metric)].iloc[0]
    assert row["verdict"] == verdict


def test_a_slice_of_few_documents_is_said_to_be_one(report):
    frame = comparison.differences(differing(report, finding_macro_f1=(0.1, 0.1, 0.1)))
    slices = frame[frame["group"] == "slice"]
    assert not slices.empty
    assert set(slices.loc[slices["documents"] < comparison.FEW, "verdict"]) == {"few documents"}


def test_other_training_data_is_said_with_both_digests(report):
    assert f"Both were trained on local (SHA-256 {report.base_run.tags['dataset.sha256']})" in " ".join(
        comparison.notes(report)
    )
    tags = report.base_run.tags | {"dataset.name": "mine", "dataset.sha256": "0" * 64}
    other = replace(report, base_run=replace(report.base_run, tags=tags), match=replace(report.match, same_data=False))
    told = " ".join(comparison.notes(other))
    assert f"the base on mine (SHA-256 {'0' * 64})" in told
    assert "so its figures flatter it" in told


def test_a_run_without_costs_or_behaviour_is_compared_all_the_same(report):
    bare = {k: v for k, v in report.base_run.metrics.items() if not k.startswith(("cost/", "behaviour/"))}
    sheets = comparison.sheets(replace(report, base_run=replace(report.base_run, metrics=bare)))
    assert "Behaviour: cases passed" not in {sheet.caption for sheet in sheets}
    assert {row[1] for row in sheets[-1].rows} == {"not recorded"}


# The page -----------------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(page):
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script-src" not in policy
    assert not page.find_all(["script", "link", "iframe", "object", "a"])
    assert not [tag for tag in page.find_all(True) if any(a.startswith("on") or a == "style" for a in tag.attrs)]
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.find_all("img"))
    assert "url(" not in page.style.get_text()
    assert "@import" not in page.style.get_text()


def test_plots_have_words_and_tables_have_heads(page):
    images = page.find_all("img")
    assert len(images) == 3
    for image in images:
        assert re.search(r"\d+ differences, candidate minus base", image["alt"])
        svg = base64.b64decode(image["src"].split(",")[1])
        assert BeautifulSoup(svg, "xml").find("svg")
    tables = page.find_all("table")
    assert len(tables) >= 7
    for table in tables:
        assert table.caption.get_text()
        assert {th["scope"] for th in table.thead.find_all("th")} == {"col"}
        assert all(row.find("th")["scope"] == "row" for row in table.tbody.find_all("tr"))


def hostile(report):
    """The report with sentences that try to break out of where they stand."""
    columns = ["sentence_id", "sentence", "finding", "base", "base_confidence", "candidate", "candidate_confidence"]
    rows = [(f"s{i}", text, "none", "concern", 0.9, "none", 0.8) for i, text in enumerate(HOSTILE)]
    changed = pd.DataFrame(rows, columns=columns, dtype=object).assign(right="candidate")
    return replace(report, match=replace(report.match, quality=replace(report.match.quality, changed=changed)))


def test_sentences_are_shown_as_text_whatever_is_in_them(report):
    attacked = hostile(report)
    page = BeautifulSoup(comparison.as_html(attacked), "html.parser")
    assert not page.find_all(["script", "iframe", "a"])
    assert len(page.find_all("img")) == 3
    rendered = BeautifulSoup(MarkdownIt("default").render(comparison.as_markdown(attacked)), "html.parser")
    assert not rendered.find_all(["script", "iframe", "img", "a"])
    assert len(rendered.find_all("table")) == len(page.find_all("table"))
    assert "\u202e" not in str(page)


def test_models_that_never_differ_are_said_to_be_so(report):
    same = replace(report.match, quality=replace(report.match.quality, changed=pd.DataFrame()))
    page = BeautifulSoup(comparison.as_html(replace(report, match=same)), "html.parser")
    assert "wherever one has the finding right, so has the other" in page.get_text()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium")
def test_the_page_in_a_browser_has_no_violation_and_shows_its_plots(report, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    path = tmp_path / "page.html"
    comparison.write(report, path)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        opened = browser.new_context(viewport={"width": 390, "height": 800}, offline=True).new_page()
        said = []
        opened.on("console", lambda message: said.append(message.text))
        opened.goto(path.as_uri())
        widths = opened.evaluate("[...document.images].map(i => i.naturalWidth)")
        wide = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert said == []  # the page's own policy stops nothing of it
        assert len(widths) == 3
        assert min(widths) > 100
        assert wide <= 0  # tables scroll by themselves, not the page
        violations = axe.Axe().run(opened).response["violations"]
        browser.close()
    assert [(v["impact"], v["id"]) for v in violations] == []


# Files and the command ----------------------------------------------------------------------------


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(FindingsError, match=r"cannot write '\.pdf'\. Give a name that ends in \.md or \.html\."):
        comparison.check_ending(tmp_path / "x.pdf")


def test_a_file_that_cannot_be_written_leaves_nothing(report, tmp_path):
    (tmp_path / "x.md").mkdir()
    with pytest.raises(FindingsError, match=r"x\.md: .*\. Nothing half-written is left\."):
        comparison.write(report, tmp_path / "x.md")
    assert [path.name for path in tmp_path.iterdir()] == ["x.md"]


def test_the_command_writes_the_page_into_a_new_folder(rivals, tmp_path):
    done = command("compare", "1", "2", "--out", "new/x.html", cwd=tmp_path, uri=rivals.uri)
    assert done.returncode == 0, done.stderr
    assert "finding macro f1" in done.stdout
    assert "McNemar" in done.stdout
    assert "…" not in done.stdout  # no figure and no id is cut short
    assert "promoted: " in done.stdout
    assert done.stdout.rstrip().endswith("written: new/x.html")
    assert (tmp_path / "new" / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.html"]


def test_the_command_refuses_another_ending_before_it_looks_for_a_store(tmp_path):
    done = command("compare", "1", "2", "--out", "x.txt", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("x.txt: cannot write '.txt'")
