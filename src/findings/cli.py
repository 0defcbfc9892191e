"""The command `findings` and its verbs. Heavy modules are imported by the verb that needs them."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

from findings import __version__
from findings.errors import FindingsError
from findings.files import make_folder, write_text

HYDRA_FLAGS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (1: an error that is told in one line, 3: not promoted, 130: Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] in (["-sc"], ["--shell-completion"]):
            return _complete(arguments)
        if arguments[:1] == ["train"]:
            return _train(arguments[1:])
        if arguments[:2] == ["data", "build"]:
            return _data_build(arguments[2:])
        options = _parser().parse_args(arguments)
        verb: Callable[[argparse.Namespace], int] = options.verb
        return verb(options)
    except FindingsError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="findings",
        description="Reads inspection reports on children's services sentence by sentence.",
        epilog="`findings VERB --help` shows each verb with an example.",
    )
    parser.add_argument("--version", action="version", version=f"findings {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(group: Any, name: str, help_text: str, example: str, verb: Callable[..., int]) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = group.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(verb=verb)
        return made

    add(verbs, "train", "train a model (Hydra overrides; -m for many)", "findings train model.C=3 seed=7", _unreachable)
    data = verbs.add_parser("data", help="fetch reports, build or check a dataset").add_subparsers(
        title="verbs", metavar="VERB", required=True
    )
    add(data, "build", "join text and labels, check and write (Hydra overrides)", "findings data build", _unreachable)
    about = "download the annotated reports, or take them from a folder of PDFs"
    fetch = add(data, "fetch", about, "findings data fetch --folder my_pdfs", _data_fetch)
    fetch.add_argument("--folder", type=Path, help="PDFs at hand: take the reports among them, download nothing")
    fetch.add_argument("--out", type=Path, help="folder for the reports (default: where `data build` looks for them)")
    fetch.add_argument("--standoff", type=Path, help="a folder with reports.csv; default: the annotations that ship")
    fetch.add_argument("--base-url", help="another address to download from, as a mirror")
    fetch.add_argument("--delay", type=float, default=1.0, help="seconds before each request (default: 1)")
    check = add(data, "check", "list what is wrong in a corpus folder", "findings data check", _data_check)
    where = "a folder with documents.csv, or with reports.csv and annotations.csv; default: the authored corpus"
    check.add_argument("folder", nargs="?", type=Path, help=where)
    _add_taxonomy(check)

    card = add(data, "card", "write the data card's figures anew", "findings data card --check", _data_card)
    card.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the figures are not those of the data"
    )
    _add_annotate(verbs, add)
    compare = add(verbs, "compare", "compare two models", "findings compare champion latest", _compare)
    compare.add_argument("base", help="champion, latest, a version or a run id")
    compare.add_argument("candidate", help="the same")
    compare.add_argument("--out", type=Path, help="also write the comparison: .md or .html")
    _add_store(compare)
    promote = add(verbs, "promote", "make a model champion if it is better", "findings promote latest", _promote)
    promote.add_argument("candidate", help="latest, a version or a run id")
    promote.add_argument("--force", action="store_true", help="promote whatever the comparison says")
    _add_store(promote)

    read = add(verbs, "read", "label the sentences of documents", "findings read README.md --out readings", _read)
    read.add_argument("paths", nargs="+", type=Path, metavar="FILE", help="PDF, Word, HTML, Markdown, text, or folders")
    read.add_argument("--out", type=Path, default=Path("readings"), help="folder for the results (default: readings)")
    read.add_argument("--again", action="store_true", help="also what is there already, read by the same model")
    _add_store(read)
    about = "score a pile of sentences into Parquet"
    score = add(verbs, "score", about, "findings score README.md --out scores", _score)
    score.add_argument(
        "pile", help="Parquet (or a folder of it), CSV or JSON lines with a column 'sentence'; documents"
    )
    score.add_argument("--out", required=True, help="folder for the parts; the same command goes on where it was")
    score.add_argument("--version", default="champion", help="champion (default), latest, a version or a run id")
    score.add_argument("--engine", choices=("local", "spark"), default="local")
    score.add_argument(
        "--master", help="Spark's master: local[2], spark://…, yarn, k8s://… (default: the environment's)"
    )
    score.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a setting for Spark")
    _add_store(score)
    _add_serve(verbs, add)
    return parser


def _add_serve(verbs: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    about = "serve the champion over HTTP: MLflow's contract, a page, /metrics; FINDINGS_TOKEN guards them"
    serve = add(verbs, "serve", about, "findings serve --port 5001", _serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=5001, help="default: 5001; 0 takes a free one and says which")
    serve.add_argument("--workers", type=int, default=1, help="processes, each with its own model (default: 1)")
    serve.add_argument(
        "--reload-seconds", type=float, default=10, help="until the next look for a new one (default: 10)"
    )
    serve.add_argument("--max-bytes", type=int, default=2**20, help="of a request's body (default: 1 MiB)")
    serve.add_argument("--max-rows", type=int, default=2000, help="sentences a request (default: 2000)")
    serve.add_argument("--time-limit", type=float, default=30, help="seconds a request (default: 30)")
    _add_store(serve)


def _add_annotate(verbs: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    group = verbs.add_parser("annotate", help="label sentences and judge labels").add_subparsers(
        title="verbs", metavar="VERB", required=True
    )
    about = "annotations without their text, from annotated sentences of published reports"
    example = "findings annotate standoff sentences.jsonl --out my_annotations --pdfs my_pdfs"
    make = add(group, "standoff", about, example, _annotate_standoff)
    fields = "id, source_file_id, authority, page, sentence, finding, perhaps themes, list_item, published, urn, kind"
    make.add_argument("sentences", type=Path, help=f"JSON lines with {fields}, annotator")
    make.add_argument("--out", type=Path, required=True, help="folder for reports.csv and annotations.csv")
    make.add_argument("--pdfs", type=Path, help="the annotated PDFs: notes their SHA-256")
    make.add_argument("--annotator", default="language_model", help="who gave the labels (default: language_model)")
    _add_taxonomy(make)
    export = add(
        group,
        "export",
        "write Label Studio tasks with the champion's answers",
        "findings annotate export README.md --out labelling",
        _annotate_export,
    )
    export.add_argument("paths", nargs="*", type=Path, metavar="FILE", help="documents, folders, or a CSV of the queue")
    export.add_argument(
        "--corpus", type=Path, help="a corpus folder: its annotated sentences, and unlabelled documents"
    )
    export.add_argument("--out", type=Path, required=True, help="new folder for tasks.json and labelling_config.xml")
    export.add_argument("--blind", action="store_true", help="without the champion's answers, for an unbiased pass")
    _add_taxonomy(export)
    _add_store(export)
    back = add(
        group,
        "import",
        "turn a Label Studio export (JSON, JSON-MIN, CSV) into annotations",
        "findings annotate import project-1.json --corpus labelling",
        _annotate_import,
    )
    back.add_argument("file", type=Path, help=".json or .csv, also a plain table of sentence_id, finding, themes")
    back.add_argument("--corpus", type=Path, help="the corpus to check against, and to write into without --out")
    back.add_argument("--out", type=Path, help="folder for the annotations, instead of the corpus")
    back.add_argument("--annotator", help="who labelled (default: label_studio_user_<number>)")
    back.add_argument("--by-annotator", action="store_true", help="a folder for each annotator in --out")
    _add_taxonomy(back)
    queue = add(
        group,
        "queue",
        "pick the sentences to label next",
        "findings annotate queue README.md --out queue.csv -n 10",
        _annotate_queue,
    )
    queue.add_argument("paths", nargs="+", type=Path, metavar="FILE", help="unlabelled documents, or folders of them")
    queue.add_argument("--out", type=Path, required=True, help="CSV file, which `annotate export` takes")
    queue.add_argument("-n", "--number", type=int, default=100, help="how many sentences (default: 100)")
    queue.add_argument("--corpus", type=Path, help="what is labelled already (default: all that ships)")
    _add_store(queue)
    agreement = add(
        group,
        "agreement",
        "compare two passes over the same sentences",
        "findings annotate agreement --out agreement.md",
        _annotate_agreement,
    )
    _add_passes(agreement)
    agreement.add_argument("--out", type=Path, help="also write the figures: .json or .md")
    disagreements = add(
        group,
        "disagreements",
        "list what two passes disagree on, to be decided",
        "findings annotate disagreements --out undecided.csv",
        _annotate_disagreements,
    )
    _add_passes(disagreements)
    disagreements.add_argument("--out", type=Path, required=True, help="CSV file")
    audit = add(
        group,
        "audit",
        "list labels that are likely wrong",
        "findings annotate audit --out audit.csv",
        _annotate_audit,
    )
    audit.add_argument("--corpus", type=Path, help="a corpus folder or a .jsonl file (default: the authored corpus)")
    audit.add_argument("--out", type=Path, default=Path("audit.csv"), help="CSV file (default: audit.csv)")
    _add_taxonomy(audit)


def _add_passes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", nargs="?", type=Path, help="folder of CSV files (default: the authored first pass)")
    parser.add_argument("second", nargs="?", type=Path, help="the same (default: the authored second pass)")
    _add_taxonomy(parser)


def _add_taxonomy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--taxonomy", default="childrens_services", help="name, or path of a .yaml file")


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="findings", help="name in the registry (default: findings)")
    parser.add_argument("--tracking-uri", help="MLflow's store (default: MLFLOW_TRACKING_URI, else mlruns/)")


def _unreachable(options: argparse.Namespace) -> NoReturn:
    raise AssertionError("Hydra's verbs are taken before argparse")


def _store(options: argparse.Namespace) -> str:
    """Connect to the store that the options name; returns the model's name in the registry."""
    from findings import tracking

    tracking.connect({"uri": options.tracking_uri, "experiment": "findings"}, create=False)
    return str(options.model)


