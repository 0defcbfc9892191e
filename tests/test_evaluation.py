import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from findings import evaluation, taxonomy
from findings.calibration import decide_themes
from findings.errors import FindingsError
from findings.evaluation import HEADLINE, METRICS, Interval
from findings.models import Predictions

LABELS = taxonomy.load()
FINDINGS, THEMES = LABELS.finding_ids, LABELS.theme_ids
KINDS = ("inspection_report", "visit_letter", "minutes", "news")


def made_rows(rng, documents=12, each=15, findings=FINDINGS, themes=THEMES):
    """Invented rows of a dataset with nought to three themes."""
    n = documents * each
    return pd.DataFrame(
        {
            "sentence_id": [f"s{i:05}" for i in range(n)],
            "document_id": np.repeat([f"d{i:03}" for i in range(documents)], each),
            "kind": np.repeat([KINDS[i % 4] for i in range(documents)], each),
            "published": np.repeat([f"{2015 + i % 12}-05-01" for i in range(documents)], each),
            "heading": rng.choice(["", "Leaders", "Children"], n),
            "list_item": rng.random(n) < 0.3,
            "sentence": [f"Sentence {i}." for i in range(n)],
            "finding": rng.choice(findings, n),
            "themes": [[str(t) for t in rng.permutation(themes)[: rng.integers(0, 4)]] for _ in range(n)],
        }
    )


def guesses(rng, rows, skill=0.6, findings=FINDINGS):
    """Predictions that lean towards the truth as strongly as `skill` says."""
    n = len(rows)
    scores = rng.dirichlet(np.ones(len(FINDINGS)), n) * [f in findings for f in FINDINGS]
    truth = rows["finding"].map({f: i for i, f in enumerate(FINDINGS)}).to_numpy()
    scores[np.arange(n), truth] += 2 * (rng.random(n) < skill)
    themes = rng.random((n, len(THEMES))) * 0.6
    themes += 0.4 * (rng.random(themes.shape) < skill) * [[t in row for t in THEMES] for row in rows["themes"]]
    return Predictions(scores / scores.sum(axis=1, keepdims=True), themes, decide_themes(themes, (0.5,) * len(THEMES)))


def made_table(seed=0, skill=0.6, **shape):
    rng = np.random.default_rng(seed)
    rows = made_rows(rng, **shape)
    return evaluation.table(rows, guesses(rng, rows, skill), LABELS)


def by_hand(rows):
    """A table from (document, truth, given, confidence), the rest of the probability on other findings."""
    table = pd.DataFrame(rows, columns=["document_id", "finding", "predicted_finding", "confidence"])
    table["sentence_id"] = [f"s{i}" for i in range(len(table))]
    table["themes"], table["predicted_themes"] = [[] for _ in rows], [[] for _ in rows]
    return table.assign(**{f"t_{theme}": 0.1 for theme in THEMES})


def indicator(lists):
    return np.array([[theme in row for theme in THEMES] for row in lists])


def width(interval):
    return interval.high - interval.low


# The table ---------------------------------------------------------------------------------------


def test_table_puts_prediction_beside_truth():
    rng = np.random.default_rng(5)
    rows = made_rows(rng)
    predictions = guesses(rng, rows)
    table = evaluation.table(rows, predictions, LABELS)
    assert table["sentence_id"].tolist() == rows["sentence_id"].tolist()
    assert table["finding"].tolist() == rows["finding"].tolist()
    probabilities = table[[f"p_{finding}" for finding in FINDINGS]].to_numpy()
    assert np.array_equal(probabilities, predictions.finding_probabilities)
    assert np.array_equal(probabilities.max(axis=1), table["confidence"])
    assert [FINDINGS[i] for i in probabilities.argmax(axis=1)] == table["predicted_finding"].tolist()
    assert np.array_equal(indicator(table["predicted_themes"]), predictions.themes)


def test_table_lists_themes_best_first():
    table = made_table()
    for row in table.to_dict("records"):
        probabilities = [row[f"t_{theme}"] for theme in row["predicted_themes"]]
        assert probabilities == sorted(probabilities, reverse=True)


def test_rows_in_any_index_order_keep_their_predictions():
    rng = np.random.default_rng(5)
    rows = made_rows(rng)
    predictions = guesses(rng, rows)
    shuffled = rows.set_axis(rng.permutation(len(rows)), axis=0)
    pd.testing.assert_frame_equal(
        evaluation.table(shuffled, predictions, LABELS), evaluation.table(rows, predictions, LABELS)
    )


