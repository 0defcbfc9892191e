"""Reports from their publisher, one at a time, with retry, resume and checks; or from PDFs at hand.

A file gets its name only when it is whole and what it should be. What is on its way is
`<source_file_id>.pdf.part`; it stays there when a download is cut off, and the next one goes on from it.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import urljoin, urlsplit

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from findings import __version__, parsed, reports
from findings.documents import MAX_BYTES
from findings.errors import FindingsError
from findings.files import claimed
from findings.reports import Report, path_of

BASE_URL = "https://files.ofsted.gov.uk/v1/file"

USER_AGENT = f"findings/{__version__} (gets inspection reports for text classification, one at a time)"

MAX_REDIRECTS = 5

MAX_WORN_OUT = 3
"""Reports in a row that no try could get, after which the others are left: the server is down or out of reach."""

CHUNK = 8192
"""Bytes that are read at a time; what a dropped connection loses is less than that."""


@dataclass(frozen=True)
class Manners:
    """How the publisher's site is asked.

    Attributes:
        delay: seconds before each request.
        tries: for each report, the first included.
        backoff: seconds before the second try; doubled before each further one, with jitter.
        longest_wait: seconds; a server that asks for a longer wait is left alone.
        timeout: seconds without a byte after which a connection counts as dropped.
        deadline: seconds for one report in all.
        max_bytes: of a report.
    """

    delay: float = 1.0
    tries: int = 5
    backoff: float = 2.0
    longest_wait: float = 300.0
    timeout: float = 30.0
    deadline: float = 900.0
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Outcome:
    """What became of a report: `there` before, `fetched`, fetched but `changed` since it was
    annotated, or `failed`; `reason` says why, where there is something to say."""

    report: Report
    state: Literal["there", "fetched", "changed", "failed"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.report}: {self.reason or self.state}"


class _TryAgainError(Exception):
    """Something that may pass; `wait` is how many seconds the server asks for."""

    def __init__(self, reason: str, *, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


class _GiveUpError(Exception):
    """Something that another try would not change."""


# Downloading --------------------------------------------------------------------------------------


def fetch(
    wanted: Iterable[Report], folder: Path, *, base_url: str = BASE_URL, manners: Manners | None = None
) -> Iterator[Outcome]:
    """Download the reports that are not in the folder yet; yields what became of each, in order.

    Raises:
        FindingsError: the address is not one of http or https, the folder cannot be written (a full
            disk), another fetch is at work in it, the server is out of reach, or it asks to be left
            alone for long. What is there stays; the next fetch goes on from it.
    """
    manners = manners or Manners()
    try:
        base = urlsplit(base_url)
    except ValueError as error:
        raise FindingsError(f"{base_url}: not an address ({error}). Give one like {BASE_URL}.") from error
    if base.scheme not in ("http", "https") or not base.netloc:
        raise FindingsError(f"{base_url}: not an address of http or https. Give one like {BASE_URL}.")
    worn_out = 0
    with _alone(folder), requests.Session() as session:
        session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/pdf", "Accept-Encoding": "identity"})
        for report in wanted:
            outcome = _there(report, folder)
            if outcome is None:
                url = f"{base_url.rstrip('/')}/{report.source_file_id}"
                outcome, given_up = _download(session, url, report, folder, manners)
                worn_out = worn_out + 1 if given_up else 0
            yield outcome
            if worn_out == MAX_WORN_OUT:
                remedy = "Try later, or check the connection (HTTPS_PROXY names a proxy); it goes on where it was."
                raise FindingsError(f"{base.netloc}: {MAX_WORN_OUT} reports in a row could not be got. {remedy}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the folder to this process: two downloads of one report would write into one another."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with claimed(folder / ".lock", f"{folder}: another fetch is at work here. Wait for it, or give another --out."):
            yield
    except OSError as error:
        _no_room(folder, error)


def _no_room(folder: Path, error: OSError) -> NoReturn:
    remedy = "What is there is whole. Make room, or give another folder with --out, and run it again."
    raise FindingsError(f"{error.filename or folder}: {error.strerror or error}. {remedy}") from error


def _there(report: Report, folder: Path) -> Outcome | None:
    place = reports.at_hand(report, folder)
    if place is None:
        return None
    if not place.changed and (report.sha256 or reports.damage(place.path) is None):
        return Outcome(report, "there")
    changed = path_of(report, folder, changed=True)
    return Outcome(report, "changed", _changed(changed)) if changed.is_file() else None


def _changed(path: Path) -> str:
    return f"changed since it was annotated, kept as {path.name} (delete that to fetch it again)"


def _download(
    session: requests.Session, url: str, report: Report, folder: Path, manners: Manners
) -> tuple[Outcome, bool]:
    """What became of the report, and whether that is after all tries."""
    part = folder / f"{report.source_file_id}.pdf.part"
    until = time.monotonic() + manners.deadline
    reason = ""
    for number in range(manners.tries):
        try:
            resumed = _receive(session, url, part, known=bool(report.sha256), until=until, manners=manners)
            return _accept(report, part, folder, resumed), False
        except _TryAgainError as error:
            reason = str(error)
            _wait(url, number, error, manners)
        except _GiveUpError as error:
            return Outcome(report, "failed", str(error)), False
    return Outcome(report, "failed", f"{reason} ({manners.tries} tries)"), True


def _wait(url: str, number: int, error: _TryAgainError, manners: Manners) -> None:
    """Wait before the next try: as long as the server asks, and longer each time."""
    if error.wait > manners.longest_wait:
        remedy = "Run it again after that: it goes on where it was."
        raise FindingsError(f"{urlsplit(url).netloc}: {error} and asks for a wait of {error.wait:.0f} s. {remedy}")
    if number + 1 < manners.tries:
        backoff = min(manners.longest_wait, manners.backoff * 2**number) * random.uniform(0.5, 1)
        time.sleep(max(error.wait, backoff))


def _receive(session: requests.Session, url: str, part: Path, *, known: bool, until: float, manners: Manners) -> bool:
    """Get the rest of a file, or all of it, into `part`; says whether it went on from what was there.

    A rest is only asked for where it can be told whether it belongs to what is there: by the
    server's validator, or by the checksum (`known`) in the end.
    """
    validator = part.with_name(part.name + ".validator")
    size = part.stat().st_size if part.is_file() else 0
    asked = validator.read_text(encoding="utf-8") if validator.is_file() else ""
    headers = {}
    if size and (asked or known):
        headers["Range"] = f"bytes={size}-"
        if asked:
            headers["If-Range"] = asked
    try:
        with _open(session, url, headers, manners) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                _discard(part)
                raise _TryAgainError("the server has less than what is here already")
            _check_status(response)
            resumed = response.status_code == requests.codes.partial_content
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
                _discard(part)
                raise _TryAgainError("the server sent another part than was asked for")
            if not resumed:
                _discard(part)
                size = 0
                validator.write_text(_validator(response), encoding="utf-8")
            _write(response, part, size, until, manners)
            return resumed
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise _TryAgainError("the connection dropped") from error
        remedy = "If your network reads along, name its certificate in REQUESTS_CA_BUNDLE."
        raise FindingsError(f"{urlsplit(url).netloc}: its certificate is not trusted. {remedy}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _TryAgainError("the connection dropped midway") from error
    except requests.Timeout as error:
        raise _TryAgainError(f"no answer within {manners.timeout:g} s") from error
    except requests.ConnectionError as error:
        midway = part.is_file() and part.stat().st_size > size
        reason = "the connection stalled midway" if midway else "no connection, or dropped before an answer"
        raise _TryAgainError(reason) from error
    except requests.RequestException as error:
        raise _GiveUpError(f"cannot be asked for ({type(error).__name__})") from error
    except ValueError as error:  # requests looks at a redirect's address even where it does not follow
        raise _GiveUpError(f"redirected to what is no address ({error})") from error


def _open(session: requests.Session, url: str, headers: dict[str, str], manners: Manners) -> requests.Response:
    """The answer to a request, redirects followed: a few, within http and https, never from https to http."""
    for _ in range(MAX_REDIRECTS + 1):
        time.sleep(manners.delay)
        answer = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=manners.timeout)
        if not answer.is_redirect:
            return answer
        answer.close()
        following = urljoin(url, answer.headers["Location"])
        allowed = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
        if urlsplit(following).scheme not in allowed:
            raise _GiveUpError(f"redirected to {following[:100]}, which is not followed")
        url = following
    raise _GiveUpError(f"more than {MAX_REDIRECTS} redirects")


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (requests.codes.ok, requests.codes.partial_content):
        return
    said = f"the server answered {status} {response.reason or ''}".rstrip()
    if status in (408, 425, 429) or status >= 500:
        raise _TryAgainError(said, wait=_retry_after(response))
    raise _GiveUpError(said)


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait, from a number or a date; 0 where it says nothing sensible."""
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return 0.0


