"""How long reading takes: parsing a folder of reports on one processor, and one report from PDF to page.

    python benchmarks/reading_speed.py FOLDER [REPORT.pdf]

The figures are those of the champion and of this machine at this moment: compare in pairs, in one run.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from findings import documents, pages, parsed, reading, registry, tracking
from findings.errors import FindingsError
from findings.sentences import sentences


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    paths = sorted(Path(sys.argv[1]).glob("*.pdf"))
    whole, cut = 0.0, 0
    for path in paths:
        started = time.perf_counter()
        try:
            cut += len(sentences(documents.read(path)))
        except FindingsError as error:
            print(error)
        whole += time.perf_counter() - started
    print(f"{len(paths)} files, {cut} sentences parsed and cut in {whole:.1f} s on one processor")

    report = Path(sys.argv[2]) if len(sys.argv) > 2 else paths[-1]
    tracking.connect({"uri": None, "experiment": "findings"}, create=False)
    version = registry.require_champion("findings")
    model = registry.load(version)
    took = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(6):
            started = time.perf_counter()
            document = documents.read(report)
            read = reading.label(document, parsed.sha256(report), model, str(version))
            pages.write(read, Path(folder), "x", model.taxonomy, date.today())
            took.append(time.perf_counter() - started)
    print(f"{report.name}, {read.pages} pages, {len(read.sentences)} sentences: PDF to its six files by {version}")
    print(f"first {took[0]:.2f} s, then {statistics.median(took[1:]):.2f} s (median of {len(took) - 1})")


if __name__ == "__main__":
    main()
