"""What `findings score` takes for N sentences and for twice as many: seconds, sentences a second, memory.

    python benchmarks/scoring_speed.py [N] [--version champion]

The pile is made of the authored documents' sentences with their headings, shuffled and repeated. Both
are scored in this run, each by a process of its own, whose memory is looked at every 50 ms together
with that of the processes it started (Linux: /proc). The table is Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from findings import dataset, piles

PAGE_MIB = 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=100_000, metavar="N")
    parser.add_argument("--version", default="champion", help="of the model, as `findings score` takes it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = piles.look_through(dataset.default_folder() / "documents", Path(folder))
        known = pa.concat_tables(piles.tables(documents)).select(["sentence", "heading"])
        results = [measure(Path(folder), known, count, options.version) for count in (options.count, 2 * options.count)]
    print("| sentences | seconds | sentences a second | peak memory, MiB |\n|---|---|---|---|")
    for count, seconds, memory in results:
        print(f"| {count:,} | {seconds:.1f} | {count / seconds:,.0f} | {memory:.0f} |")
    print(f"\nTwice the sentences took {results[1][1] / results[0][1]:.2f} times the time.")


def measure(folder: Path, known: pa.Table, count: int, version: str) -> tuple[int, float, float]:
    """(sentences, seconds, MiB) of one scoring, from the start of the process to its end."""
    pile, out = folder / f"{count}.parquet", folder / f"scores-{count}"
    picked = np.resize(np.random.default_rng(1).permutation(len(known)), count)
    pq.write_table(known.take(picked), pile, row_group_size=50_000)
    call = [sys.executable, "-m", "findings", "score", str(pile), "--out", str(out), "--version", version]
    begun, peak = time.perf_counter(), 0.0
    running = subprocess.Popen(call)
    while running.poll() is None:
        peak = max(peak, memory_of(running.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    if running.returncode or pq.ParquetDataset(out).read(["finding"]).num_rows != count:
        sys.exit(f"{out}: not all was scored")
    return count, seconds, peak


def memory_of(process: int) -> float:
    """MiB that a process and those that it started have in memory; what they share counts in each."""
    total, pending = 0.0, [process]
    while pending:
        folder = Path("/proc") / str(pending.pop())
        try:
            total += int((folder / "statm").read_text().split()[1]) * PAGE_MIB
            for task in (folder / "task").iterdir():
                pending.extend(map(int, (task / "children").read_text().split()))
        except OSError:
            pass  # ended meanwhile
    return total


if __name__ == "__main__":
    main()
