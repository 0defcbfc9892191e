import io
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from findings import evaluation, plots, taxonomy

LABELS = taxonomy.load()


def table(truth, given, confidence, themes):
    rows = pd.DataFrame(
        {"document_id": [f"d{i % 3}" for i in range(len(truth))], "finding": truth, "predicted_finding": given}
    )
    rows["sentence_id"] = [f"s{i}" for i in range(len(truth))]
    rows["confidence"] = confidence
    rows["themes"] = [list(t) for t in themes]
    rows["predicted_themes"] = [list(t) for t in themes]
    return rows.assign(**{f"t_{theme}": [float(theme in t) for t in themes] for theme in LABELS.theme_ids})


@pytest.fixture(scope="module")
def mixed():
    truth = ["strength"] * 6 + ["concern"] * 4 + ["none"] * 2
    given = ["strength"] * 5 + ["concern"] * 4 + ["none"] * 3
    themes = [["voice"], ["leadership", "voice"], ["workforce"]] * 4
    return evaluation.evaluate(table(truth, given, np.linspace(0.31, 0.99, 12), themes), LABELS)


@pytest.fixture(scope="module")
def smallest():
    """One sentence without themes: most rows, bins and bars are empty."""
    return evaluation.evaluate(table(["none"], ["concern"], [1.0], [[]]), LABELS)


def drawn(figure):
    """The pixels of the figure as a run stores it; any warning on the way fails the test."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer, format="png")
    return imread(io.BytesIO(buffer.getvalue()))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("name", ["confusion", "reliability", "themes"])
@pytest.mark.parametrize("size", ["mixed", "smallest"])
def test_figure_becomes_a_png(name, size, request):
    result = request.getfixturevalue(size)
    arguments = (result, "Test") if name == "reliability" else (result, LABELS, "Test")
    pixels = drawn(getattr(plots, name)(*arguments))
    assert min(pixels.shape[:2]) >= 400
    assert pixels[..., :3].std() > 0.05


def test_confusion_shows_counts_and_shares_of_the_row(mixed):
    figure = plots.confusion(mixed, LABELS, "Authored, test")
    shown = texts(figure)
    assert len(shown) == 16
    strength, concern, _, none = (shown[i : i + 4] for i in range(0, 16, 4))
    assert strength == ["5\n83%", "1\n17%", "0\n0%", "0\n0%"]
    assert concern == ["0\n0%", "3\n75%", "0\n0%", "1\n25%"]
    assert none == ["0\n0%", "0\n0%", "0\n0%", "2\n100%"]
    axes = figure.axes[0]
    titles = [label.title for label in LABELS.findings]
    assert [label.get_text() for label in axes.get_yticklabels()] == titles
    assert [label.get_text() for label in axes.get_xticklabels()] == titles
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Authored, test", "predicted", "annotated")


def test_confusion_of_a_finding_that_never_occurs_is_a_row_of_zeros(smallest):
    shown = texts(plots.confusion(smallest, LABELS, ""))
    assert shown[:4] == ["0\n0%"] * 4
    assert shown[12:] == ["0\n0%", "1\n100%", "0\n0%", "0\n0%"]


def test_reliability_plots_each_bin_and_the_error(mixed):
    figure = plots.reliability(mixed, "Authored, test")
    diagonal, curve = figure.axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert curve.get_xdata().tolist() == pytest.approx(mixed.reliability["confidence"].tolist())
    assert curve.get_ydata().tolist() == pytest.approx(mixed.reliability["accuracy"].tolist())
    error = mixed.metrics["finding_calibration_error"]
    assert figure.axes[0].get_title() == f"Authored, test\ncalibration error {error}"


def test_themes_has_a_bar_a_theme_first_at_the_top(mixed):
    axes = plots.themes(mixed, LABELS, "Authored, test").axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[::-1] == [f"{LABELS.title(t)} ({n})" for t, n in mixed.per_theme["support"].items()]
    assert [bar.get_width() for bar in axes.patches][::-1] == pytest.approx(mixed.per_theme["f1"].tolist())
    assert "Voice (8)" in names


def test_differences_stand_in_order_with_their_intervals():
    frame = pd.DataFrame(
        {
            "name": ["first", "second", "third"],
            "difference": [0.1, -0.2, 0.0],
            "low": [0.05, -0.3, -0.1],
            "high": [0.2, -0.1, 0.1],
            "verdict": ["gain", "loss", ""],
        }
    )
    figure = plots.differences(frame, "Two models")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["third", "second", "first"]
    bars = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][1:]
    assert [list(bar) for bar in bars] == [[-0.1, 0.1], [-0.3, -0.1], [0.05, 0.2]]
    assert [line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1] == ["o", "v", "^"]
    assert drawn(figure)[..., :3].std() > 0.02


def test_svg_is_whole_and_the_same_twice(mixed):
    once, again = (plots.svg(plots.reliability(mixed, "Test")) for _ in range(2))
    assert once == again
    assert once.strip().endswith(b"</svg>")
    assert b"<dc:date>" not in once


def test_figures_need_no_display_and_leave_no_state():
    """pyplot keeps every figure alive and picks a window system: a server wants neither."""
    code = "import sys, findings.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
