"""A pile of sentences through a registered model on Spark: Parquet in, Parquet out, as `scoring` writes it.

The model goes to the workers as MLflow's Spark UDF sends it (`SparkContext.addFile`), this package's
code as an artifact of the session; the libraries must be there, or come with `spark.archives`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow.pyfunc

from findings import piles, scoring
from findings.errors import FindingsError
from findings.registry import Version
from findings.scoring import ANSWER, Outcome

ROWS_A_TASK = 5000
MOST_TASKS = 10_000


def score(
    pile: str, version: Version, labelled_by: str, out: str, *, master: str | None = None, conf: Sequence[str] = ()
) -> Outcome:
    """Score a Parquet file or folder into the new folder `out`, both anywhere that Spark reads and
    writes. Rows come out in their order; what a lost worker had, others do again.

    Args:
        master: of the session to be started; None for the one that the environment gives.
        conf: KEY=VALUE settings of a session to be started.

    Raises:
        FindingsError: no Spark, no such pile, a column that does not fit, or `out` is there already.
    """
    with _session(master, _settings(conf)) as spark, _told(pile, out):
        frame = _numbered(spark, pile)
        rows = frame.count()
        with _code_sent(spark):
            _with_answers(spark, frame, rows, version, labelled_by).write.mode("error").parquet(out)
        written = spark.read.parquet(out).selectExpr("count(*)", "count(note)").first()
    if written[0] != rows:
        raise FindingsError(
            f"{out}: {written[0]} rows for {rows}. The pile has changed meanwhile: delete and score again."
        )
    return Outcome(rows, 0, written[1])


def _settings(conf: Sequence[str]) -> dict[str, str]:
    if wrong := next((given for given in conf if "=" not in given), None):
        raise FindingsError(f"findings score: --conf {wrong}: write KEY=VALUE.")
    return {key: value for key, _, value in (given.partition("=") for given in conf)}


@contextmanager
def _session(master: str | None, settings: dict[str, str]) -> Iterator[Any]:
    """The session that the environment has, or a new one, which is stopped at the end."""
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise FindingsError(
            "Spark is not installed. Install pyspark 4, or this package with its extra 'spark'."
        ) from error
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    if (there := SparkSession.getActiveSession()) is not None:
        yield there
        return
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("findings score").config("spark.log.level", "ERROR")
    builder = builder.config("spark.ui.showConsoleProgress", "true")
    if master:
        builder = builder.master(master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except (PySparkException, *_java_errors()) as error:
        where = f" at {master}" if master else ""
        raise FindingsError(
            f"no Spark{where}: {_reason(error)}. Java 17 or later and the master must be there."
        ) from error
    try:
        yield spark
    finally:
        spark.stop()


def _java_errors() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError

    return (Py4JError,)


@contextmanager
def _told(pile: str, out: str) -> Iterator[None]:
    """Spark's failures in one sentence."""
    from pyspark.errors import AnalysisException, PySparkException

    try:
        yield
    except AnalysisException as error:
        told = {
            "PATH_NOT_FOUND": f"{pile}: no such file or folder. Check the name.",
            "PATH_ALREADY_EXISTS": f"{out}: it is there already. Delete it, or give another --out.",
            "UNABLE_TO_INFER_SCHEMA": f"{pile}: no Parquet file in it. Spark reads Parquet alone.",
        }
        raise FindingsError(told.get(str(error.getCondition()), f"{pile}: {_reason(error)}.")) from error
    except (PySparkException, *_java_errors()) as error:
        raise FindingsError(f"{pile}: Spark could not score it: {_reason(error)}. Its log says more.") from error


def _reason(error: Exception) -> str:
    """What an exception of Spark says, of a worker's traceback its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    java = [
        line.removeprefix("Caused by: ")
        for line in lines
        if not line.startswith(("at ", "An error occurred while calling", "..."))
    ]
    python = [
        line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) and " " not in line.split(":")[0]
    ]
    return (python or java or [type(error).__name__])[-1 if python else 0].rstrip(".:")[:300]


def _numbered(spark: Any, pile: str) -> Any:
    """The pile with `_file` and `_row`, its order, and `sentence_id` as `piles` makes it where it has none."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import StringType

    frame = spark.read.parquet(pile)
    scoring.check_columns(frame.columns, pile)
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    if "sentence" not in kinds:
        raise FindingsError(f"{pile}: no column 'sentence' among {', '.join(kinds)}. Rename that with text.")
    for name in ("sentence", "heading"):
        if name in kinds and not isinstance(kinds[name], StringType):
            raise FindingsError(f"{pile}: the column '{name}' holds {kinds[name].simpleString()}. Make it text.")
    order = (f.expr("_metadata.file_path AS _file"), f.expr("_metadata.row_index AS _row"))
    name = f.expr("url_decode(replace(_metadata.file_name, '+', '%2B'))")  # as a URI has it, where + is no blank
    stem = f.regexp_replace(name, r"\.[^.]*$", "")
    made = f.concat(stem, f.lit("-"), f.expr("_metadata.row_index + 1").cast("string")).alias("sentence_id")
    return frame.select(*([] if "sentence_id" in kinds else [made]), "*", *order)


def _with_answers(spark: Any, frame: Any, rows: int, version: Version, labelled_by: str) -> Any:
    from pyspark.sql import functions as f

    kept = [f"`{name}`" for name in frame.columns if name not in ("_file", "_row")]
    heading = f.coalesce("heading", f.lit("")) if "heading" in frame.columns else f.lit("")
    # The rule of `scoring.note`: Java's idea of a blank is not Python's, so the characters are named.
    empty = f.col("sentence").isNull() | ~f.col("sentence").rlike(r"[^ \t\r\n]")
    too_long = f.length("sentence") > scoring.MAX_CHARACTERS
    note = f.when(empty, scoring.EMPTY).when(too_long, scoring.TOO_LONG)
    tasks = min(MOST_TASKS, max(1, -(-rows // ROWS_A_TASK)))
    frame = frame.repartitionByRange(tasks, "_file", "_row").sortWithinPartitions("_file", "_row")
    frame = frame.withColumn("_note", note)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(piles.ROWS))
    udf = mlflow.pyfunc.spark_udf(spark, f"models:/{version.name}/{version.version}", env_manager="local")
    text = f.when(f.col("_note").isNull(), f.col("sentence")).otherwise("")
    frame = frame.withColumn("_answer", udf(f.struct(text.alias("sentence"), heading.alias("heading"))))
    answers = [f.when(f.col("_note").isNull(), f.col(f"_answer.{name}")).alias(name) for name in ANSWER.names[:5]]
    return frame.select(*kept, *answers, f.lit(labelled_by).alias("labelled_by"), f.col("_note").alias("note"))


@contextmanager
def _code_sent(spark: Any) -> Iterator[None]:
    """Let the workers import this package as it is here; they fetch it when they need it."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "findings_code.zip"
        with zipfile.ZipFile(archive, "w") as made:
            for module in sorted(Path(__file__).parent.glob("*.py")):
                made.write(module, f"findings/{module.name}")
        spark.addArtifacts(str(archive), pyfile=True)
        yield