# Metrics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "shape"),
    [
        (0, {}),
        (1, {"skill": 0.0}),
        (2, {"skill": 1.0}),
        (3, {"documents": 1, "each": 5}),
        (4, {"findings": FINDINGS[:2], "skill": 0.9}),
        (5, {"themes": THEMES[:4]}),
        (6, {"documents": 40, "each": 3}),
    ],
)
def test_metrics_are_those_of_scikit_learn(seed, shape):
    table = made_table(seed, **shape)
    metrics = evaluation.evaluate(table, LABELS).metrics
    truth, given = table["finding"], table["predicted_finding"]
    assert metrics["finding_macro_f1"].value == pytest.approx(f1_score(truth, given, average="macro"))
    assert metrics["finding_accuracy"].value == pytest.approx(accuracy_score(truth, given))
    true_themes, given_themes = indicator(table["themes"]), indicator(table["predicted_themes"])
    occur = np.flatnonzero(true_themes.any(axis=0) | given_themes.any(axis=0))
    assert metrics["themes_micro_f1"].value == pytest.approx(f1_score(true_themes, given_themes, average="micro"))
    macro = f1_score(true_themes, given_themes, average="macro", labels=occur, zero_division=0)
    assert metrics["themes_macro_f1"].value == pytest.approx(macro)
    first = [
        row["themes"][0] == max(THEMES, key=lambda theme: row[f"t_{theme}"])
        for row in table.to_dict("records")
        if row["themes"]
    ]
    assert metrics["primary_theme_accuracy"].value == pytest.approx(np.mean(first))


def test_finding_that_never_occurs_does_not_count():
    rows = [("a", "strength", "strength", 0.9), ("a", "concern", "strength", 0.9), ("a", "concern", "concern", 0.9)]
    metrics = evaluation.evaluate(by_hand(rows), LABELS).metrics
    assert metrics["finding_macro_f1"].value == pytest.approx(2 / 3)


def test_no_themes_at_all_is_zero_and_no_warning(recwarn):
    metrics = evaluation.evaluate(by_hand([("a", "none", "none", 0.9)]), LABELS).metrics
    assert metrics["themes_micro_f1"] == Interval(0, 0, 0)
    assert metrics["themes_macro_f1"] == Interval(0, 0, 0)
    assert metrics["primary_theme_accuracy"] == Interval(0, 0, 0)
    assert not recwarn.list


def test_calibration_error_by_hand():
    rows = [
        ("a", "none", "none", 0.95),  # bin 9 alone: off by 0.05
        ("a", "none", "none", 0.81),  # bin 8: one of two right, confidence 0.85 on average: off by 0.35
        ("b", "none", "concern", 0.89),
        ("b", "none", "concern", 0.45),  # bin 4: off by 0.45
    ]
    result = evaluation.evaluate(by_hand(rows), LABELS)
    error = (1 * 0.05 + 2 * 0.35 + 1 * 0.45) / 4
    assert result.metrics["finding_calibration_error"].value == pytest.approx(error)
    assert result.reliability["sentences"].tolist() == [1, 2, 1]
    assert result.reliability["confidence"].tolist() == pytest.approx([0.45, 0.85, 0.95])
    assert result.reliability["accuracy"].tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_full_confidence_belongs_to_the_last_bin():
    result = evaluation.evaluate(by_hand([("a", "none", "none", 1.0), ("a", "none", "concern", 0.99)]), LABELS)
    assert result.reliability["sentences"].tolist() == [2]
    assert result.metrics["finding_calibration_error"].value == pytest.approx(0.495)


def test_calibration_error_is_small_for_honest_and_large_for_boastful_confidence():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 6000)
    right = rng.random(6000) < confidence
    rows = [(f"d{i % 30}", "none", "none" if r else "concern", c) for i, (r, c) in enumerate(zip(right, confidence))]  # noqa: B905
    honest = by_hand(rows)
    boastful = honest.assign(confidence=0.99)
    error = "finding_calibration_error"
    assert evaluation.evaluate(honest, LABELS).metrics[error].value < 0.02
    assert evaluation.evaluate(boastful, LABELS).metrics[error].value == pytest.approx(0.99 - right.mean())


