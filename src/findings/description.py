"""What the server offers, as OpenAPI 3.1 tells it."""

from __future__ import annotations

from typing import Any

from findings import __version__
from findings.forms import MAX_CHARACTERS

_TEXT = {"type": "string", "maxLength": MAX_CHARACTERS}
_HEADING = {"type": ["string", "null"], "maxLength": MAX_CHARACTERS}
_RECORD = {"type": "object", "properties": {"sentence": _TEXT, "heading": _HEADING}, "required": ["sentence"]}
_RECORDS = {"type": "array", "items": _RECORD}
_COLUMNS = {
    "type": "object",
    "properties": {
        "sentence": {"type": "array", "items": _TEXT},
        "heading": {"type": "array", "items": _HEADING},
    },
    "required": ["sentence"],
}
_SPLIT = {
    "type": "object",
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}, "contains": {"const": "sentence"}},
        "data": {"type": "array", "items": {"type": "array", "items": _HEADING}},
    },
    "required": ["columns", "data"],
}
_LISTS = {"anyOf": [{"type": "array", "items": _TEXT}, _RECORDS, _COLUMNS]}
_PROBABILITIES = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
_ROW = {
    "type": "object",
    "properties": {
        "finding": {"type": "string"},
        "finding_probability": {"type": "number", "minimum": 0, "maximum": 1},
        "finding_probabilities": _PROBABILITIES,
        "themes": {"type": "array", "items": {"type": "string"}},
        "theme_probabilities": _PROBABILITIES,
    },
    "required": ["finding", "finding_probability", "finding_probabilities", "themes", "theme_probabilities"],
}
_ERROR = {
    "type": "object",
    "properties": {key: {"type": "string"} for key in ("error_code", "message", "request_id")},
    "required": ["error_code", "message", "request_id"],
}


def _json(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema or {"type": "object"}}}}


def _one_of(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


_REFUSED = {"4XX": _json("What is wrong with the request, in one sentence.", _ERROR)}
_BUSY = {"503": _json("Too much is waiting.", _ERROR), "504": _json("Not done in time.", _ERROR)}
_GUARDED: dict[str, Any] = {"security": [{}, {"token": []}]}


def _get(summary: str, answer: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": answer, **_REFUSED}, **more}}


def _plain(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Findings",
        "version": __version__,
        "description": "Labels sentences of inspection reports on children's services.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "paths": {
        "/invocations": {
            "post": {
                "summary": "Label sentences, in one of MLflow's forms.",
                **_GUARDED,
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "oneOf": [
                                    _one_of("dataframe_split", _SPLIT),
                                    _one_of("dataframe_records", _RECORDS),
                                    _one_of("inputs", _LISTS),
                                    _one_of("instances", _LISTS),
                                ]
                            }
                        },
                        "text/csv": {"schema": {"type": "string"}},
                    },
                },
                "responses": {
                    "200": _json(
                        "A row a sentence, in order.",
                        {
                            "type": "object",
                            "properties": {"predictions": {"type": "array", "items": _ROW}},
                            "required": ["predictions"],
                        },
                    ),
                    **_REFUSED,
                    **_BUSY,
                },
            }
        },
        "/sentences": {
            "post": {
                "summary": "Cut a text or a document into sentences and label them.",
                **_GUARDED,
                "parameters": [
                    {"name": "name", "in": "query", "schema": {"type": "string"}, "description": "A document's name."}
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": _one_of("text", {"type": "string", "minLength": 1})},
                        "application/octet-stream": {"schema": {}},
                    },
                },
                "responses": {"200": _json("Its sentences with labels and places."), **_REFUSED, **_BUSY},
            }
        },
        "/ping": _get("Whether a model is loaded.", _json("One is.")),
        "/health": _get("The same.", _json("One is.")),
        "/version": _get("MLflow's version.", _plain("A version number.")),
        "/live": _get("Whether the server need not be restarted.", _json("It need not.")),
        "/ready": _get("Whether the server takes requests.", _json("It does.")),
        "/metrics": _get("Counters for Prometheus.", _plain("Prometheus' text form."), **_GUARDED),
        "/labels": _get("Findings and themes with their titles and meanings.", _json("The taxonomy.")),
    },
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
}
