"""How much of the pretrained weights should the encoder that is kept have in it?

    python benchmarks/pretrained_share.py sentences.jsonl [more.jsonl ...] --model VERSION

Draws a fine-tuned MiniLM (a version of ours, its torch weights) back to the pretrained one by different
shares, without training anew, and measures each on annotated sentences: findings by the likeliest, themes
at a probability of 0.5, both uncalibrated. The share in the weights as they are stored is taken out first.
A file is as for `real_documents.py`. To choose a share: validation, or documents of training authorities
for a model that has not learnt from them; never test authorities.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import runs
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from sklearn.metrics import f1_score, log_loss

from findings import manifest, models, registry, taxonomy, transformer

SHARES = (0.0, 0.1, 0.15, 0.2, 0.3, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", default="champion", help="champion, latest, a version or a run id")
    parser.add_argument("--again", action="store_true", help="measure anew what has been measured")
    given = parser.parse_args()
    runs.connect()
    version = registry.find("findings", given.model)
    for path in given.files:
        rows = pd.read_json(path, lines=True, dtype=False)
        headings = [models.bare_heading(h) for h in rows["heading"].fillna("")] if "heading" in rows else None
        known = {"model": version.run_id, "file": manifest.sha256(path), "shares": SHARES}
        result = runs.measured(
            "pretrained_share",
            known,
            lambda _, rows=rows, headings=headings: _figures(version, rows, headings),
            given.again,
        )
        lines = ["| share | finding macro-F1 | accuracy | log loss | themes micro-F1 |", "|---|---|---|---|---|"]
        for share in SHARES:
            figures = (f"{result.figures[f'{name}/{share}']:.3f}" for name in ("macro", "accuracy", "loss", "themes"))
            lines.append(f"| {share:g} | {' | '.join(figures)} |")
        print(f"{path.name}: {len(rows)} sentences, {version}, run {result.run_id}\n")
        print("\n".join(lines), end="\n\n")


def _figures(version: registry.Version, rows: pd.DataFrame, headings: list[str] | None) -> dict[str, float]:
    """Metrics by name and share."""
    labels = taxonomy.load()
    params = MlflowClient().get_run(version.run_id).data.params
    stored = float(params.get("model.pretrained_share", 0))
    settings = runs.settings(["model=minilm"])["model"]
    fitted = load_file(
        Path(mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path="fitted")) / "model.safetensors"
    )
    classifier = transformer.TransformerClassifier(settings, labels, seed=1)
    encoder, classifier.tokenizer = transformer.load_encoder(None)
    before = {f"encoder.{k}": v.clone() for k, v in encoder.state_dict().items() if v.is_floating_point()}
    classifier.model = transformer.TwoHeads(encoder, len(labels.findings), len(labels.themes))
    truth = [labels.finding_ids.index(f) for f in rows["finding"]]
    themes = np.array([[theme in own for theme in labels.theme_ids] for own in rows["themes"]])
    figures = {}
    for share in SHARES:
        weights = {k: _drawn_back(v, before.get(k), stored, share) for k, v in fitted.items()}
        classifier.model.load_state_dict(weights)
        scores = classifier.scores(rows["sentence"].tolist(), headings or [""] * len(rows))
        said = scores.findings.argmax(axis=1)
        probabilities = torch.from_numpy(scores.findings).softmax(1).numpy()
        figures |= {
            f"macro/{share}": float(f1_score(truth, said, average="macro")),
            f"accuracy/{share}": float((said == truth).mean()),
            f"loss/{share}": float(log_loss(truth, probabilities, labels=list(range(len(labels.findings))))),
            f"themes/{share}": float(f1_score(themes, scores.themes > 0, average="micro")),
        }
    return figures


def _drawn_back(value: torch.Tensor, before: torch.Tensor | None, stored: float, share: float) -> torch.Tensor:
    if before is None:
        return value
    trained = (value - stored * before) / (1 - stored)
    return trained.lerp(before, share)


if __name__ == "__main__":
    runs.run(main)
