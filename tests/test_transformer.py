import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from conftest import COMMAND, command
from encoders import OTHERS, QUICK_LEARNER, write_encoder, write_ground
from test_tfidf import LABELS, same, small

from findings import models, tokens, transformer
from findings.errors import FindingsError
from findings.models import Examples
from findings.transformer import CHECKPOINT, TransformerClassifier, last_checkpoint

SETTINGS = {
    "family": "encoder",
    "name": None,
    "epochs": 12,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "head_learning_rate": 1e-2,
    "theme_weight": 1.0,
    "adversarial": 0.0,
    "class_weight": None,
    "heading_dropout": 0.3,
    "heading_noise": 0.0,
    "pretrained_share": 0.0,
    "patience": 12,
    "checkpoint_steps": 20,
    "gradient_checkpointing": False,
}


CPUINFO = Path("/proc/cpuinfo")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    rows = small()
    return write_encoder(tmp_path_factory.mktemp("encoder"), [*rows.sentences, *rows.headings])


def unfitted(encoder, **settings):
    return TransformerClassifier(SETTINGS | {"name": str(encoder)} | settings, LABELS, seed=1)


@pytest.fixture(scope="session")
def watched():
    return []


@pytest.fixture(scope="session")
def fitted(encoder, watched):
    classifier = unfitted(encoder)
    classifier.fit(small(), small(), watched.append)
    return classifier


# Fitting and scoring -----------------------------------------------------------------------------


def test_both_heads_learn_their_labels(fitted):
    rows = small()
    scores = fitted.scores(rows.sentences, rows.headings)
    assert scores.findings.shape == (48, 4)
    assert scores.themes.shape == (48, 3)
    assert (scores.findings.argmax(axis=1) == rows.findings).mean() > 0.9
    assert (scores.themes.argmax(axis=1) == rows.themes.argmax(axis=1)).mean() > 0.9


def test_order_and_company_make_no_difference(fitted):
    rows = small()
    together = fitted.scores(rows.sentences, rows.headings)
    alone = [fitted.scores([s], [h]) for s, h in zip(rows.sentences[:6], rows.headings[:6], strict=True)]
    assert np.allclose(together.findings[:6], [a.findings[0] for a in alone], atol=1e-4)
    turned = fitted.scores(rows.sentences[::-1], rows.headings[::-1])
    assert np.allclose(turned.themes[::-1], together.themes, atol=1e-4)


def test_each_label_attends_to_all_tokens_alike_at_first_and_then_to_its_own(encoder):
    torch.manual_seed(1)
    model = transformer.TwoHeads(transformer.load_encoder(str(encoder))[0], findings=4, themes=3).eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.inference_mode():
        hidden = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        findings, themes = model(ids, mask, torch.zeros_like(ids))
        mean = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        assert torch.allclose(findings, model.findings(mean), atol=1e-5)
        assert torch.allclose(themes, model.themes(mean), atol=1e-5)
        model.queries.weight[4 + 1] = 100 * hidden[1, 0]  # the second theme looks for a token of the second row
        after = model(ids, mask, torch.zeros_like(ids))
        assert torch.equal(after[0], findings)
        assert torch.equal(after[1][:, [0, 2]], themes[:, [0, 2]])
        attended = hidden[1][(hidden[1] @ hidden[1, 0])[:2].argmax()]
        assert torch.allclose(after[1][1, 1], model.themes(attended)[1], atol=1e-4)


def test_same_seed_same_scores_another_seed_others(encoder):
    def trained(seed):
        classifier = TransformerClassifier(SETTINGS | {"name": str(encoder), "epochs": 2}, LABELS, seed=seed)
        classifier.fit(small(), small())
        return classifier.scores(small().sentences, small().headings)

    first, again, other = trained(1), trained(1), trained(2)
    assert np.allclose(first.findings, again.findings, atol=1e-5)
    assert not np.allclose(first.findings, other.findings, atol=1e-3)


