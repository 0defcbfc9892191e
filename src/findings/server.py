"""The process of `findings serve`: its socket, its workers, its log, its end, and the champion it follows."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from asyncio import TimerHandle, Transport
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from findings import champion
from findings.champion import Champion
from findings.errors import FindingsError

if TYPE_CHECKING:
    from findings.endpoint import Endpoint, Limits, Served

TOKEN = "FINDINGS_TOKEN"
HEAD_SECONDS = 10.0
"""A client has so long to send the head of a request."""
HEAD_BYTES = 2**16
KEEP_ALIVE_SECONDS = 30
"""A connection may be idle so long between two requests."""
LONGEST_WAIT = 600.0
"""Seconds between two tries at most, when a new champion cannot be loaded."""

log = logging.getLogger("findings.server")


@dataclass(frozen=True)
class Settings:
    """Of `findings serve`; see its `--help`. An empty token lets everyone in."""

    uri: str
    name: str = "findings"
    host: str = "127.0.0.1"
    port: int = 5001
    workers: int = 1
    reload_seconds: float = 10.0
    token: str = field(default="", repr=False)
    max_bytes: int = 2**20
    max_rows: int = 2_000
    seconds: float = 30.0


def token() -> str:
    """The token that clients must know, from the environment.

    Raises:
        FindingsError: it is set to nothing, or to what no header can hold.
    """
    given = os.environ.get(TOKEN)
    if given is None:
        return ""
    if not given or not given.isascii() or not given.isprintable() or " " in given:
        raise FindingsError(f"{TOKEN} is empty or has other characters than letters, digits and signs. Set another.")
    return given


def serve(settings: Settings) -> None:
    """Serve until stopped: returns after SIGTERM, when the requests in flight are answered.

    Raises:
        FindingsError: no champion, or the address cannot be used.
        KeyboardInterrupt: after Ctrl-C, likewise when the requests in flight are answered.
    """
    _check(settings)
    signal.signal(signal.SIGTERM, _leave)
    found = champion.find(settings.uri, settings.name)
    with contextlib.closing(_bound(settings)) as listening:
        address = listening.getsockname()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        told = f"{found} on http://{host}:{address[1]}"
        if not settings.token and not _is_loopback(address[0]):
            warning = f"anyone who reaches {host}:{address[1]} may ask. Set {TOKEN}, or leave --host alone."
            print(f"warning: {warning}", file=sys.stderr, flush=True)
        _raise_open_files()
        if settings.workers > 1:
            _run_workers(settings, listening, told)
            return
        config = configure(settings, partial(application, settings, found), LOGGING)
        config.load()
        print(f"{told}/ (page), {told.rpartition(' ')[2]}/invocations", flush=True)
        Server(config).run(sockets=[listening])


def _check(settings: Settings) -> None:
    for name in ("workers", "reload_seconds", "max_bytes", "max_rows", "seconds"):
        if not getattr(settings, name) > 0:
            option = {"seconds": "time-limit"}.get(name, name.replace("_", "-"))
            raise FindingsError(f"--{option} {getattr(settings, name)}: give a number above 0.")


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def _run_workers(settings: Settings, listening: socket.socket, told: str) -> None:
    with tempfile.TemporaryDirectory(prefix="findings-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = configure(settings, partial(worker, settings), LOGGING)
        config.configure_logging()
        workers = _Workers(config, sockets=[listening])
        print(f"{told}/ (page), {told.rpartition(' ')[2]}/invocations, {settings.workers} workers", flush=True)
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise FindingsError("A worker could not start. The log above says why.")
        if workers.interrupted:
            raise KeyboardInterrupt


class _Workers(Multiprocess):  # type: ignore[misc]
    interrupted = False

    def handle_int(self) -> None:
        self.interrupted = True
        super().handle_int()


def worker(settings: Settings) -> Endpoint:
    """The application in one of several processes."""
    try:
        return application(settings, champion.find(settings.uri, settings.name))
    except FindingsError as error:
        log.error("no model", extra={"fields": {"reason": str(error)}})
        sys.exit(STARTUP_FAILURE)


def application(settings: Settings, found: Champion) -> Endpoint:
    """The application with its model loaded, which follows the champion until it is shut down."""
    from findings.endpoint import Endpoint, Limits

    limits: Limits = Limits(settings.max_bytes, settings.max_rows, settings.seconds)
    endpoint = Endpoint(_load(settings, found), limits, settings.token, settings.host)
    stop = threading.Event()
    follower = threading.Thread(target=follow, args=(endpoint, settings, stop), name="follower", daemon=True)
    follower.start()

    def close() -> None:
        stop.set()
        follower.join(timeout=10)

    endpoint.closing.append(close)
    return endpoint


def _load(settings: Settings, found: Champion) -> Served:
    from findings.endpoint import Served

    model = champion.load(settings.uri, found)
    model.predict(["The first answer takes longest."], [""])
    return Served(model, found.name, found.version)


def follow(endpoint: Endpoint, settings: Settings, stop: threading.Event) -> None:
    """Let each new champion answer, from when it is loaded. One that cannot be loaded is logged and tried
    again after ever longer waits, and the one before goes on answering."""
    wait = settings.reload_seconds
    while not stop.wait(wait):
        try:
            found = champion.find(settings.uri, settings.name)
            if found.version != endpoint.served.version:
                before = endpoint.served.version
                endpoint.serve(_load(settings, found))
                log.info("new champion", extra={"fields": {"version": found.version, "before": before}})
                gc.collect()  # a model may hold itself in a circle; it is large
            wait = settings.reload_seconds
        except Exception as error:
            endpoint.counters.reload_failures.inc()
            reason = str(error) if isinstance(error, FindingsError) else type(error).__name__
            log.error("no new champion", extra={"fields": {"reason": reason, "kept": endpoint.served.version}})
            wait = min(2 * wait, max(LONGEST_WAIT, settings.reload_seconds))


# The socket ---------------------------------------------------------------------------------------


def _bound(settings: Settings) -> socket.socket:
    where = f"{settings.host}:{settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FindingsError(f"{where}: {reason}. Choose another with --host or --port.") from error
    # Connections inherit it. Without, each answer on a connection that is kept waits 40 ms for its acknowledgement.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.set_inheritable(True)
    return made


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def _raise_open_files() -> None:
    """As many connections as the system allows this process, rather than the usual thousand."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))


