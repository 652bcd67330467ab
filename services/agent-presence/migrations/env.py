"""Alembic's environment; the work is done by the shared runner."""

from common.runtime.migrations import run_environment

run_environment()
