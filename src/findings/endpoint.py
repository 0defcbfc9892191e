"""`findings serve` as an ASGI application: routes, limits, who may ask, ids, log, counters.

The contract on /invocations, /ping, /health and /version is MLflow's. What a client gets wrong is
answered with a 4xx and one sentence. Neither an answer nor the log ever holds a traceback's text of
what was sent: the log has sizes and times, and of an error its kind and its places in the code.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import re
import socket
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from findings import extracts, forms
from findings.batches import Batches, Overloaded
from findings.counters import CONTENT_TYPE, Counters
from findings.description import OPENAPI
from findings.errors import Refused
from findings.forms import Rows
from findings.markdown import visible
from findings.models import Model, Predictions
from findings.reading import MARKS, OTHER_MARK, join
from findings.sentences import encodable

log = logging.getLogger("findings.endpoint")

BODY_SECONDS = 10.0
"""A client has so long to send a body, and so long again for each MiB of a document."""

SMALL = 2**16
"""Bytes up to which a body is worth reading on the spot rather than in a thread."""

DRAIN_BYTES, DRAIN_SECONDS = 2**25, 10.0
"""What is read and thrown away of a request that is refused: a client that is still sending would not
see the answer."""

GONE = 499
"""In log and counters: the client left before it had its answer."""

CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    421: "MISDIRECTED_REQUEST",
    422: "UNREADABLE_DOCUMENT",
    431: "REQUEST_TOO_LARGE",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE = {
    "/": ("serve.html", "text/html"),
    "/serve.css": ("serve.css", "text/css"),
    "/serve.js": ("serve.js", "text/javascript"),
}

Handler = Callable[["Call"], Awaitable[Response]]


@dataclass(frozen=True)
class Limits:
    """What one request may ask for: bytes of its body, sentences, seconds until its answer."""

    body: int = 2**20
    rows: int = forms.MAX_ROWS
    seconds: float = 30.0


@dataclass(frozen=True)
class Served:
    """The model that answers, with its name and version in the registry."""

    model: Model
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


class _Gone(Exception):  # noqa: N818
    """The client is no longer there."""


@dataclass
class Call:
    """A request on its way through: what is known of it, and how much of its body is read."""

    request: Request
    receive: Receive
    id: str
    begun: float = field(default_factory=time.monotonic)
    rows: int = 0
    whole: bool = False
    late: bool = False

    @property
    def path(self) -> str:
        return str(self.request.scope["path"])

    def header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    async def part(self) -> bytes:
        """The next part of the body; sets `whole` with the last."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        self.whole = not message.get("more_body", False)
        return bytes(message.get("body", b""))