# Hydra's verbs ------------------------------------------------------------------------------------


def _train(arguments: list[str]) -> int:
    return _hydra("findings train", "app", arguments)


def _data_build(arguments: list[str]) -> int:
    return _hydra("findings data build", "data_app", arguments)


def _hydra(program: str, app: str, arguments: list[str]) -> int:
    from findings import config, cores

    config.store()
    if not HYDRA_FLAGS & set(arguments):
        overrides = [a for a in arguments if not a.startswith("-")]
        many = bool({"-m", "--multirun"} & set(arguments)) or any(a.startswith("hydra.") for a in overrides)
        config.validate(overrides, many=many)
        if cores.processes() > 1:
            config.validate_together(overrides, many=many)
    from findings import training

    # A termination is treated like Ctrl-C, so that the run is marked; a process that trains along has none.
    if cores.rank() == 0:
        signal.signal(signal.SIGTERM, _terminated)
    sys.argv = [program, *arguments]
    try:
        getattr(training, app)()
    except SystemExit as stop:
        training.close_sweep("FAILED")
        return int(stop.code or 0) if not isinstance(stop.code, str) else 1
    except KeyboardInterrupt:
        training.close_sweep("KILLED")
        raise
    return 0


def _terminated(number: int, frame: object) -> None:
    """As Ctrl-C, which a job that a script put into the background ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _complete(arguments: list[str]) -> int:
    """Shell completion: Hydra's for the settings after `train` and `data build`, ours for the verbs.

    Hydra's shell functions call `findings -sc query=bash` with the line in COMP_LINE; the verb is
    taken out of it before Hydra sees it.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    for verb in (["train"], ["data", "build"]):
        typed = words[1 : 1 + len(verb)]
        if typed == verb and (len(words) > 1 + len(verb) or line.endswith(" ")):
            rest = line.split(None, 1 + len(verb))[1 + len(verb) :]
            short = "findings " + (rest[0] if rest else "")
            os.environ["COMP_LINE"], os.environ["COMP_POINT"] = short, str(len(short))
            break
    else:
        if "query" in " ".join(arguments):
            print(
                " ".join(
                    v
                    for v in ("train", "data", "annotate", "compare", "promote", "read", "score", "serve")
                    if v.startswith("".join(words[1:2]))
                )
            )
            return 0
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        status = _hydra("findings", "app", arguments)
    # The schemas stand in Hydra's groups beside the options, but they are no choice for a user.
    print(re.sub(r"\S+_schema\b *", "", told.getvalue()), end="")
    return status


