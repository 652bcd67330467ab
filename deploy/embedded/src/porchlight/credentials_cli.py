"""`porchlight keys …` and `porchlight token …`."""

import asyncio

from cyclopts import App

from porchlight.home import DEFAULT_HOME, Home, HomeFolder, Trouble

keys_app = App(name="keys", help="API keys of channel integrations.")
token_app = App(name="token", help="Tokens of agents, supervisors and administrators.")


@keys_app.command(name="create")
def keys_create(client: str, /, *, home: HomeFolder = DEFAULT_HOME) -> None:
    """A new API key for a channel integration, printed once.

    Parameters
    ----------
    client
        The integration's name: it sees only contacts that were posted with its keys.
    """
    from porchlight.credentials import create_api_key

    place = Home(home)
    print(asyncio.run(create_api_key(place, client=client, owner_dsn=place.running().owner_dsns["intake"])))


def _token(home: str, subject: str, role: str) -> None:
    from porchlight.credentials import issue_token

    place = Home(home)
    if not (place.folder / "jwks.json").exists():
        raise Trouble(f"{place.folder} has no keys yet: they are made by the first `porchlight up`")
    print(issue_token(place, subject=subject, role=role))  # type: ignore[arg-type]


@token_app.command
def agent(name: str, /, *, home: HomeFolder = DEFAULT_HOME) -> None:
    """A token for an agent's desktop."""
    _token(home, name, "agent")


@token_app.command
def supervisor(name: str, /, *, home: HomeFolder = DEFAULT_HOME) -> None:
    """A token that reads queues and figures."""
    _token(home, name, "supervisor")


@token_app.command
def admin(name: str, /, *, home: HomeFolder = DEFAULT_HOME) -> None:
    """A token that defines queues, skills and agents."""
    _token(home, name, "admin")
