from pathlib import Path

from findings import store


def test_home_is_the_nearest_mlruns_above(tmp_path, monkeypatch):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert store.home() == tmp_path / "mlruns"


def test_the_uri_is_absolute_and_the_variable_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store.store_uri() == f"sqlite:///{store.home() / 'mlflow.db'}"
    assert Path(store.store_uri().removeprefix("sqlite:///")).is_absolute()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/x.db")
    assert store.store_uri() == "sqlite:////elsewhere/x.db"
    assert store.store_uri("sqlite:////mine.db") == "sqlite:////mine.db"
    assert store.store_uri("sqlite:///mlruns/mlflow.db") == f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