# The other verbs ----------------------------------------------------------------------------------


def _data_card(options: argparse.Namespace) -> int:
    from findings import card, dataset, standoff, taxonomy

    path, labels = card.path(), taxonomy.load()
    before = path.read_text(encoding="utf-8")
    after = card.with_figures(before, card.figures(dataset.default_folder(), standoff.default_folder(), labels))
    if after == before:
        print(f"{path}: its figures are those of the data")
        return 0
    if options.check:
        print(f"{path}: its figures are not those of the data. `findings data card` writes them anew.")
        return 1
    write_text(path, after)
    print(f"{path}: its figures were written anew")
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from findings import dataset, standoff, taxonomy

    folder = options.folder or dataset.default_folder()
    labels = taxonomy.load(options.taxonomy)
    if (folder / "reports.csv").is_file() and not (folder / "documents.csv").is_file():
        marks = standoff.read(folder)
        violations = standoff.check(marks, labels)
        size = f"{len(marks.reports)} reports, {len(marks.marks)} sentences"
    else:
        violations, corpus = dataset.check(folder, taxonomy=labels)
        for note in () if violations else dataset.unlabelled(corpus):
            print(note)
        size = f"{len(corpus.documents)} documents, {len(corpus.annotations)} sentences"
    for violation in violations:
        print(violation)
    print(f"{folder}: {size}, {len(violations)} violations")
    return 1 if violations else 0