def test_headline_metrics_come_first():
    assert tuple(evaluation.evaluate(made_table(), LABELS).metrics)[: len(HEADLINE)] == HEADLINE


# Intervals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_intervals_bracket_the_value(seed):
    for name, interval in evaluation.evaluate(made_table(seed, documents=30), LABELS).metrics.items():
        assert interval.low <= interval.value <= interval.high, name
        assert width(interval) > 0, name


def test_intervals_shrink_with_more_documents():
    few = evaluation.evaluate(made_table(1, documents=8, each=10), LABELS).metrics
    many = evaluation.evaluate(made_table(1, documents=128, each=10), LABELS).metrics
    for name in METRICS:
        assert width(many[name]) < width(few[name]) / 2, name


def test_copies_inside_a_document_do_not_narrow_the_interval():
    table = made_table(2)
    copied = pd.concat([table] * 10, ignore_index=True)
    once, ten_times = evaluation.evaluate(table, LABELS), evaluation.evaluate(copied, LABELS)
    assert ten_times.sentences == 10 * once.sentences
    assert ten_times.documents == once.documents
    for name in METRICS:
        a, b = once.metrics[name], ten_times.metrics[name]
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high)), name


def test_copies_as_documents_of_their_own_do_narrow_it():
    table = made_table(2)
    copies = [table.assign(document_id=table["document_id"] + f"-{i}") for i in range(10)]
    once, spread = evaluation.evaluate(table, LABELS), evaluation.evaluate(pd.concat(copies), LABELS)
    for name in HEADLINE:
        assert width(spread.metrics[name]) < width(once.metrics[name]) / 2


def test_interval_respects_documents_that_go_wrong_as_a_whole():
    """Half the documents all right, half all wrong: sentence by sentence it would look far surer."""
    rows = [(f"d{d}", "none", "none" if d % 2 else "concern", 0.7) for d in range(400) for _ in range(5)]
    accuracy = evaluation.evaluate(by_hand(rows), LABELS).metrics["finding_accuracy"]
    assert accuracy.value == 0.5
    assert width(accuracy) == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(400), rel=0.08)


def test_one_document_has_no_spread():
    for interval in evaluation.evaluate(made_table(documents=1), LABELS).metrics.values():
        assert (interval.low, interval.high) == pytest.approx((interval.value, interval.value))


def test_a_seed_gives_the_same_interval_again():
    table = made_table(3)
    metric = "finding_macro_f1"
    first, again, other = (evaluation.evaluate(table, LABELS, seed=s).metrics[metric] for s in (1, 1, 2))
    assert first == again
    assert first.value == other.value
    assert (first.low, first.high) != (other.low, other.high)
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_interval_reads_well():
    assert str(Interval(0.91234, 0.9, 0.95)) == "0.912 [0.900, 0.950]"


# Labels, confusion, mistakes ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_per_label_tables_are_those_of_scikit_learn(seed):
    table = made_table(seed, findings=FINDINGS[:3], themes=THEMES[:6])
    result = evaluation.evaluate(table, LABELS)
    themes = indicator(table["themes"]), indicator(table["predicted_themes"])
    for frame, names, expected in (
        (
            result.per_finding,
            FINDINGS,
            precision_recall_fscore_support(
                table["finding"], table["predicted_finding"], labels=FINDINGS, zero_division=0
            ),
        ),
        (result.per_theme, THEMES, precision_recall_fscore_support(*themes, zero_division=0)),
    ):
        assert frame.index.tolist() == names
        for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
            assert frame[column].tolist() == pytest.approx(values.tolist()), column
        assert (frame["f1_low"] <= frame["f1"] + 1e-12).all()
        assert (frame["f1"] <= frame["f1_high"] + 1e-12).all()


def test_label_of_a_single_document_has_an_interval(recwarn):
    """Most bootstrap samples of two documents hold it, some do not: these say nothing of it."""
    rows = [("a", "none", "none", 0.9)] * 3 + [("b", "concern", "concern", 0.9), ("b", "concern", "none", 0.9)]
    row = evaluation.evaluate(by_hand(rows), LABELS).per_finding.loc["concern"]
    assert row["f1"] == pytest.approx(2 / 3)
    assert (row["f1_low"], row["f1_high"]) == pytest.approx((2 / 3, 2 / 3))
    assert not recwarn.list


