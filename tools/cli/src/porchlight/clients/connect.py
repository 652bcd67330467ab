"""From a running platform's folder to clients of its APIs."""

from pathlib import Path

from porchlight.clients.http import Clients, Journal
from porchlight.installation import Home, Running
from porchlight.jobs.keys import create_api_key, issue_token


async def connect(home: Home, *, client: str, journal: Path | None = None) -> tuple[Clients, Running]:
    """Clients with a new API key for the integration `client`. `Trouble` when nothing runs."""
    running = home.running()
    key = await create_api_key(home, client=client, owner_dsn=running.owner_dsns["intake"])
    clients = Clients(
        urls={
            "intake": running.intake,
            "router": running.router,
            "presence": running.presence,
            "reporting": running.reporting,
        },
        api_key=key,
        token=lambda subject, role: issue_token(home, subject=subject, role=role),  # type: ignore[arg-type]
        journal=Journal(journal),
    )
    return clients, running
