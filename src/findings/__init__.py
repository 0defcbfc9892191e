"""Reads inspection reports on children's services sentence by sentence."""

__version__ = "0.1.0"