def _validator(response: requests.Response) -> str:
    """What tells later whether the server's file is still the same, for If-Range; empty where nothing does."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _write(response: requests.Response, part: Path, size: int, until: float, manners: Manners) -> None:
    too_large = f"more than {manners.max_bytes // 2**20} MiB"
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and size + int(length) > manners.max_bytes:
        raise _GiveUpError(too_large)
    with part.open("ab" if size else "wb") as file:
        for chunk in response.iter_content(CHUNK):
            size += len(chunk)
            if size > manners.max_bytes:
                break
            if time.monotonic() > until:
                raise _GiveUpError(f"not whole after {manners.deadline:g} s; the next fetch goes on from there")
            file.write(chunk)
    if size > manners.max_bytes:
        _discard(part)
        raise _GiveUpError(too_large)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".validator").unlink(missing_ok=True)


def _accept(report: Report, part: Path, folder: Path, resumed: bool) -> Outcome:
    """Give a whole file its name; what is no whole PDF goes."""
    same = report.sha256 == parsed.sha256(part)
    problem = None if same else reports.damage(part)
    if not same and resumed and (problem or report.sha256):
        _discard(part)  # the parts may be of two versions: all of it once more tells
        raise _TryAgainError("the parts do not make the file that was annotated")
    if problem:
        _discard(part)
        if "cut short" in problem:
            raise _TryAgainError(problem)
        raise _GiveUpError(f"{problem}: the publisher's site served something else under this address")
    changed = bool(report.sha256) and not same
    path = path_of(report, folder, changed=changed)
    part.replace(path)
    _discard(part)
    return Outcome(report, "changed", _changed(path)) if changed else Outcome(report, "fetched")


# From PDFs at hand --------------------------------------------------------------------------------


def take(wanted: Sequence[Report], source: Path, folder: Path) -> tuple[list[Outcome], list[str]]:
    """Copy the reports that a folder of PDFs has (see `reports.identify`).

    Returns:
        what became of each report that is there, and the PDFs that are none of them, with the reason.

    Raises:
        FindingsError: the source cannot be read, or the folder cannot be written.
    """
    outcomes: list[Outcome] = []
    strangers: list[str] = []
    with _alone(folder):
        for path, report in reports.identify(source, wanted).items():
            problem = reports.damage(path)
            if report is None:
                strangers.append(f"{path}: {problem or 'no report that is annotated'}")
            elif problem:
                outcomes.append(Outcome(report, "failed", f"{path}: {problem}. Get it again."))
            else:
                outcomes.append(_there(report, folder) or _copy(report, path, folder))
    return outcomes, strangers


def _copy(report: Report, path: Path, folder: Path) -> Outcome:
    changed = report.sha256 not in ("", parsed.sha256(path))
    target = path_of(report, folder, changed=changed)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(path, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return Outcome(report, "changed", _changed(target)) if changed else Outcome(report, "fetched")