def _data_fetch(options: argparse.Namespace) -> int:
    from collections import Counter

    from findings import fetch, reports, standoff

    marks = standoff.read(options.standoff or standoff.default_folder())
    if wrong := standoff.check_reports(marks.reports):
        raise FindingsError("\n".join(map(str, wrong)))
    folder = options.out or standoff.reports_folder(marks.folder)
    outcomes: list[fetch.Outcome] = []
    strangers: list[str] = []
    stopped = ""
    try:
        if options.folder:
            outcomes, strangers = fetch.take(marks.reports, options.folder, folder)
        else:
            manners = fetch.Manners(delay=max(0.0, options.delay))
            source = fetch.fetch(marks.reports, folder, base_url=options.base_url or fetch.BASE_URL, manners=manners)
            outcomes.extend(_shown(source, len(marks.reports)))
    except FindingsError as error:
        stopped = str(error)
    for outcome in outcomes:
        if outcome.state in ("failed", "changed"):
            print(outcome, file=sys.stderr)
    for stranger in strangers:
        print(f"passed over: {stranger}", file=sys.stderr)
    states = Counter(outcome.state for outcome in outcomes)
    there = sum(reports.at_hand(report, folder) is not None for report in marks.reports)
    print(
        f"{there} of {len(marks.reports)} reports are in {folder}: {states['fetched']} fetched, "
        f"{states['there']} there before, {states['changed']} changed since annotated; {states['failed']} failed"
    )
    if stopped:
        raise FindingsError(stopped)
    return 1 if states["failed"] else 0


