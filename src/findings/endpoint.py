"""`findings serve`: the champion behind HTTP, with MLflow's contract on /invocations.

What a client gets wrong is answered with a 4xx and one sentence; never with a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import mlflow
import pandas as pd
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from findings import serving
from findings.errors import FindingsError
from findings.models import Model

MAX_BYTES = 2**20
FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


def app(model: Model, name: str) -> FastAPI:
    """The web application around a loaded model; `name` is what /health tells."""
    api = FastAPI(title="findings", docs_url=None, redoc_url=None, openapi_url=None)

    @api.get("/ping")
    @api.get("/health")
    def ping() -> dict[str, str]:
        return {"status": "ok", "model": name}

    @api.get("/version")
    def version() -> Response:
        return Response(mlflow.__version__, media_type="text/plain")

    @api.post("/invocations")
    async def invocations(request: Request) -> Response:
        try:
            rows = parse(await _body(request), request.headers.get("content-type", "application/json"))
            sentences, headings = serving.inputs(rows)
        except FindingsError as error:
            return _refusal(400, str(error))
        except _TooLarge:
            return _refusal(413, f"The body is larger than {MAX_BYTES} bytes. Send fewer sentences at a time.")
        predictions = await run_in_threadpool(model.predict, sentences, headings)
        return JSONResponse({"predictions": serving.answer(model, predictions).to_dict("records")})

    @api.exception_handler(Exception)
    async def failure(request: Request, error: Exception) -> Response:
        return _refusal(500, "Something went wrong on the server. Its log says more.")

    return api


class _TooLarge(Exception):  # noqa: N818
    pass


def _refusal(status: int, message: str) -> JSONResponse:
    code = {400: "BAD_REQUEST", 413: "REQUEST_TOO_LARGE"}.get(status, "INTERNAL_ERROR")
    return JSONResponse({"error_code": code, "message": message}, status_code=status)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise _TooLarge
    return bytes(body)


def parse(body: bytes, content_type: str) -> Any:
    """The rows of a request in one of MLflow's JSON forms, or the raw value of `inputs`.

    Raises:
        FindingsError: not JSON, or not one of the forms; one sentence for the client.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise FindingsError("Send JSON with the content type application/json.")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FindingsError("The body is not valid JSON.") from error
    given = [form for form in FORMS if isinstance(data, Mapping) and form in data]
    if len(given) != 1:
        raise FindingsError(f"Send an object with exactly one of {', '.join(FORMS)}.")
    value = data[given[0]]
    if given[0] == "dataframe_split":
        return _split(value)
    if given[0] == "dataframe_records" and not (isinstance(value, list) and all(isinstance(r, Mapping) for r in value)):
        raise FindingsError("dataframe_records must be a list of objects with 'sentence'.")
    return value


def _split(value: Any) -> pd.DataFrame:
    columns, rows = (value.get("columns"), value.get("data")) if isinstance(value, Mapping) else (None, None)
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise FindingsError("dataframe_split must be an object with the lists 'columns' and 'data'.")
    if len(set(map(str, columns))) < len(columns):
        raise FindingsError("dataframe_split names a column twice.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise FindingsError(
                f"row {number}: dataframe_split has {len(columns)} columns, the row has another number."
            )
    return pd.DataFrame({str(c): pd.Series([row[i] for row in rows], dtype=object) for i, c in enumerate(columns)})