class Endpoint:
    """The application. `served` may be replaced at any time: whoever asked before is answered by the model before.

    Args:
        token: what a client must know, as `Authorization: Bearer …`; empty if nothing.
        host: what the server is bound to. Without a token only requests for it, for this machine's own
            name or for a bare address are answered, lest a website points its name here (DNS rebinding).
    """

    def __init__(self, served: Served, limits: Limits | None = None, token: str = "", host: str = "127.0.0.1") -> None:
        self.limits = limits or Limits()
        self.token = token
        self.hosts = {"localhost", host.lower(), socket.gethostname().lower()}
        self.counters = Counters()
        self.batches = Batches(self.counters.called)
        self.parsers = extracts.Parsers()
        self.closing: list[Callable[[], None]] = [self.batches.close]
        self.routes: dict[str, tuple[str, Handler]] = {
            "/invocations": ("POST", self._invocations),
            "/sentences": ("POST", self._sentences),
            "/ping": ("GET", self._ping),
            "/health": ("GET", self._ping),
            "/version": ("GET", self._version),
            "/live": ("GET", self._live),
            "/ready": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
            "/labels": ("GET", self._labels),
            "/openapi.json": ("GET", self._openapi),
            **dict.fromkeys(PAGE, ("GET", self._page)),
        }
        self.guarded = {"/invocations", "/sentences", "/metrics"}
        self.serve(served)

    def serve(self, served: Served) -> None:
        """Let this model answer from now on."""
        self.served = served
        self.counters.version.set(float(served.version))

    # Every request ------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        call = Call(request, receive, given if re.fullmatch(r"[\w.:-]{1,64}", given, re.A) else uuid.uuid4().hex)
        with self.counters.in_flight.track_inprogress():
            response = await self._response(call)
            status = response.status_code if response is not None else GONE
            if response is not None:
                await response(scope, receive, send)
        path = call.path if call.path in self.routes else "other"
        seconds = time.monotonic() - call.begun
        self.counters.answered(path, status, seconds)
        told = {"id": call.id, "method": request.method[:20], "path": path, "status": status, "rows": call.rows}
        log.info("request", extra={"fields": {**told, "milliseconds": round(seconds * 1000, 2)}})
        return None

    async def _response(self, call: Call) -> Response | None:
        """The answer, or None where nobody is there to have it."""
        try:
            response = await self._route(call)
        except Refused as refused:
            response = _refusal(refused.status, str(refused), call.id, refused.headers)
        except _Gone:
            return None
        except asyncio.CancelledError:
            call.late = True
            response = _refusal(503, "The server is stopping.", call.id, {"retry-after": "5"})
        except Exception as error:
            log.error("failure", exc_info=error, extra={"fields": {"id": call.id}})
            response = _refusal(500, "Something went wrong on the server. Its log says more.", call.id)
        if not call.whole and not await _drained(call):
            response.headers["connection"] = "close"
        for name, value in SAFE.items():
            response.headers.setdefault(name, value)
        response.headers["x-request-id"] = call.id
        return response

    async def _route(self, call: Call) -> Response:
        request = call.request
        self._check_host(call.header("host"))
        if call.path not in self.routes:
            raise Refused(404, "There is nothing at this address. Ask /invocations, or open / in a browser.")
        method, handler = self.routes[call.path]
        methods = ("GET", "HEAD") if method == "GET" else (method,)
        if request.method not in methods:
            raise Refused(405, f"This address takes {method} only.", {"allow": ", ".join(methods)})
        if method == "POST":
            _check_origin(call)
        if self.token and call.path in self.guarded:
            self._check_token(call.header("authorization"))
        return await handler(call)

    def _check_host(self, given: str | None) -> None:
        if self.token or given is None:  # a browser always says whom it asks
            return
        try:
            name = (urlsplit(f"//{given}").hostname or "").rstrip(".")
        except ValueError as error:
            raise Refused(400, "The header Host is no host.") from error
        if name in self.hosts or name.endswith(".localhost"):
            return
        try:
            ipaddress.ip_address(name)
        except ValueError as error:
            raise Refused(
                421, "This server goes by another name. Ask it by address, or start it with FINDINGS_TOKEN set."
            ) from error

    def _check_token(self, given: str | None) -> None:
        kind, _, token = (given or "").partition(" ")
        same = hmac.compare_digest(token.strip().encode("utf-8", "replace"), self.token.encode("utf-8"))
        if kind.lower() != "bearer" or not same:
            raise Refused(401, "Send the token as 'Authorization: Bearer …'.", {"www-authenticate": "Bearer"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for close in self.closing:
            await asyncio.to_thread(close)
        await send({"type": "lifespan.shutdown.complete"})

    # MLflow's contract --------------------------------------------------------------------------

    async def _invocations(self, call: Call) -> Response:
        content_type = call.header("content-type")
        forms.kind_of(content_type)
        body = b"".join([part async for part in _parts(call, self.limits.body)])
        rows = await _near(len(body) <= SMALL, forms.read, body, content_type, self.limits.rows)
        served = self.served
        predictions = await self._predict(call, served, rows, call.begun)
        text = await _near(len(rows.sentences) <= 64, _answer_text, served.model, predictions)
        return _json(text, {"x-model-version": served.version})

    async def _ping(self, call: Call) -> Response:
        return _json(json.dumps({"status": "ok", "model": str(self.served)}))

    async def _version(self, call: Call) -> Response:
        return Response(_mlflow_version(), media_type="text/plain")

    async def _predict(self, call: Call, served: Served, rows: Rows, begun: float) -> Predictions:
        """Predictions within the time limit, which began at `begun`; whoever leaves is no longer worked for."""
        call.rows = len(rows.sentences)
        deadline = begun + self.limits.seconds
        try:
            answer = asyncio.wrap_future(self.batches.submit(served.model, rows, deadline))
        except Overloaded as error:
            raise Refused(503, "Too much is waiting. Try again in a few seconds.", {"retry-after": "5"}) from error
        gone = asyncio.ensure_future(_left(call))
        try:
            waited: set[asyncio.Future[Any]] = {answer, gone}
            await asyncio.wait(waited, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise _Gone
            raise TimeoutError
        except TimeoutError as error:
            message = f"Not done within {self.limits.seconds:g} seconds. Send fewer sentences at a time."
            raise Refused(504, message) from error
        finally:
            answer.cancel()
            gone.cancel()

    # For those who run it -----------------------------------------------------------------------

    async def _live(self, call: Call) -> Response:
        if self.batches.stuck > 60 + 2 * self.limits.seconds:
            raise Refused(503, "The model has not come back from a call. Restart the server.")
        return _json(json.dumps({"status": "live"}))

    async def _ready(self, call: Call) -> Response:
        if self.batches.full:
            raise Refused(503, "Too much is waiting. Try again in a few seconds.", {"retry-after": "5"})
        return _json(json.dumps({"status": "ready", "model": str(self.served)}))

    async def _metrics(self, call: Call) -> Response:
        return Response(self.counters.text(), media_type=CONTENT_TYPE)

    async def _openapi(self, call: Call) -> Response:
        return _json(json.dumps(OPENAPI))

    # The page -----------------------------------------------------------------------------------

    async def _page(self, call: Call) -> Response:
        name, kind = PAGE[call.path]
        return Response(_asset(name), media_type=kind, headers={"content-security-policy": PAGE_POLICY})

    async def _labels(self, call: Call) -> Response:
        labels = self.served.model.taxonomy.as_dict()
        for finding in labels["findings"]:
            finding["mark"] = MARKS.get(finding["id"], OTHER_MARK)
        return _json(json.dumps({**labels, "model": str(self.served), "token": bool(self.token)}))

    async def _sentences(self, call: Call) -> Response:
        """A text as JSON, or a document as it is, → its sentences with labels, in the document's order."""
        kind = (call.header("content-type") or "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "application/octet-stream"):
            raise Refused(415, "Send JSON with 'text', or a document as application/octet-stream.")
        with self.parsers.place(), tempfile.TemporaryDirectory(prefix="findings-") as folder:
            if kind == "application/json":
                name, path = "text", Path(folder) / "text.txt"
                path.write_bytes(await self._text(call))
            else:
                name = str(call.request.query_params.get("name", ""))[-200:]
                path = Path(folder) / f"document{extracts.ending(name)}"
                with path.open("wb") as file:
                    async for part in _parts(call, extracts.MAX_BYTES):
                        file.write(part)
            extract = await self.parsers.read(path)
        served = self.served
        found = extract.sentences
        rows = Rows([encodable(s.text) for s in found], [encodable(s.heading) for s in found])
        predictions = await self._predict(call, served, rows, time.monotonic())  # reading has a limit of its own
        taxonomy = served.model.taxonomy
        told = [
            {
                "sentence": visible(s.sentence),
                "heading": visible(s.heading),
                "finding": s.finding,
                "probability": s.finding_probability,
                "unsure": s.unsure,
                "themes": s.themes,
                "page": s.page,
                "paragraph": s.paragraph,
                "list_item": s.list_item,
            }
            for s in join(found, predictions, taxonomy)
        ]
        answer = {"name": visible(name), "pages": extract.pages, "model": str(served), "sentences": told}
        return _json(json.dumps(answer), {"x-model-version": served.version})

    async def _text(self, call: Call) -> bytes:
        body = b"".join([part async for part in _parts(call, self.limits.body)])
        try:
            data = forms.parse(body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise Refused(400, "The body is not UTF-8.") from error
        text = data.get("text") if isinstance(data, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise Refused(400, "Send an object with 'text', which is not empty.")
        return encodable(text).encode("utf-8")


# Parts of an answer -------------------------------------------------------------------------------


def _json(text: str, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    return Response(text, status, headers, "application/json")


def _refusal(status: int, message: str, request_id: str, headers: dict[str, str] | None = None) -> Response:
    told = {"error_code": CODES.get(status, "INTERNAL_ERROR"), "message": message, "request_id": request_id}
    return _json(json.dumps(told), headers, status)


def _answer_text(model: Model, predictions: Predictions) -> str:
    return json.dumps({"predictions": forms.answers(model, predictions)})


async def _near(small: bool, work: Callable[..., Any], *arguments: Any) -> Any:
    """What is small is done on the spot; the rest in a thread, so that others are served meanwhile."""
    return work(*arguments) if small else await asyncio.to_thread(work, *arguments)


@cache
def _asset(name: str) -> bytes:
    return resources.files("findings").joinpath(name).read_bytes()


@cache
def _mlflow_version() -> str:
    return metadata.version("mlflow")


# What a client may send ---------------------------------------------------------------------------


def _check_origin(call: Call) -> None:
    """No other website may ask in its visitors' names."""
    origin, site = call.header("origin"), call.header("sec-fetch-site")
    try:
        foreign = origin is not None and urlsplit(origin).netloc.lower() != (call.header("host") or "").lower()
    except ValueError:
        foreign = True
    if foreign or site not in (None, "same-origin", "none"):
        raise Refused(403, "Another website may not ask here.")


async def _parts(call: Call, most: int) -> AsyncIterator[bytes]:
    """The body of a request, part by part, within its limits of size and time."""
    if (call.header("content-encoding") or "identity").strip().lower() != "identity":
        raise Refused(415, "Send the body as it is, not compressed: without Content-Encoding.")
    declared, size = call.header("content-length") or "", 0
    too_large = Refused(413, f"The body is larger than {most} bytes. Send less at a time.")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > most:
        raise too_large
    while not call.whole:
        try:
            async with asyncio.timeout(call.begun + BODY_SECONDS * (1 + size / 2**20) - time.monotonic()):
                part = await call.part()
        except TimeoutError as error:
            call.late = True
            raise Refused(408, "The body did not arrive in time.") from error
        size += len(part)
        if size > most:
            raise too_large
        yield part


async def _left(call: Call) -> None:
    """Comes back when the client is gone."""
    while (await call.receive())["type"] != "http.disconnect":
        pass


async def _drained(call: Call) -> bool:
    """Throw the rest of a body away; False if there is too much of it to wait for."""
    if call.late or (call.header("expect") or "").lower() == "100-continue":
        return False
    thrown = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while not call.whole:
                thrown += len(await call.part())
                if thrown > DRAIN_BYTES:
                    return False
    except (TimeoutError, _Gone):
        return False
    return True
