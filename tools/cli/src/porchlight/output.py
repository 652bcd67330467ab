"""Where the commands print: folded for people at a terminal, a line a line for whatever reads a pipe or a file."""

import sys

from rich.console import Console

PIPE_WIDTH = 10_000
"""Columns of what is no terminal: an id or a message is never cut in two there."""


def make_console() -> Console:
    """A console of standard output."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def prepare_streams() -> None:
    """What the terminal's encoding cannot show is written as an escape instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
