from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml


@pytest.fixture
def run(connected):
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("findings")
    return client.search_runs([experiment.experiment_id])[0]


def test_a_run_holds_what_the_design_asks(run, connected):
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tfidf local seed 1"
    assert len(tags["dataset.sha256"]) == 64
    assert params["model.family"] == "tfidf"
    for split in ("train", "validation", "test"):
        for metric in ("finding_macro_f1", "themes_micro_f1", "themes_macro_f1", "finding_calibration_error"):
            low, value, high = (metrics[f"{split}/{metric}{end}"] for end in ("_low", "", "_high"))
            assert 0 <= low <= high <= 1
            assert 0 <= value <= 1
        assert f"{split}/finding_strength_f1" in metrics
        assert f"{split}/theme_voice_f1_low" in metrics
    assert metrics["cost/training_seconds"] > 0
    assert metrics["cost/peak_memory_gib"] > 0
    assert metrics["cost/model_megabytes"] > 0
    contexts = {
        tag.value for entry in run.inputs.dataset_inputs for tag in entry.tags if tag.key == "mlflow.data.context"
    }
    assert contexts == {"training", "validation", "test"}


def test_a_run_stores_tables_plots_and_predictions(run, tmp_path):
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path)))
    for split in ("validation", "test"):
        for name in ("confusion.png", "calibration.png", "themes.png"):
            assert (folder / split / name).read_bytes().startswith(b"\x89PNG")
        for name in ("findings.csv", "themes.csv", "slices.csv", "mistakes.csv"):
            assert (folder / split / name).stat().st_size > 0
        table = pd.read_parquet(folder / "predictions" / f"{split}.parquet")
        assert {"sentence_id", "finding", "predicted_finding", "confidence", "p_none", "t_voice"} <= set(table.columns)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["family"] == "tfidf"
    assert config["taxonomy"]["findings"]


def test_a_run_stores_how_its_model_behaves(run, tmp_path):
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path)))
    rates = pd.read_csv(folder / "behaviour.csv")
    failures = pd.read_csv(folder / "behaviour_failures.csv", keep_default_na=False)
    sums = rates[(rates["capability"] == "negation") & (rates["label"] == "finding")][["passed", "cases"]].sum()
    assert run.data.metrics["behaviour/negation"] == pytest.approx(sums["passed"] / sums["cases"])
    failed = failures[failures["label"] == "finding"].groupby("capability")["case"].nunique()
    assert failed["negation"] == sums["cases"] - sums["passed"]
    assert run.data.metrics["behaviour/all"] <= 1


def test_a_run_says_where_its_labels_are_from(run):
    assert run.data.tags["dataset.sources"] == "local 150"
    assert run.data.tags["dataset.annotators"] == "author 150"


def test_figures_can_be_worked_out_again_from_the_predictions(run, tmp_path):
    from findings import evaluation, taxonomy, tracking

    table = tracking.read_predictions(run.info.run_id, "test")
    again = evaluation.evaluate(table, taxonomy.load())
    assert again.metrics["finding_macro_f1"].value == pytest.approx(run.data.metrics["test/finding_macro_f1"])
    assert again.metrics["themes_micro_f1"].low == pytest.approx(run.data.metrics["test/themes_micro_f1_low"])


def test_the_command_prints_the_run_and_the_figures(run, store):
    assert run.info.run_id in store.output
    assert f"{run.data.metrics['test/finding_macro_f1']:.3f}" in store.output
    assert "champion" in store.output


def test_no_authority_is_on_two_sides(run):
    from findings import tracking

    sides = [set(tracking.read_predictions(run.info.run_id, split)["authority"]) for split in ("validation", "test")]
    assert sides[0]
    assert not sides[0] & sides[1]
