"""`porchlight deployed …`: what the containers' jobs run."""

import asyncio
import os

from cyclopts import App

from porchlight.home import DEFAULT_HOME, Home

app = App(name="deployed", help="Jobs of a platform of containers.")


def _home() -> Home:
    return Home(os.environ.get("PORCHLIGHT_HOME", DEFAULT_HOME))


@app.command
def init() -> None:
    """Make secrets, signing key and description where they are missing, and give them to PORCHLIGHT_UID."""
    from porchlight.deployed import initialise

    initialise(_home(), owner=int(os.environ.get("PORCHLIGHT_UID", "0")))


@app.command
def migrate() -> None:
    """Bring roles, databases, rights and schemas to this release."""
    from porchlight.deployed import migrate_databases

    asyncio.run(migrate_databases(_home()))
    print("databases, roles, rights and schemas are those of this release")


@app.command
def topics(*, replication: int = 1) -> None:
    """Create Kafka's topics where they are missing.

    Parameters
    ----------
    replication
        Copies of every record.
    """
    from porchlight.deployed import make_topics

    made = asyncio.run(make_topics(_home(), replication=replication))
    print(f"created {', '.join(made)}" if made else "all topics are there")