def test_adversarial_batches_are_learnt_where_the_loss_is_higher(encoder):
    torch.manual_seed(1)
    model = transformer.TwoHeads(transformer.load_encoder(str(encoder))[0], findings=4, themes=3).eval()
    ids, mask = torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])

    def loss():
        return torch.nn.functional.cross_entropy(model(ids, mask, torch.zeros_like(ids))[0], torch.tensor([0, 2]))

    here = loss()
    here.backward()
    words = model.encoder.get_input_embeddings().weight
    before = words.detach().clone()
    with transformer._moved(words, ids.unique(), 0.1):
        assert (words - before).norm().item() == pytest.approx(0.1, rel=1e-3)
        assert loss() > here
    assert torch.equal(words, before)
    assert torch.equal(loss(), here)


def test_adversarial_batches_change_what_is_learnt(encoder):
    def trained(adversarial):
        classifier = unfitted(encoder, epochs=1, adversarial=adversarial)
        classifier.fit(small(), small())
        return classifier.scores(small().sentences, small().headings).findings

    plain = trained(0.0)
    assert np.allclose(plain, trained(0.0), atol=1e-5)
    assert not np.allclose(plain, trained(0.5), atol=1e-3)


def test_it_tells_how_far_it_is_and_what_validation_says(watched, fitted):
    shares = [progress.share for progress in watched]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    measured = [progress for progress in watched if progress.figures]
    assert [progress.epoch for progress in measured] == list(range(1, 13))
    assert set(measured[-1].figures) == {"finding_macro_f1", "themes_micro_f1"}
    assert measured[-1].figures["finding_macro_f1"] > measured[0].figures["finding_macro_f1"]


def test_it_stops_early_and_keeps_the_best(encoder):
    def blind(settings):  # nothing can be gained after the first epoch when nothing is learnt
        seen = []
        classifier = unfitted(encoder, learning_rate=1e-12, head_learning_rate=1e-12, **settings)
        classifier.fit(small(), small(), seen.append)
        return max(progress.epoch for progress in seen)

    assert blind({"patience": 2}) == 3
    assert blind({"patience": 2, "epochs": 2}) == 2


@pytest.mark.parametrize(
    "setting", [{"class_weight": "balanced"}, {"gradient_checkpointing": True}, {"adversarial": 0.5}]
)
def test_it_learns_with_other_settings_too(encoder, setting):
    classifier = unfitted(encoder, **setting)
    classifier.fit(small(), small())
    rows = small()
    assert (classifier.scores(rows.sentences, rows.headings).findings.argmax(axis=1) == rows.findings).mean() > 0.8


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_of_encoders_learn_and_have_a_fast_form(tmp_path, family):
    rows = small()
    classifier = unfitted(write_encoder(tmp_path, [*rows.sentences, *rows.headings], family=family))
    classifier.fit(rows, rows)
    own = classifier.scores(rows.sentences, rows.headings)
    assert (own.findings.argmax(axis=1) == rows.findings).mean() > 0.8
    fast = classifier.served(rows).scores(rows.sentences, rows.headings)
    assert (fast.findings.argmax(axis=1) == own.findings.argmax(axis=1)).mean() > 0.9
    assert ((fast.themes > 0) == (own.themes > 0)).mean() > 0.9


def test_the_encoder_that_is_kept_has_a_share_of_the_pretrained_weights_in_it(encoder):
    def trained(share):
        classifier = unfitted(encoder, epochs=1, pretrained_share=share)
        classifier.fit(small(), small())
        return classifier.model.state_dict()

    before = {f"encoder.{k}": v for k, v in transformer.load_encoder(str(encoder))[0].state_dict().items()}
    after, drawn_back = trained(0.0), trained(0.25)
    assert any((after[k] - before[k]).abs().max() > 1e-3 for k in before if k in after)
    for name, value in after.items():
        if name == "bigrams.shares":  # what stands beside another encoder counts otherwise
            continue
        expected = 0.75 * value + 0.25 * before[name] if name in before else value
        torch.testing.assert_close(drawn_back[name], expected)


def test_long_pairs_are_cut_in_training_and_not_beside_it(encoder):
    _, tokenizer = transformer.load_encoder(str(encoder))
    rows = Examples(["strong " * 300], ["Staff"], np.array([0]), np.zeros((1, 3), dtype=bool))
    collate = transformer._Collator(tokenizer, rows, SETTINGS, 1)
    assert collate([collate.rows[0]])["input_ids"].shape == (1, transformer.TRAINED_TOKENS)
    assert len(tokens.encode(tokenizer, rows.sentences, rows.headings).ids[0]) == tokens.MAX_TOKENS


