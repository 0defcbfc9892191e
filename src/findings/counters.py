"""What a server counts about its requests, for Prometheus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Where it is set, before this module is imported, several processes count together in that folder, and
each tells the sums of all; memory and processor time are then not told."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Counters:
    """Counters of one server; paths that it does not have are counted as `other`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        if folder := os.environ.get(SHARED):
            _bury(Path(folder))
        else:
            ProcessCollector(registry=self.registry)
        here: Any = {"registry": self.registry}
        self.requests = Counter("findings_requests", "Requests answered.", ["path", "status"], **here)
        self.seconds = Histogram("findings_request_seconds", "Time to answer.", ["path"], buckets=SECONDS, **here)
        self.rows = Counter("findings_rows", "Sentences labelled.", **here)
        self.call_rows = Histogram("findings_model_call_rows", "Sentences a call of the model.", buckets=ROWS, **here)
        self.in_flight = Gauge(
            "findings_requests_in_flight", "Requests not answered yet.", multiprocess_mode="livesum", **here
        )
        self.version = Gauge(
            "findings_model_version", "The version of the model that answers.", multiprocess_mode="liveall", **here
        )
        self.reload_failures = Counter("findings_reload_failures", "Champions that could not be loaded.", **here)

    def answered(self, path: str, status: int, seconds: float) -> None:
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def called(self, rows: int) -> None:
        """The model was called with that many sentences."""
        self.rows.inc(rows)
        self.call_rows.observe(rows)

    def text(self) -> bytes:
        """All of it in Prometheus' text form."""
        registry = self.registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _bury(folder: Path) -> None:
    """Forget what processes that are gone left of their present state."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        except OSError:
            pass
