"""The one pyfunc that MLflow stores and serves for every family of models, and its schema.

Input: columns `sentence` (string) and `heading` (string, optional, null allowed).
Output, one row a sentence in order: `finding`, `finding_probability`, `finding_probabilities`
(map), `themes` (list, most probable first), `theme_probabilities` (map).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Map

from findings import forms, models
from findings.errors import FindingsError
from findings.forms import COLUMNS
from findings.models import Model, Predictions

ARTIFACT = "model"
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "sentence"), ColSpec(DataType.string, "heading", required=False)]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "finding"),
            ColSpec(DataType.double, "finding_probability"),
            ColSpec(Map(DataType.double), "finding_probabilities"),
            ColSpec(Array(DataType.string), "themes"),
            ColSpec(Map(DataType.double), "theme_probabilities"),
        ]
    ),
)
EXAMPLE = pd.DataFrame(
    {
        "sentence": ["Supervision is regular and helps staff to reflect.", "The quality of pathway plans."],
        "heading": ["The impact of leaders", "What needs to improve"],
    }
)


with warnings.catch_warnings(record=True):  # MLflow remarks that `predict` has no type hints

    class FindingsModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Loads a folder that `models.save` wrote and answers in the contract's form. Thread-safe."""

        model: Model

        def load_context(self, context: Any) -> None:
            self.model = models.load(Path(context.artifacts[ARTIFACT]))

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow would take hints for the schema
            try:
                sentences, headings = inputs(model_input)
            except FindingsError as error:
                raise MlflowException.invalid_parameter_value(str(error)) from None
            return answer(self.model, self.model.predict(sentences, headings))


def inputs(data: Any) -> tuple[list[str], list[str]]:
    """Sentences and headings from what a client sent: a data frame, a list of strings or of
    mappings, or a mapping of lists.

    Raises:
        FindingsError: a row without a sentence, or something else than text; names the row.
    """
    if isinstance(data, pd.DataFrame):
        found = {str(name): _plain(data[name]) for name in data.columns}
    elif isinstance(data, Mapping):
        found = forms.columns({name: _plain(value) for name, value in data.items()})
    else:
        found = forms.columns(_plain(data))
    rows = forms.rows(found)
    return rows.sentences, rows.headings


def _plain(value: Any) -> Any:
    """A column as plain lists and values; MLflow makes arrays of the lists in a mapping."""
    if isinstance(value, np.ndarray | pd.Series):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(v) if isinstance(v, np.ndarray) else None if v is pd.NA else v for v in value]
    return value


def answer(model: Model, predictions: Predictions) -> pd.DataFrame:
    """Predictions in the form of the contract, one row a sentence."""
    return pd.DataFrame(forms.answers(model, predictions), columns=list(COLUMNS))


def log(folder: Path) -> ModelInfo:
    """Log a saved model (a folder of `models.save`) to the active run, with schema and example."""
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("serving_model.py")),
        artifacts={ARTIFACT: str(folder)},
        signature=SIGNATURE,
        input_example=EXAMPLE,
        pip_requirements=_requirements(),
    )


def _requirements() -> list[str]:
    from importlib.metadata import version

    names = (
        "findings",
        "mlflow",
        "scikit-learn",
        "skops",
        "onnxruntime",
        "tokenizers",
        "safetensors",
        "pandas",
        "numpy",
        "scipy",
    )
    return [f"{name}=={version(name)}" for name in names]
