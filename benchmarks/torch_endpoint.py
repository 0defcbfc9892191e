"""A trained model's weights in eager torch as a plain pyfunc, as `mlflow models serve` would have them without
our fast form: what endpoint_latency.py measures ours against. MLflow loads it from this code."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from inference_worker import eager

from findings import transformer


class TorchModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Probabilities of both heads."""

    def load_context(self, context):  # type: ignore[no-untyped-def]
        self.answer = eager(Path(context.artifacts["fitted"]), transformer.BUDGET)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        findings, themes = self.answer(model_input["sentence"].tolist())
        findings = np.exp(findings - findings.max(axis=1, keepdims=True))
        findings /= findings.sum(axis=1, keepdims=True)
        return pd.DataFrame(np.hstack([findings, 1 / (1 + np.exp(-themes))]))


mlflow.models.set_model(TorchModel())