def test_confusion_has_truth_by_row():
    table = made_table()
    expected = confusion_matrix(table["finding"], table["predicted_finding"], labels=FINDINGS)
    assert np.array_equal(evaluation.evaluate(table, LABELS).confusion, expected)


def test_mistakes_are_the_surest_wrong_findings():
    table = made_table(documents=20)
    mistakes = evaluation.evaluate(table, LABELS).mistakes
    wrong = table[table["finding"] != table["predicted_finding"]]
    assert len(mistakes) == 50 < len(wrong)
    assert (mistakes["finding"] != mistakes["predicted_finding"]).all()
    assert mistakes["confidence"].tolist() == sorted(wrong["confidence"], reverse=True)[:50]
    assert {"sentence_id", "kind", "heading", "sentence"} <= set(mistakes)


def test_nothing_to_measure_on_is_said():
    with pytest.raises(FindingsError, match="nothing to measure on"):
        evaluation.evaluate(made_table().head(0), LABELS)


def test_stored_predictions_give_the_same_figures(tmp_path):
    table = made_table()
    table.to_parquet(tmp_path / "predictions.parquet")
    again = evaluation.evaluate(pd.read_parquet(tmp_path / "predictions.parquet"), LABELS)
    first = evaluation.evaluate(table, LABELS)
    assert again.metrics == first.metrics
    pd.testing.assert_frame_equal(again.slices, first.slices)


# Slices ------------------------------------------------------------------------------------------


def test_slices_cover_every_sentence_once():
    table = made_table()
    slices = evaluation.evaluate(table, LABELS).slices
    assert set(slices["slice"]) == {"kind", "era", "form", "heading"}
    assert (slices.groupby("slice")["sentences"].sum() == len(table)).all()


@pytest.mark.parametrize(
    ("name", "value", "chosen"),
    [
        ("kind", "minutes", lambda t: t["kind"] == "minutes"),
        ("form", "list item", lambda t: t["list_item"]),
        ("form", "prose", lambda t: ~t["list_item"]),
        ("heading", "known", lambda t: t["heading"] != ""),
        ("heading", "not known", lambda t: t["heading"] == ""),
        ("era", "2018 to 2022", lambda t: t["published"].between("2018-08-01", "2022-12-31")),
    ],
)
def test_slice_measures_its_sentences_alone(name, value, chosen):
    table = made_table()
    slices = evaluation.evaluate(table, LABELS).slices.set_index(["slice", "value"])
    part = table[chosen(table)]
    alone = evaluation.evaluate(part, LABELS)
    row = slices.loc[(name, value)]
    assert row["sentences"] == len(part)
    assert row["documents"] == part["document_id"].nunique()
    for metric in HEADLINE:
        interval = alone.metrics[metric]
        found = row[metric], row[f"{metric}_low"], row[f"{metric}_high"]
        assert found == pytest.approx((interval.value, interval.low, interval.high))


@pytest.mark.parametrize(
    ("published", "era"),
    [
        ("", "unknown"),
        (None, "unknown"),
        ("2014-11-03", "to July 2018"),
        ("2018-07-31", "to July 2018"),
        ("2018-08-01", "2018 to 2022"),
        ("2022-12-31", "2018 to 2022"),
        ("2023-01-01", "2023 to March 2026"),
        ("2026-03-31", "2023 to March 2026"),
        ("2026-04-01", "from April 2026"),
    ],
)
def test_era_goes_by_date(published, era):
    frame = pd.DataFrame({"published": pd.Series([published, "2019-01-01"], dtype=object)})
    assert evaluation.by_era(frame).tolist() == [era, "2018 to 2022"]


@pytest.mark.parametrize("heading", ["", "  ", None])
def test_blank_heading_is_not_known(heading):
    frame = pd.DataFrame({"heading": pd.Series([heading, "Leaders"], dtype=object)})
    assert evaluation.by_heading(frame).tolist() == ["not known", "known"]


def test_columns_that_are_not_there_give_no_slice():
    slices = evaluation.evaluate(made_table().drop(columns=["kind", "published"]), LABELS).slices
    assert set(slices["slice"]) == {"form", "heading"}
    assert evaluation.evaluate(by_hand([("a", "none", "none", 0.9)]), LABELS).slices.empty


