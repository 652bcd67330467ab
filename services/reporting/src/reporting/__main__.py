"""`python -m reporting`."""

from reporting.main import run

run()
