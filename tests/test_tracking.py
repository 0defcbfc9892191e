import socket
import sqlite3

import mlflow
import pytest

from findings import tracking
from findings.errors import FindingsError

SETTINGS = {"experiment": "findings"}


def test_a_file_that_is_no_database_is_told_in_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(FindingsError, match="store cannot be used") as refusal:
        tracking.connect({**SETTINGS, "uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    assert "\n" not in str(refusal.value)


def test_a_servers_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(FindingsError, match="MLFLOW_TRACKING_PASSWORD instead") as refusal:
        tracking.connect({**SETTINGS, "uri": "https://analyst:hunter2@mlflow.example.org"})
    assert "hunter2" not in str(refusal.value)


def test_a_server_that_is_not_there_is_told():
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FindingsError, match=f"{uri}: no MLflow server answers there. Check the address."):
            tracking.connect({**SETTINGS, "uri": uri}, create=False)


def test_a_fresh_store_is_in_write_ahead_mode_with_artifacts_beside_it(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    client = tracking.connect({**SETTINGS, "uri": uri})
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    location = client.get_experiment_by_name("findings").artifact_location
    assert location == (tmp_path / "mlruns" / "artifacts" / "findings").as_uri()


def test_connecting_to_read_makes_no_store(tmp_path):
    uri = f"sqlite:///{tmp_path / 'none.db'}"
    with pytest.raises(FindingsError, match=r"none\.db: no store there\. Run `findings train`"):
        tracking.connect({**SETTINGS, "uri": uri}, create=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_ends_as_what_happened_to_it(tmp_path, error, status):
    client = tracking.connect({**SETTINGS, "uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    seen = []

    def work():
        with tracking.run("a run") as active:
            seen.append(active.info.run_id)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            work()
    else:
        work()
    assert client.get_run(seen[0]).info.status == status
    assert mlflow.active_run() is None


def test_predictions_of_an_unknown_run_are_refused(connected):
    with pytest.raises(FindingsError, match="run 0123456789: no predictions on test"):
        tracking.read_predictions("0123456789", "test")
