"""The structure, without text, of real reports: what `tests/data/real_reports.json` is made of.

`python tests/real_reports.py FOLDER` writes it anew after a change of the parser that is meant;
look at the difference before it is kept.
"""

import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path

from findings import documents
from findings.about import about
from findings.sentences import sentences

GOLDEN = Path(__file__).parent / "data" / "real_reports.json"


def structure(path):
    """Counts, headings by hash, paragraph numbers and judgements of a document."""
    document = documents.read(path)
    cut = sentences(document)
    headings = [document.text[b.start : b.end] for b in document.blocks if b.kind == "heading"]
    numbers = [b.number for b in document.blocks if b.number is not None]
    said = about(document)
    return {
        "pages": len(document.page_starts),
        "blocks": dict(sorted(Counter(block.kind for block in document.blocks).items())),
        "sentences": len(cut),
        "list_items": sum(s.list_item for s in cut),
        "headings": [hashlib.sha256("".join(re.findall(r"\w", h.lower())).encode()).hexdigest()[:12] for h in headings],
        "paragraphs": _runs(numbers),
        "framework": said.framework,
        "inspected": [said.inspection_start, said.inspection_end],
        "judgements": {key: [judged.grade, judged.page] for key, judged in said.judgements.items()},
    }


def _runs(numbers):
    """Paragraph numbers as runs: [1, 2, 3, 1, 2] is '1-3 1-2'."""
    runs = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{first}-{last}" for first, last in runs)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    names = json.loads(GOLDEN.read_text(encoding="utf-8"))
    GOLDEN.write_text(json.dumps({name: structure(folder / name) for name in names}, indent=1) + "\n", encoding="utf-8")
