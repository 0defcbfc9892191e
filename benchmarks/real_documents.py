"""What a model reaches on annotated sentences of real documents: the README's figures.

    python benchmarks/real_documents.py sentences.jsonl [more.jsonl ...] [--model VERSION]

Each line of a file is an object with `sentence`, `finding`, `themes`, perhaps `heading`, and the
document it is from as `source_file_id` or `file`. Such text is not part of this repository.
"""

from __future__ import annotations

import argparse

import pandas as pd

from findings import evaluation, registry, tracking


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--model", default="champion", help="champion, latest, a version or a run id")
    given = parser.parse_args()
    tracking.connect({"uri": None, "experiment": "findings"}, create=False)
    version = registry.find("findings", given.model)
    model = registry.load(version)
    print(f"{version}, run {version.run_id}")
    for path in given.files:
        rows = pd.read_json(path, lines=True, dtype=False)
        column = next(name for name in ("source_file_id", "file") if name in rows)
        rows = rows.assign(sentence_id=rows["id"], document_id=rows[column].astype(str))
        for headings in ("known", "removed") if "heading" in rows else ("none",):
            shown = rows if headings == "known" else rows.assign(heading="")
            predictions = model.predict(shown["sentence"].tolist(), shown["heading"].tolist())
            result = evaluation.evaluate(evaluation.table(shown, predictions, model.taxonomy), model.taxonomy)
            print(f"{path}: {result.sentences} sentences, {result.documents} documents, headings {headings}")
            for name, figure in result.metrics.items():
                print(f"  {name:26} {figure}")


if __name__ == "__main__":
    main()