def _shown(outcomes: Any, total: int) -> Any:
    """The outcomes as they come, with a bar."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("fetching", total=total, now="")
        for outcome in outcomes:
            progress.update(task, advance=1, now=f"{outcome.report.source_file_id} {outcome.state}")
            yield outcome


def _annotate_standoff(options: argparse.Namespace) -> int:
    from findings import standoff, taxonomy

    made = standoff.make(options.sentences, options.out, annotator=options.annotator, pdfs=options.pdfs)
    if violations := standoff.check(made, taxonomy.load(options.taxonomy)):
        print(*violations, sep="\n", file=sys.stderr)
        print(f"{len(violations)} violations; nothing was written", file=sys.stderr)
        return 1
    standoff.write(made)
    known = sum(bool(report.sha256) for report in made.reports)
    print(f"{options.out}: {len(made.marks)} sentences of {len(made.reports)} reports, {known} with a known SHA-256")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from rich.console import Console

    from findings import comparison, registry

    if options.out:
        comparison.check_ending(options.out)
    name = _store(options)
    base, candidate = registry.find(name, options.base), registry.find(name, options.candidate)
    with Console(stderr=True).status(f"comparing {candidate} with {base}"):
        report = comparison.make(base, candidate)
    width = None if sys.stdout.isatty() else 120
    comparison.show(report, Console(soft_wrap=True, highlight=False, markup=False, width=width))
    if options.out:
        comparison.write(report, options.out)
        print(f"written: {options.out}")
    return 0


def _promote(options: argparse.Namespace) -> int:
    from findings import registry

    name = _store(options)
    candidate = registry.find(name, options.candidate)
    decision = registry.promote(candidate, force=options.force)
    print(f"{candidate} {'is the champion' if decision.promoted else 'was not promoted'}: {decision.reason}")
    return 0 if decision.promoted else 3


def _read(options: argparse.Namespace) -> int:
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from findings import pages, parsed, reading

    paths, failed = reading.files(options.paths, options.out)
    if not paths:
        raise FindingsError("\n".join(failed))
    asked = len(paths) + len(failed)
    from findings import registry

    version = registry.require_champion(_store(options))
    by = f"{version} (run {version.run_id[:8]})"
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file, not a folder" if options.out.is_file() else error.strerror
        raise FindingsError(f"{options.out}: {reason}. Give another folder with --out.") from error
    names = reading.names(paths)
    todo = [path for path in paths if options.again or not pages.is_written(options.out, names[path], path, by)]
    model = registry.load(version) if todo else None
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
    with Progress(*columns) as progress:
        task = progress.add_task("reading", total=len(paths), completed=len(paths) - len(todo), now="")
        for path, document in parsed.read_all(todo):
            progress.update(task, now=path.name)
            if isinstance(document, FindingsError):
                failed.append(str(document))
            elif model is not None:
                try:
                    read = reading.label(document, parsed.sha256(path), model, by)
                    pages.write(read, options.out, names[path], model.taxonomy, date.today())
                except OSError as error:
                    raise FindingsError(f"{options.out}: {error.strerror}. Nothing half-written is left.") from error
            progress.advance(task)
        progress.update(task, now="")
    for message in failed:
        print(message, file=sys.stderr)
    before = f", {len(paths) - len(todo)} of them before" if len(todo) < len(paths) else ""
    print(f"{asked - len(failed)} of {asked} documents read by {by}{before}: {options.out}")
    return 1 if failed else 0


def _score(options: argparse.Namespace) -> int:
    from findings import registry

    if options.engine == "local" and (options.master or options.conf):
        raise FindingsError("findings score: --master and --conf are for --engine spark. Add that, or leave them out.")
    version = registry.find(_store(options), options.version)
    by = f"{version} (run {version.run_id[:8]})"
    unread: Sequence[str] = ()
    if options.engine == "spark":
        from findings import spark

        outcome = spark.score(options.pile, version, by, options.out, master=options.master, conf=options.conf)
    else:
        outcome, unread = _score_here(Path(options.pile), Path(options.out), registry.load(version), by)
    for message in unread:
        print(message, file=sys.stderr)
    before = f", {outcome.before} of them before" if outcome.before else ""
    noted = f"; {outcome.notes} could not be, see the column 'note'" if outcome.notes else ""
    print(f"{options.out}: {outcome.rows} rows scored by {by}{before}{noted}")
    return 1 if unread else 0


def _score_here(path: Path, out: Path, model: Any, by: str) -> tuple[Any, Sequence[str]]:
    """What the scoring came to, and a message for each document that cannot be read."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from findings import piles, scoring

    console = Console(stderr=True)
    with console.status("looking through the pile"):
        pile = piles.look_through(path, out)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("scoring", total=pile.rows, rate="")

        def tell(done: int) -> None:
            progress.update(task, completed=done, rate=f"{progress.tasks[0].speed or 0:,.0f} a second")

        return scoring.score(pile, model, by, out, tell), pile.unread


