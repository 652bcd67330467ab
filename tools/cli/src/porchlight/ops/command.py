"""`porchlight ops …`: a table for people, `--json` for programs. What changes something asks first; `--yes` answers."""

import asyncio
import getpass
import json as json_text
import os
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App
from rich.markup import escape
from rich.table import Table

from porchlight.installation import DEFAULT_HOME, Home, HomeFolder, Trouble
from porchlight.ops import actions
from porchlight.output import make_console

app = App(name="ops", help="Look after a running platform.")
parked_app = App(name="parked", help="Records that could not be read.")
app.command(parked_app)
console = make_console()


def print_rows(rows: Sequence[dict[str, Any]], *, json: bool, empty: str) -> None:
    """A table for people, or JSON for machines."""
    if json:
        print(json_text.dumps(list(rows)))
        return
    if not rows:
        console.print(empty)
        return
    table = Table(*[name.replace("_", " ") for name in rows[0]])
    for row in rows:
        table.add_row(*[escape(str(value)) for value in row.values()])
    console.print(table)


def _sure(question: str, *, yes: bool) -> None:
    """`Trouble` unless the answer is yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Trouble(f"{question} Answer with --yes.")
    if console.input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Trouble("nothing was changed")


def who() -> str:
    """Who is at the keyboard, for the audit."""
    try:
        return f"ops:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"ops:uid {os.getuid()}"


@app.command
def shards(*, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Who owns which shard, under which epoch, how fast it works and how far it is behind."""
    print_rows(asyncio.run(actions.shards(Home(home).running())), json=json, empty="no shards")


@app.command
def lag(*, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """What every reader has not read and every writer has not published."""
    print_rows(asyncio.run(actions.lag(Home(home).running())), json=json, empty="nothing is left to do")


@app.command
def drain(instance: str, /, *, yes: bool = False, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Let a router give all its shards to the others, before it is stopped.

    Parameters
    ----------
    instance
        Its name, as `ops shards` shows it.
    yes
        Do not ask.
    """
    _sure(f"{instance} gives all its shards back and takes none until it starts again.", yes=yes)
    rows = asyncio.run(actions.drain(Home(home).running(), instance, actor=who()))
    print_rows(rows, json=json, empty="no shards")


@app.command
def audit(*, last: int = 50, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Who changed what, newest first.

    Parameters
    ----------
    last
        How many.
    """
    print_rows(asyncio.run(actions.audit(Home(home).running(), last=last)), json=json, empty="nothing was changed yet")


@app.command
def doctor(*, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Do clocks, schemas, rights, topics and disks fit together? Status 1 when something does not."""
    from porchlight.ops.doctor import examine

    found = asyncio.run(examine(Home(home)))
    rows = [{"check": one.check, "ok": one.ok, "finding": one.text} for one in found]
    print_rows(rows, json=json, empty="")
    raise SystemExit(0 if all(one.ok for one in found) else 1)


@parked_app.command(name="list")
def list_(*, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """All of them."""
    print_rows(asyncio.run(actions.parked(Home(home).running())), json=json, empty="nothing is parked")


@parked_app.command
def show(service: str, record: str, /, *, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """One with its value."""
    print_rows([asyncio.run(actions.show_parked(Home(home).running(), service, record))], json=json, empty="")


@parked_app.command
def retry(service: str, record: str, /, *, yes: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Publish a record again, after what kept it from being read was put right."""
    _sure(f"{record} is published again at the end of its partition.", yes=yes)
    asyncio.run(actions.retry_parked(Home(home).running(), service, record, actor=who()))
    console.print(f"{record} was published again")


@parked_app.command
def drop(service: str, record: str, /, *, reason: str, yes: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Forget a record for good.

    Parameters
    ----------
    reason
        Why; it stays in the audit.
    """
    _sure(f"{record} is forgotten for good.", yes=yes)
    asyncio.run(actions.drop_parked(Home(home).running(), service, record, reason=reason, actor=who()))
    console.print(f"{record} is dropped")
