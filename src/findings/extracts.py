"""A hostile document → its sentences: read in a process of its own, with little memory, little time and
nothing of the server's, which is killed when it takes too much.

`python -m findings.extracts FILE` is that process; it writes JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from findings import documents
from findings.errors import FindingsError, Refused
from findings.sentences import Sentence, sentences

MAX_BYTES = 20 * 2**20
MAX_PAGES = 500
MAX_SENTENCES = 5_000
MAX_OUTPUT = 32 * 2**20
SECONDS = 20
MEMORY = 2**30
AT_ONCE = 2
"""Documents read at the same time."""
WAITING = 6
"""Documents that may wait for that; whoever comes then is told to try later."""

KEPT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
"""Of the environment; the rest, tokens and passwords among it, is not for a process that reads hostile files."""

TOO_MUCH = "The document takes too much time or memory to read. `findings read` on your own machine has no such limit."


@dataclass(frozen=True)
class Extract:
    """A document's sentences and the number of its pages."""

    pages: int
    sentences: list[Sentence]


def ending(name: str) -> str:
    """The ending of a document's name, in lower case.

    Raises:
        Refused: it is none that can be read.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in documents.READERS:
        raise Refused(415, f"Documents must be one of {', '.join(documents.READERS)}, by the end of their name.")
    return suffix


class Parsers:
    """The processes that read documents, a few at a time."""

    def __init__(self) -> None:
        self._running = asyncio.Semaphore(AT_ONCE)
        self._present = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one document, from its first byte on.

        Raises:
            Refused: there is none left.
        """
        if self._present >= AT_ONCE + WAITING:
            raise Refused(503, "Too many documents are being read. Try again in a few seconds.", {"retry-after": "5"})
        self._present += 1
        try:
            yield
        finally:
            self._present -= 1

    async def read(self, path: Path) -> Extract:
        """The sentences of a document.

        Raises:
            Refused: it cannot be read, or only with too much time or memory.
        """
        async with self._running:
            output = await _run(path)
        try:
            told = json.loads(output)
            if "error" in told:
                raise Refused(422, str(told["error"]))
            return Extract(int(told["pages"]), [Sentence(*fields) for fields in told["sentences"]])
        except (ValueError, KeyError, TypeError) as error:  # killed, or crashed
            raise Refused(422, TOO_MUCH) from error


async def _run(path: Path) -> bytes:
    """What the reading process writes; nothing where it had to be killed."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "findings.extracts", str(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        cwd=path.parent,
    )
    output = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            while process.stdout is not None and (part := await process.stdout.read(2**16)):
                output += part
                if len(output) > MAX_OUTPUT:
                    return b""
    except TimeoutError:
        return b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return bytes(output)


def main() -> None:
    """Read the document that the command line names."""
    _confine()
    path = Path(sys.argv[1])
    try:
        document = documents.read(path)
        found = sentences(document)
        pages = len(document.page_starts)
        if pages > MAX_PAGES or len(found) > MAX_SENTENCES:
            size = f"{pages:,} pages and {len(found):,} sentences"
            limit = f"{MAX_PAGES:,} and {MAX_SENTENCES:,}"
            raise FindingsError(f"{size} are more than the {limit} for this page. Use `findings read`.")
        told: dict[str, object] = {"pages": pages, "sentences": [astuple(s) for s in found]}
    except FindingsError as error:
        message = str(error).removeprefix(f"{path}: ").replace(str(path), "the document")
        told = {"error": f"The document cannot be read: {message}"}
    except MemoryError:
        told = {"error": TOO_MUCH}
    sys.stdout.write(json.dumps(told))


def _confine() -> None:
    """Take from this process what reading a document does not need."""
    try:
        import resource
    except ImportError:  # not on Windows; time is limited from outside
        return
    limits = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: SECONDS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