def configure(settings: Settings, app: Any, log_config: dict[str, Any] | None = None) -> Config:
    """How uvicorn runs the application that `app`, a function, makes."""
    return Config(
        app,
        factory=True,
        http=Protocol,
        ws="none",
        lifespan="on",
        workers=settings.workers,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.seconds) + 5,
        timeout_worker_healthcheck=60,
        log_config=log_config,
    )


class Protocol(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's, with limits that it leaves open: a client that takes its time over the head of its
    request, or never ends it. Refusals have the form of the others."""

    parser: Any

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self._silent = 0
        self._patience: TimerHandle | None = None
        self._await_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._silent += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            return self._go_on(data[upgrade.args[0] :])
        except HttpParserError:
            return self.send_400_response("")
        if self._silent > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "REQUEST_TOO_LARGE", "The head of the request is too large.")
        return None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._silent = 0
        if not self.parser.should_upgrade():  # else it is not complete: see `_go_on`
            super().on_headers_complete()

    def _go_on(self, rest: bytes) -> None:
        """Pass over a wish for another protocol (some clients wish for HTTP/2 with every first request)
        and read the request as it is: the parser, which stopped there, is given it again without."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        headers = [header for header in self.headers if header[0] not in (b"upgrade", b"connection")]
        head = [b"%s %s HTTP/1.1" % (method, self.url), *(b"%s: %s" % header for header in headers), b"", b""]
        self.parser = HttpRequestParser(self)
        self.data_received(b"\r\n".join(head) + rest)

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent = 0
        if self.parser.should_upgrade():
            return
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "BAD_REQUEST", "This is not a request in HTTP/1.1.")

    def _await_head(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(HEAD_SECONDS, self._out_of_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _out_of_patience(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # a request before it is still being answered
        elif not self.transport.is_closing():
            self._refuse(408, "REQUEST_TIMEOUT", "The head of the request did not arrive in time.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # an answer is under way: another in its middle would only confuse
            return
        log.info("refused", extra={"fields": {"status": status}})
        body = json.dumps({"error_code": code, "message": message, "request_id": ""}).encode()
        head = f"HTTP/1.1 {status} {code}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


# The log ------------------------------------------------------------------------------------------


class JsonLines(logging.Formatter):
    """One JSON object a line. Of an error its kind and its places in the code are told, never its words:
    they may quote a sentence."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            "pid": record.process,
        }
        told |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            told["error"] = _places(record.exc_info[1])
        return json.dumps(told)


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    cause = error.__cause__ or error.__context__
    return [*(_places(cause) if cause is not None else []), *lines, type(error).__name__]


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "loggers": {
        "findings": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}