# Two models --------------------------------------------------------------------------------------


def pair(base=0.5, candidate=0.9, seed=0, **shape):
    rng = np.random.default_rng(seed)
    rows = made_rows(rng, **shape)
    return tuple(evaluation.table(rows, guesses(rng, rows, skill), LABELS) for skill in (base, candidate))


def test_a_model_does_not_differ_from_itself():
    table = made_table()
    same = evaluation.compare(table, table, LABELS)
    assert (same.metrics[["difference", "low", "high"]] == 0).all(axis=None)
    assert (same.slices[["difference", "low", "high"]] == 0).all(axis=None)
    assert (same.only_base, same.only_candidate, same.mcnemar) == (0, 0, 1.0)


def test_a_clearly_better_model_is_seen_as_one():
    result = evaluation.compare(*pair(0.5, 0.9), LABELS)
    for metric in HEADLINE:
        assert result.difference(metric).low > 0, metric
    assert result.only_candidate > result.only_base
    assert result.mcnemar < 0.001


def test_a_clearly_worse_one_too():
    result = evaluation.compare(*pair(0.9, 0.5), LABELS)
    assert all(result.difference(metric).high < 0 for metric in HEADLINE)


def test_two_of_a_kind_are_not_told_apart():
    result = evaluation.compare(*pair(0.7, 0.7, documents=30), LABELS)
    for metric in HEADLINE:
        difference = result.difference(metric)
        assert difference.low < 0 < difference.high
    assert result.mcnemar > 0.05


def test_difference_is_candidate_minus_base():
    base, candidate = pair()
    result = evaluation.compare(base, candidate, LABELS)
    left, right = evaluation.evaluate(base, LABELS), evaluation.evaluate(candidate, LABELS)
    for metric in METRICS:
        row = result.metrics.loc[metric]
        assert row["base"] == pytest.approx(left.metrics[metric].value)
        assert row["candidate"] == pytest.approx(right.metrics[metric].value)
        assert row["difference"] == pytest.approx(row["candidate"] - row["base"])
        assert row["low"] <= row["difference"] <= row["high"]


def test_changing_sides_changes_the_sign():
    base, candidate = pair()
    there, back = evaluation.compare(base, candidate, LABELS), evaluation.compare(candidate, base, LABELS)
    for metric in METRICS:
        a, b = there.difference(metric), back.difference(metric)
        assert (a.value, a.low, a.high) == pytest.approx((-b.value, -b.high, -b.low))
    assert (there.only_base, there.only_candidate) == (back.only_candidate, back.only_base)
    assert there.mcnemar == back.mcnemar


def test_paired_interval_is_narrower_than_two_apart():
    """The two share what is hard: they differ on every tenth sentence, in each document alike."""
    base = made_table(documents=40, each=20)
    candidate = base.copy()
    candidate.loc[::10, "predicted_finding"] = candidate.loc[::10, "finding"]
    difference = evaluation.compare(base, candidate, LABELS).difference("finding_accuracy")
    assert difference.low > 0
    assert width(difference) < width(evaluation.evaluate(base, LABELS).metrics["finding_accuracy"])


def test_copies_inside_a_document_do_not_make_a_difference_surer():
    base, candidate = pair(0.6, 0.7)
    often = [
        pd.concat([table.assign(sentence_id=table["sentence_id"] + f"-{i}") for i in range(5)])
        for table in (base, candidate)
    ]
    once, copied = evaluation.compare(base, candidate, LABELS), evaluation.compare(*often, LABELS)
    for metric in METRICS:
        a, b = once.difference(metric), copied.difference(metric)
        assert (a.low, a.high) == pytest.approx((b.low, b.high))


def test_order_of_rows_makes_no_difference():
    base, candidate = pair()
    shuffled = candidate.sample(frac=1, random_state=4)
    there, other = evaluation.compare(base, candidate, LABELS), evaluation.compare(base, shuffled, LABELS)
    pd.testing.assert_frame_equal(there.metrics, other.metrics)
    assert there.only_candidate == other.only_candidate