@pytest.mark.skipif(torch.cuda.is_available() or not CPUINFO.exists(), reason="asks Linux for the processor's flags")
def test_bfloat16_where_the_processor_multiplies_it_and_in_training_alone(encoder, fitted, tmp_path):
    has = {"avx512_bf16", "amx_bf16"} & set(CPUINFO.read_text().split())
    assert unfitted(encoder)._arguments(tmp_path, 8).bf16 is bool(has)
    scores = fitted.scores(small().sentences, small().headings)
    assert (scores.findings != torch.from_numpy(scores.findings).bfloat16().double().numpy()).any()


def test_headings_are_dropped_and_swapped_as_often_as_asked(encoder):
    tokenizer = transformer.load_encoder(str(encoder))[1]
    rows = Examples(["a"] * 10, ["Staff", "Children"] * 5, np.zeros(10, dtype=int), np.zeros((10, 3), dtype=bool))
    collate = transformer._Collator(tokenizer, rows, SETTINGS | {"heading_dropout": 0.3, "heading_noise": 0.2}, 1)
    drawn = [collate._heading("Staff") for _ in range(4000)]
    assert drawn.count("") / 4000 == pytest.approx(0.3, abs=0.04)
    assert drawn.count("Children") / 4000 == pytest.approx(0.1, abs=0.03)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    truth = np.array([0, 0, 0, 1, 2, 2, 3, 3])
    rows = Examples([""] * 8, [""] * 8, truth, np.zeros((8, 3), dtype=bool))
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=truth)
    assert transformer._class_weight("balanced", rows, 4).tolist() == pytest.approx(theirs)


# Encoders ----------------------------------------------------------------------------------------


def test_minilm_comes_from_its_package():
    encoder, tokenizer = transformer.load_encoder(None)
    assert encoder.config.hidden_size == 384
    assert tokenizer.encode("Supervision", "is regular").type_ids == [0, 0, 0, 1, 1, 1]


def test_other_weights_under_minilms_name_are_refused(monkeypatch):
    monkeypatch.setattr(transformer, "MINILM_SHA256", "0" * 64)
    with pytest.raises(FindingsError, match=r"model\.safetensors: not the weights that they should be"):
        transformer.load_encoder(None)


@pytest.mark.parametrize("name", ["no/such-model-anywhere", "EMPTY"])
def test_an_encoder_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FindingsError, match=r"Give a folder, or a model's name on the Hugging Face hub") as caught:
        transformer.load_encoder(str(tmp_path) if name == "EMPTY" else name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("learning_rate", 0.0), ("heading_noise", 1.5), ("class_weight", "none"), ("adversarial", -1.0)],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(FindingsError, match=f"model.{name}={value}: out of range"):
        unfitted("anywhere", **{name: value})


# Checkpoints -------------------------------------------------------------------------------------


class Cut(Exception):  # noqa: N818
    pass


def test_training_that_was_cut_off_goes_on_to_the_same_end(encoder, fitted, tmp_path):
    def cut(progress):
        if progress.share > 0.6:
            raise Cut

    with pytest.raises(Cut):
        unfitted(encoder).fit(small(), small(), cut, tmp_path)
    torn = last_checkpoint(tmp_path)
    assert torn is not None
    seen = []
    again = unfitted(encoder)
    again.fit(small(), small(), seen.append, tmp_path)
    assert min(progress.share for progress in seen) > 0.3
    rows = small()
    ours, theirs = (c.scores(rows.sentences, rows.headings) for c in (again, fitted))
    agree = (ours.findings.argmax(axis=1) == theirs.findings.argmax(axis=1)).mean()
    assert agree > 0.85


def test_training_that_was_cut_off_before_its_last_measuring_measures_on(encoder, fitted, tmp_path):
    def cut(progress):
        if progress.epoch == SETTINGS["epochs"] and progress.figures:
            raise Cut

    with pytest.raises(Cut):
        unfitted(encoder).fit(small(), small(), cut, tmp_path)
    seen = []
    again = unfitted(encoder)
    again.fit(small(), small(), seen.append, tmp_path)
    assert [progress.epoch for progress in seen if progress.figures] == [SETTINGS["epochs"]]
    assert again.seconds_before > 0
    rows = small()
    ours, theirs = (c.scores(rows.sentences, rows.headings) for c in (again, fitted))
    agree = (ours.findings.argmax(axis=1) == theirs.findings.argmax(axis=1)).mean()
    assert agree > 0.85


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    for number, whole in ((20, True), (100, True), (120, False)):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{number}" / CHECKPOINT).touch()
    assert last_checkpoint(tmp_path).name == "checkpoint-100"
    assert last_checkpoint(tmp_path / "nowhere") is None


