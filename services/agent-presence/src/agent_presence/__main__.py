"""`python -m agent_presence`."""

from agent_presence.main import run

run()
