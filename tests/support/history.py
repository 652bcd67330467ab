"""The history checker, as tests use it: what it reads and what it judges are those of `porchlight check`."""

from porchlight.checking import Verdict, Violation, check
from porchlight.history import History, Line, Published, load, read_journal

__all__ = ["History", "Line", "Published", "Verdict", "Violation", "check", "load", "read_journal"]