def _serve(options: argparse.Namespace) -> int:
    from findings import server, store

    server.serve(
        server.Settings(
            store.store_uri(options.tracking_uri),
            options.model,
            options.host,
            options.port,
            options.workers,
            options.reload_seconds,
            server.token(),
            options.max_bytes,
            options.max_rows,
            options.time_limit,
        )
    )
    return 0


# The verbs of annotate ----------------------------------------------------------------------------


def _annotate_export(options: argparse.Namespace) -> int:
    from findings import annotations, label_studio, tasks, taxonomy

    if bool(options.paths) == bool(options.corpus):
        raise FindingsError("findings annotate export: give either documents or --corpus.")
    failed: list[str] = []
    if options.corpus:
        found = tasks.of_corpus(annotations.read_corpus(options.corpus))
    elif [path.suffix.lower() for path in options.paths] == [".csv"]:
        found = tasks.read(options.paths[0])
    else:
        found, failed = _tasks_of(options.paths, options.out)
    labels, predictions, by = taxonomy.load(options.taxonomy), None, "without pre-annotations"
    if not options.blind:
        model, version = _champion(options)
        if model.taxonomy.as_dict() != labels.as_dict():
            raise FindingsError(f"{version} labels with another taxonomy. Name it with --taxonomy, or use --blind.")
        predictions, by = model.predict([t.sentence for t in found], [t.heading for t in found]), str(version)
    records = label_studio.task_records(found, predictions, by, labels)
    label_studio.export(options.out, found, records, labels, copy=not options.corpus)
    for message in failed:
        print(message, file=sys.stderr)
    print(f"{options.out}: {len(records)} tasks, {by}")
    return 1 if failed else 0


def _champion(options: argparse.Namespace) -> tuple[Any, Any]:
    """The champion and its version."""
    from findings import registry

    version = registry.require_champion(_store(options))
    return registry.load(version), version


def _tasks_of(paths: Sequence[Path], out: Path) -> tuple[list[Any], list[str]]:
    """The sentences of documents as tasks, and a message for each that cannot be read."""
    from findings import reading, tasks

    files, failed = reading.files(paths, out)
    names = reading.names(files)
    found = []
    for file in files:
        try:
            found.extend(tasks.of_document(file, names[file]))
        except FindingsError as error:
            failed.append(str(error))
    if not found:
        raise FindingsError("\n".join(failed) or f"{paths[0]}: no sentence to label in it. Give other documents.")
    return found, failed


def _annotate_import(options: argparse.Namespace) -> int:
    from findings import annotations, label_studio, taxonomy

    if not options.corpus and not options.out:
        raise FindingsError("findings annotate import: give --corpus, --out, or both.")
    if options.by_annotator and not options.out:
        raise FindingsError("findings annotate import: --by-annotator needs --out, the folder for their folders.")
    labels = taxonomy.load(options.taxonomy)
    corpus = annotations.read_corpus(options.corpus) if options.corpus else None
    export = label_studio.read_export(options.file, labels)
    found = label_studio.to_annotations(export.answers, corpus, labels, options.annotator)
    aside = f"{export.unanswered} tasks without an answer, {export.skipped} skipped answers"
    if not found:
        raise FindingsError(f"{options.file}: nothing to import ({aside}). Label some tasks first.")
    where = options.out or options.corpus / "annotations"
    if options.by_annotator:
        for name, given in label_studio.by_annotator(found).items():
            label_studio.write(where / name, given)
    else:
        found = label_studio.one_each(found)
        into = corpus if corpus and not options.out else None
        label_studio.write(where, label_studio.merge(found, into) if into else found)
    documents = len({a.document_id for a in found})
    print(f"{where}: {len(found)} annotations of {documents} documents; {aside}")
    return 0


