"""The one pyfunc that MLflow stores and serves for every family of models, and its schema.

Input: columns `sentence` (string) and `heading` (string, optional, null allowed).
Output, one row a sentence in order: `finding`, `finding_probability`, `finding_probabilities`
(map), `themes` (list, most probable first), `theme_probabilities` (map).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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

from findings import models
from findings.errors import FindingsError
from findings.evaluation import theme_lists
from findings.models import Model, Predictions

COLUMNS = ("finding", "finding_probability", "finding_probabilities", "themes", "theme_probabilities")
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
    if isinstance(data, str):
        data = [data]
    if isinstance(data, np.ndarray | pd.Series):
        data = data.tolist()
    if isinstance(data, list | tuple):
        columns = _columns_of_rows(data)
    elif isinstance(data, pd.DataFrame):
        columns = {str(name): data[name].tolist() for name in data.columns}
    elif isinstance(data, Mapping):
        columns = {str(k): np.asarray(v, dtype=object).reshape(-1).tolist() for k, v in data.items()}
    else:
        raise FindingsError("expected sentences: a list of strings, or rows with 'sentence' and perhaps 'heading'.")
    if "sentence" not in columns:
        raise FindingsError("there is no column 'sentence'. Send 'sentence' and, where it is known, 'heading'.")
    sentences, headings = _unpacked(columns["sentence"]), columns.get("heading")
    headings = [""] * len(sentences) if headings is None else _unpacked(headings)
    if len(headings) != len(sentences):
        counts = f"{len(sentences)} sentences but {len(headings)} headings"
        raise FindingsError(f"{counts}. Send one heading a sentence, or none.")
    return (
        [_text(value, row, "sentence") for row, value in enumerate(sentences, 1)],
        ["" if _is_null(value) else _text(value, row, "heading") for row, value in enumerate(headings, 1)],
    )


def _columns_of_rows(rows: Sequence[Any]) -> dict[str, list[Any]]:
    if rows and isinstance(rows[0], Mapping):
        if not any(isinstance(row, Mapping) and "sentence" in row for row in rows):
            return {}
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise FindingsError(f"row {number}: not an object with 'sentence', as the first row is.")
        return {"sentence": [r.get("sentence") for r in rows], "heading": [r.get("heading") for r in rows]}
    return {"sentence": list(rows)}


def _unpacked(column: list[Any]) -> list[Any]:
    """MLflow turns {"sentence": [...]} into one row that holds the list: take it out again."""
    if len(column) == 1 and isinstance(column[0], list | tuple | np.ndarray):
        return list(column[0])
    return column


def _is_null(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _text(value: Any, row: int, name: str) -> str:
    if _is_null(value):
        raise FindingsError(f"row {row}: the {name} is null. Send text.")
    if not isinstance(value, str):
        raise FindingsError(f"row {row}: the {name} is not text. Send a string.")
    return value


def answer(model: Model, predictions: Predictions) -> pd.DataFrame:
    """Predictions in the form of the contract, one row a sentence."""
    findings, themes = model.taxonomy.finding_ids, model.taxonomy.theme_ids
    best = predictions.findings
    return pd.DataFrame(
        {
            "finding": [findings[i] for i in best],
            "finding_probability": predictions.finding_probabilities.max(axis=1) if len(best) else [],
            "finding_probabilities": [_map(findings, row) for row in predictions.finding_probabilities],
            "themes": theme_lists(predictions, model.taxonomy),
            "theme_probabilities": [_map(themes, row) for row in predictions.theme_probabilities],
        },
        columns=list(COLUMNS),
    )


def _map(labels: list[str], row: Any) -> dict[str, float]:
    return {label: round(float(value), 6) for label, value in zip(labels, row, strict=True)}


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
