"""The one exception for anything a user can put right: its message names the place and the remedy."""

from __future__ import annotations

from collections.abc import Mapping


class FindingsError(Exception):
    """Bad input or a missing piece; the command line prints the message as it is and exits with 1."""


class Refused(FindingsError):  # noqa: N818 # what happens to a request, as its log says
    """A request that is not answered: an HTTP status, one sentence for the client, headers that go with it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
