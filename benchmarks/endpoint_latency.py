"""`findings serve` beside plain `mlflow models serve`, of the same champion and of its weights in torch: time to
answer, memory, start.

    python benchmarks/endpoint_latency.py [--rounds 3] [--requests 400] [--workers 1]

All servers run at the same time on this machine and are asked in turns, one sentence a request over
connections that are kept, so that whatever else the machine does slows all. Prints a Markdown table. A
champion without torch weights (TF-IDF, the fast student) has no server in torch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import runs
from mlflow import MlflowClient

from findings import registry, store

CONCURRENCY = (1, 4, 16)
SENTENCES = [
    "Too many children wait too long for an assessment because the duty team has had vacancies since spring.",
    "Managers read each plan before it is agreed and say clearly what must change.",
    "The timeliness of return home interviews.",
    "The authority serves a coastal district with two market towns.",
]


@dataclass(frozen=True)
class Started:
    """A running server: what it is called, its process group, its port, seconds from start to first answer."""

    name: str
    group: int
    port: int
    cold: float


@contextmanager
def started(name: str, command: list[str], port: int) -> Iterator[Started]:
    """Start a server and wait for its first answer to a sentence."""
    folder = Path(sys.executable).parent
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": store.store_uri(),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [str(folder / command[0]), *command[1:], "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while not _answers(port):
                if process.poll() is not None:
                    log.seek(0)
                    sys.exit(log.read().decode())
                time.sleep(0.02)
            yield Started(name, process.pid, port, time.perf_counter() - begun)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _answers(port: int) -> bool:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", _body(0), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _body(number: int) -> bytes:
    return json.dumps({"dataframe_records": [{"sentence": SENTENCES[number % len(SENTENCES)]}]}).encode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def ask(port: int, requests: int, concurrency: int) -> tuple[list[float], float]:
    """Seconds that each of the requests took, and all of them together."""
    took: list[float] = []
    numbers = iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = _body(number)
            head = (
                f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            begun = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = re.search(rb"content-length: (\d+)", answer, re.I)
            assert length
            await reader.readexactly(int(length[1]))
            took.append(time.perf_counter() - begun)
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return took, time.perf_counter() - begun


def memory(group: int) -> float:
    """Resident MiB of all processes of a group."""
    pages = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getpgid(int(folder.name)) == group:
                pages += int((folder / "statm").read_text().split()[1])
        except (OSError, ValueError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def plain(model: str) -> list[str]:
    return ["mlflow", "models", "serve", "-m", model, "--env-manager", "local"]


def in_torch(folder: Path) -> Path | None:
    """The champion's weights in torch, saved as a pyfunc in a folder; None where it was not trained so."""
    runs.connect()
    run_id = registry.require_champion("findings").run_id
    if not MlflowClient().list_artifacts(run_id, "fitted"):
        return None
    fitted = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="fitted", dst_path=str(folder))
    here = Path(__file__).parent
    mlflow.pyfunc.save_model(
        folder / "torch",
        python_model=str(here / "torch_endpoint.py"),
        artifacts={"fitted": fitted},
        code_paths=[str(here / "inference_worker.py"), str(here / "peer_models.py")],
        pip_requirements=["findings"],
    )
    return folder / "torch"


def main() -> None:
    parser = argparse.ArgumentParser(description="findings serve beside mlflow models serve.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=400, help="a round, server and concurrency")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    workers = ["--workers", str(options.workers)]
    commands = {
        "findings serve": ["findings", "serve", *workers],
        "mlflow models serve": [*plain("models:/findings@champion"), *workers],
    }
    took: dict[tuple[str, int], list[float]] = defaultdict(list)
    whole: dict[tuple[str, int], float] = defaultdict(float)
    with ExitStack() as stack:
        if (saved := in_torch(Path(stack.enter_context(tempfile.TemporaryDirectory())))) is not None:
            commands["mlflow models serve, torch"] = [*plain(str(saved)), *workers]
        servers = [stack.enter_context(started(name, command, free_port())) for name, command in commands.items()]
        for server in servers:
            asyncio.run(ask(server.port, 50, 4))
        for number in range(options.rounds):
            for concurrency in CONCURRENCY:
                for server in servers if number % 2 else servers[::-1]:
                    times, seconds = asyncio.run(ask(server.port, options.requests, concurrency))
                    took[server.name, concurrency] += times
                    whole[server.name, concurrency] += seconds
        used = {server.name: memory(server.group) for server in servers}
    print("| | clients | p50, ms | p95, ms | p99, ms | requests/s | memory, MiB | start to first answer, s |")
    print("|---|---|---|---|---|---|---|---|")
    for server in servers:
        for concurrency in CONCURRENCY:
            times = sorted(took[server.name, concurrency])
            p50, p95, p99 = (1000 * times[min(len(times) - 1, int(len(times) * q))] for q in (0.5, 0.95, 0.99))
            rate = len(times) / whole[server.name, concurrency]
            once = f"{used[server.name]:.0f} | {server.cold:.1f}" if concurrency == CONCURRENCY[0] else " | "
            print(f"| {server.name} | {concurrency} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {rate:.0f} | {once} |")


if __name__ == "__main__":
    main()
