"""The one exception for anything a user can put right: its message names the place and the remedy."""

from __future__ import annotations


class FindingsError(Exception):
    """Bad input or a missing piece; the command line prints the message as it is and exits with 1."""
