"""`porchlight keys …` and `porchlight token …`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from cyclopts import App

from porchlight.installation import DEFAULT_HOME, Home, HomeFolder, Trouble
from porchlight.ops.command import print_rows, who

if TYPE_CHECKING:
    from common.runtime.auth import Role
    from intake.adapters.keys import PostgresKeys

Found = TypeVar("Found")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ALL_SCOPES = ("post", "read", "priority")
DAYS_MAX = 3_650
keys_app = App(name="keys", help="API keys of channel integrations.")
token_app = App(name="token", help="Tokens of agents, supervisors and administrators.")


def _scopes(text: str) -> list[str]:
    asked = sorted({word.strip() for word in text.split(",") if word.strip()})
    if not asked or not set(asked) <= set(ALL_SCOPES):
        raise Trouble(f"--scopes takes some of {','.join(ALL_SCOPES)}, with commas between them")
    return asked


def _end(days: float | None) -> datetime | None:
    if days is None:
        return None
    if not 0 < days <= DAYS_MAX:
        raise Trouble(f"--expires-in-days must be above 0 and at most {DAYS_MAX}")
    return datetime.now(UTC) + timedelta(days=days)


async def _with_keys(home: str, work: Callable[["PostgresKeys"], Awaitable[Found]]) -> Found:
    from porchlight.jobs.keys import api_keys

    place = Home(home)
    async with api_keys(place, owner_dsn=place.running().owner_dsns["intake"]) as keys:
        return await work(keys)


@keys_app.command(name="create")
def keys_create(
    client: str,
    /,
    *,
    scopes: str = "post,read",
    expires_in_days: float | None = None,
    home: HomeFolder = DEFAULT_HOME,
) -> None:
    """A new API key for a channel integration, printed once.

    Parameters
    ----------
    client
        The integration's name: it sees only contacts that were posted with its keys.
    scopes
        What it may do: post (post, cancel, call back), read, priority (post with a priority above 0).
    expires_in_days
        When it ends by itself; without this it does not.
    """
    asked, end = _scopes(scopes), _end(expires_in_days)
    if not NAME.fullmatch(client):
        raise Trouble("an integration's name has 1 to 64 letters, digits, dots, hyphens and underscores")
    key, _ = asyncio.run(
        _with_keys(home, lambda keys: keys.make(client=client, scopes=asked, expires_at=end, actor=who()))
    )
    print(key)


@keys_app.command(name="list")
def keys_list(*, json: bool = False, home: HomeFolder = DEFAULT_HOME) -> None:
    """Every API key: whose it is, what it may do, until when, and when it was used last (to the minute)."""

    async def every(keys: "PostgresKeys") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while page := await keys.page(after=rows[-1]["key_id"] if rows else "", limit=200):
            rows += page
        return rows

    rows = [{name: _text(value) for name, value in row.items()} for row in asyncio.run(_with_keys(home, every))]
    print_rows(rows, json=json, empty="there is no key yet: `porchlight keys create NAME`")


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ",".join(value) if isinstance(value, list) else str(value or "")


@keys_app.command(name="rotate")
def keys_rotate(key_id: str, /, *, grace_hours: float = 24.0, home: HomeFolder = DEFAULT_HOME) -> None:
    """Give a key a new secret, printed once; the one of before stays valid for a while.

    Parameters
    ----------
    key_id
        As `keys list` shows it: the middle of `plk_<id>_<secret>`.
    grace_hours
        How long the secret of before stays valid; 0: not at all.
    """
    if not 0 <= grace_hours <= 720:
        raise Trouble("--grace-hours must be 0 to 720")
    grace = timedelta(hours=grace_hours)
    done = asyncio.run(_with_keys(home, lambda keys: keys.rotate(key_id, grace=grace, actor=who())))
    if done is None:
        raise Trouble(f"there is no key {key_id} in force: see `porchlight keys list`")
    print(done[0])


@keys_app.command(name="change")
def keys_change(
    key_id: str, /, *, scopes: str, expires_in_days: float | None = None, home: HomeFolder = DEFAULT_HOME
) -> None:
    """Set what a key may do and when it ends; in force within five seconds.

    Parameters
    ----------
    key_id
        As `keys list` shows it.
    scopes
        What it may do from now on: post, read, priority, with commas between them.
    expires_in_days
        When it ends by itself; without this it does not.
    """
    asked, end = _scopes(scopes), _end(expires_in_days)
    done = asyncio.run(_with_keys(home, lambda keys: keys.change(key_id, scopes=asked, expires_at=end, actor=who())))
    if done is None:
        raise Trouble(f"there is no key {key_id} that was not revoked: see `porchlight keys list`")


@keys_app.command(name="revoke")
def keys_revoke(key_id: str, /, *, home: HomeFolder = DEFAULT_HOME) -> None:
    """End a key for good, with both its secrets, within five seconds.

    Parameters
    ----------
    key_id
        As `keys list` shows it.
    """
    if asyncio.run(_with_keys(home, lambda keys: keys.revoke(key_id, actor=who()))) is None:
        raise Trouble(f"there is no key {key_id}: see `porchlight keys list`")


def _token(home: str, subject: str, role: "Role") -> None:
    from porchlight.jobs.keys import issue_token, note_issued

    place = Home(home)
    if not (place.folder / "jwks.json").exists():
        raise Trouble(f"{place.folder} has no keys yet: they are made by the first `porchlight up`")
    issued = issue_token(place, subject=subject, role=role)
    note_issued(place, actor=who(), subject=subject, role=role)
    print(issued)


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