def test_mcnemar_counts_by_hand():
    truth = ["none"] * 12
    right_base = [True] * 5 + [False] * 7
    right_candidate = [True] * 3 + [False] * 2 + [True] * 6 + [False]
    tables = [
        by_hand([("d", t, t if r else "concern", 0.8) for t, r in zip(truth, right, strict=True)])
        for right in (right_base, right_candidate)
    ]
    result = evaluation.compare(*tables, LABELS)
    assert (result.sentences, result.documents) == (12, 1)
    assert (result.only_base, result.only_candidate) == (2, 6)
    assert result.mcnemar == pytest.approx(binomtest(2, 8).pvalue)
    assert result.mcnemar == pytest.approx(2 * (1 + 8 + 28) / 2**8)


def test_slices_of_a_comparison_are_those_of_the_parts():
    base, candidate = pair()
    slices = evaluation.compare(base, candidate, LABELS).slices.set_index(["slice", "value", "metric"])
    chosen = base["kind"] == "news"
    part = evaluation.compare(base[chosen], candidate[chosen], LABELS)
    for metric in HEADLINE:
        row, alone = slices.loc[("kind", "news", metric)], part.difference(metric)
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((alone.value, alone.low, alone.high))
        assert row["sentences"] == chosen.sum()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.iloc[1:], "same sentences"),
        (lambda t: t.head(0), "same sentences"),
        (lambda t: t.assign(sentence_id="x" + t["sentence_id"]), "same sentences"),
        (lambda t: t.assign(finding=t["finding"].to_numpy()[::-1]), "different labels"),
        (lambda t: t.assign(themes=[[] for _ in range(len(t))]), "different labels"),
        (lambda t: t.assign(themes=[row[::-1] for row in t["themes"]]), "different labels"),
    ],
)
def test_other_sentences_or_labels_are_refused(change, said):
    base, candidate = pair()
    for tables in ((base, change(candidate)), (change(base), candidate)):
        with pytest.raises(FindingsError, match=said) as caught:
            evaluation.compare(*tables, LABELS)
        assert "\n" not in str(caught.value)


def test_differences_by_label_are_those_of_f1():
    base, candidate = pair()
    result = evaluation.compare(base, candidate, LABELS)
    labels = result.labels.set_index("label")
    left, right = evaluation.evaluate(base, LABELS), evaluation.evaluate(candidate, LABELS)
    for side, name in ((left, "base"), (right, "candidate")):
        f1 = pd.concat([side.per_finding["f1"], side.per_theme["f1"]])
        assert labels[name].to_dict() == pytest.approx(f1[labels.index].to_dict())
    assert labels["support"].to_dict() == {
        **base["finding"].value_counts().to_dict(),
        **base["themes"].explode().value_counts().to_dict(),
    }
    assert (labels["low"] <= labels["difference"]).all()
    assert (labels["difference"] <= labels["high"]).all()


def test_a_label_that_does_not_occur_has_no_difference():
    base, candidate = pair(findings=["concern", "none"], themes=["voice"])
    labels = evaluation.compare(base, candidate, LABELS).labels
    assert set(labels["label"]) == {"concern", "none", "voice"}


def test_changed_sentences_are_those_that_only_one_has_right():
    truth = ["none", "none", "concern", "concern"]
    given = ["none", "concern", "none", "concern"], ["strength", "none", "none", "none"]
    base, candidate = (
        by_hand([("d", t, g, sure) for t, g in zip(truth, one, strict=True)])
        for one, sure in zip(given, (0.9, 0.6), strict=True)
    )
    changed = evaluation.compare(base, candidate, LABELS).changed
    assert changed["sentence_id"].tolist() == ["s1", "s0", "s3"]  # the surest mistake first
    assert changed["right"].tolist() == ["candidate", "base", "base"]
    assert changed[["base", "candidate"]].to_numpy().tolist()[0] == ["concern", "none"]
    assert evaluation.compare(base, base, LABELS).changed.empty


def test_stored_tables_compare_like_fresh_ones(tmp_path):
    base, candidate = pair()
    base.to_parquet(tmp_path / "base.parquet")
    stored = pd.read_parquet(tmp_path / "base.parquet")
    fresh = evaluation.compare(base, candidate, LABELS)
    pd.testing.assert_frame_equal(evaluation.compare(stored, candidate, LABELS).metrics, fresh.metrics)


def test_nothing_to_compare_on_is_said():
    empty = made_table().head(0)
    with pytest.raises(FindingsError, match="nothing to compare on"):
        evaluation.compare(empty, empty, LABELS)
