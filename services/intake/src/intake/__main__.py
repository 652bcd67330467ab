"""`python -m intake`."""

from intake.main import run

run()
