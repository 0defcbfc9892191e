"""Where runs and models are kept: the address of MLflow's store, worked out without importing MLflow."""

from __future__ import annotations

import os
from pathlib import Path

SQLITE = "sqlite:///"


def home() -> Path:
    """mlruns/ at or above the working directory; where there is none, in the working directory."""
    here = Path.cwd()
    found = next((folder / "mlruns" for folder in (here, *here.parents) if (folder / "mlruns").is_dir()), None)
    return found or here / "mlruns"


def store_uri(configured: str | None = None) -> str:
    """The tracking URI: the configured one, else MLFLOW_TRACKING_URI, else SQLite in `home()`.

    Always absolute: a relative SQLite path would start a second store elsewhere.
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{home() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return uri if path is None else f"{SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of a SQLite store; None for a server."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None
