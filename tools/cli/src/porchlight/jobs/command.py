"""`porchlight deployed …`: what the containers' jobs run."""

import asyncio
import os

from cyclopts import App

from porchlight.installation import DEFAULT_HOME, Home, HomeFolder

app = App(name="deployed", help="Jobs of a platform of containers.")


@app.command
def init(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """Make secrets, signing key and description where they are missing, and give them to PORCHLIGHT_UID."""
    from porchlight.jobs.deployed import initialise

    initialise(Home(home), owner=int(os.environ.get("PORCHLIGHT_UID", "0")))


@app.command
def migrate(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """Bring roles, databases, rights and schemas to this release."""
    from porchlight.jobs.deployed import migrate_databases

    asyncio.run(migrate_databases(Home(home)))
    print("databases, roles, rights and schemas are those of this release")


@app.command
def topics(*, replication: int = 1, home: HomeFolder = DEFAULT_HOME) -> None:
    """Create Kafka's topics where they are missing.

    Parameters
    ----------
    replication
        Copies of every record.
    """
    from porchlight.jobs.deployed import make_topics

    made = asyncio.run(make_topics(Home(home), replication=replication))
    print(f"created {', '.join(made)}" if made else "all topics are there")


@app.command
def reconcile(*, replication: int = 1, home: HomeFolder = DEFAULT_HOME) -> None:
    """After Kafka or PostgreSQL was lost or restored: write Kafka anew from the databases. Services must be stopped.

    Parameters
    ----------
    replication
        Copies of every record.
    """
    from porchlight.jobs.reconcile import reconcile as work

    for line in asyncio.run(work(Home(home), replication=replication)):
        print(line)