# The command -------------------------------------------------------------------------------------


@pytest.fixture
def training(tmp_path):
    return ["train", *write_ground(tmp_path), *QUICK_LEARNER, "model.epochs=50", "model.patience=50"]


def finished(folder):
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    return client.search_runs([client.get_experiment_by_name("findings").experiment_id])


@contextmanager
def begun(training, folder, before=()):
    """The command, as far as its first checkpoint; `before` stands before it."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [*before, str(COMMAND), *training], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 240
    try:
        while not list(folder.glob(f"mlruns/checkpoints/*/checkpoint-*/{CHECKPOINT}")):
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_training_goes_on_in_the_same_run(training, tmp_path):
    with begun(training, tmp_path):
        pass
    assert [run.info.status for run in finished(tmp_path)] == ["RUNNING"]
    done = command(*training, "resume=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = finished(tmp_path)
    assert run.info.status == "FINISHED"
    assert f"run {run.info.run_id}" in done.stdout
    assert run.data.metrics["train/finding_macro_f1"] > 0.5
    assert not list(tmp_path.glob("mlruns/checkpoints/*"))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "epoch/finding_macro_f1")]
    assert max(steps) == 50
    stored = {f.path for f in client.list_artifacts(run.info.run_id, "fitted")}
    assert stored == {"fitted/model.safetensors", "fitted/config.json", "fitted/tokenizer.json"}
    assert run.data.metrics["served/bits"] in (8, 32)


IN_THE_BACKGROUND = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")
"""A script's background job ignores Ctrl-C."""


@pytest.mark.parametrize(("before", "sent"), [((), signal.SIGINT), (IN_THE_BACKGROUND, signal.SIGTERM)])
def test_ctrl_c_and_termination_end_the_run_and_keep_its_checkpoints(training, tmp_path, before, sent):
    with begun(training, tmp_path, before) as process:
        process.send_signal(sent)
        told = process.communicate(timeout=240)[1].decode()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "resume=true" in told
    assert [run.info.status for run in finished(tmp_path)] == ["KILLED"]
    assert list(tmp_path.glob(f"mlruns/checkpoints/*/checkpoint-*/{CHECKPOINT}"))


def test_resume_without_anything_to_go_on_with_begins_anew(encoder, fitted, tmp_path):
    from findings.training import Checkpoints

    place = Checkpoints(tmp_path / "checkpoints")
    assert place.begin(True) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "run.json").write_text('{"run_', encoding="utf-8")
    assert place.begin(True) is None
    assert not (tmp_path / "checkpoints").exists()


def test_checkpoints_belong_to_one_process_at_a_time(tmp_path):
    from findings.training import Checkpoints

    place = Checkpoints(tmp_path / "checkpoints" / "1f")
    with place.held(), pytest.raises(FindingsError, match=r"by another process\. Wait for it"), place.held():
        pass
    assert not list((tmp_path / "checkpoints").iterdir())
    with place.held():
        place.remember("a run")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1f"]


def test_what_was_fitted_is_stored_without_pickle(fitted, tmp_path):
    fitted.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "config.json", "tokenizer.json"}
    assert json.loads((tmp_path / "config.json").read_text())["hidden_size"] == 32
    assert torch.is_tensor(fitted.model.findings.weight)


def test_the_served_model_labels_as_the_fitted_one(encoder, fitted):
    rows = small()
    model = models.train(SETTINGS | {"name": str(encoder), "epochs": 6}, rows, rows, LABELS, 1)
    assert model.fitted is not model.classifier
    ours, theirs = (c.scores(rows.sentences, rows.headings) for c in (model.classifier, model.fitted))
    assert (ours.findings.argmax(axis=1) == theirs.findings.argmax(axis=1)).mean() > 0.9
    assert not same(ours, theirs)
