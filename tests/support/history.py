"""The history checker, as tests use it: what it reads and what it judges are those of `porchlight check`."""

from porchlight_checker.check import Verdict, Violation, check
from porchlight_checker.history import History, Line, Published, load, read_journal

__all__ = ["History", "Line", "Published", "Verdict", "Violation", "check", "load", "read_journal"]