def _annotate_queue(options: argparse.Namespace) -> int:
    from findings import annotations, dataset, selection, standoff, tasks

    if options.number < 1:
        raise FindingsError(f"-n {options.number}: give 1 or more.")
    found, failed = _tasks_of(options.paths, options.out)
    labelled = annotations.read_corpus(options.corpus or dataset.default_folder())
    known = [a.sentence for a in labelled.annotations]
    marks = () if options.corpus else standoff.read(standoff.default_folder()).marks
    model, version = _champion(options)
    predictions = model.predict([t.sentence for t in found], [t.heading for t in found])
    uncertain = selection.uncertainty(predictions)
    chosen = selection.choose([t.sentence for t in found], uncertain, options.number, known, {m.sha256 for m in marks})
    extra = {
        "uncertainty": [round(float(uncertain[i]), 3) for i in chosen],
        "finding": [model.taxonomy.finding_ids[predictions.findings[i]] for i in chosen],
    }
    make_folder(options.out.parent)
    tasks.write(options.out, [found[i] for i in chosen], extra)
    for message in failed:
        print(message, file=sys.stderr)
    print(f"{options.out}: {len(chosen)} of {len(found)} sentences, by {version}")
    return 1 if failed else 0


def _passes(options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """Both passes, the corpus that they lie in (or None), and the taxonomy."""
    from findings import annotations, dataset, taxonomy

    if options.first and not options.second:
        raise FindingsError(f"{options.first}: compared with what? Give a second folder.")
    authored = dataset.default_folder() / "passes"
    first, second = options.first or authored / "first", options.second or authored / "second"
    labels = taxonomy.load(options.taxonomy)
    votes = annotations.read_pass(first, labels), annotations.read_pass(second, labels)
    folder = annotations.corpus_of(first) or annotations.corpus_of(second)
    return *votes, annotations.read_corpus(folder) if folder else None, labels


def _annotate_agreement(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from findings import agreement

    if options.out:
        agreement.check_ending(options.out)
    first, second, corpus, labels = _passes(options)
    kinds = {entry.document_id: entry.kind for entry in corpus.documents} if corpus else None
    found = agreement.measure(first, second, labels, kinds)
    out = Console(soft_wrap=True, highlight=False)
    for title, heads, rows in agreement.tables(found):
        table = Table(title=title, title_justify="left")
        for head in heads:
            table.add_column(head, justify="left" if head in heads[:1] else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        out.print(table)
    print(agreement.summary(found))
    if options.out:
        agreement.write(options.out, found)
    return 0


def _annotate_disagreements(options: argparse.Namespace) -> int:
    from findings import agreement

    first, second, corpus, _ = _passes(options)
    found = agreement.disagreements(first, second)
    agreement.write_disagreements(options.out, found, corpus)
    print(f"{options.out}: {len(found)} of {len(agreement.pairs(first, second))} sentences to decide")
    return 0


def _annotate_audit(options: argparse.Namespace) -> int:
    from omegaconf import OmegaConf
    from rich.console import Console

    from findings import audit, config, dataset, taxonomy

    labels = taxonomy.load(options.taxonomy)
    rows = audit.read_rows(options.corpus or dataset.default_folder(), labels)
    settings: Any = OmegaConf.to_container(config.load().model)
    with Console(stderr=True).status(f"training {audit.FOLDS} models on {len(rows)} sentences"):
        predictions = audit.out_of_fold(rows, settings, labels)
    found = audit.suspects(rows, predictions, labels)
    audit.write(options.out, found, rows)
    findings = sum(s.label == "finding" for s in found)
    told = f"{findings} findings and {len(found) - findings} themes of {len(rows)} sentences are suspected"
    print(f"{options.out}: {told}, the likeliest first")
    return 0


if __name__ == "__main__":
    sys.exit(main())
