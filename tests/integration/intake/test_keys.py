"""API keys on real PostgreSQL: what ends, ends; what is replaced has its grace; who did it stands in the audit."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from common.runtime.database import Pool, open_pool
from common.runtime.failures import Retryable
from common.runtime.refused_credentials import KINDS_MAX, RefusedCredentials, into_audit
from intake.adapters import keys as adapter
from intake.adapters.keys import PostgresKeys
from intake.domain import SCOPES, KeyHolder, KeyRefused
from tests.integration.conftest import Place

PEPPER = "p" * 32


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[Pool]:
    pool = await open_pool(place.dsns["intake"], name="keys", size=2)  # the service's own rights
    yield pool
    await pool.close()


@pytest.fixture
def keys(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> PostgresKeys:
    monkeypatch.setattr(adapter, "REMEMBERED_S", 0.0)
    return PostgresKeys(pool, pepper=PEPPER)


async def made(keys: PostgresKeys, **changes: object) -> tuple[str, str]:
    given: dict[str, object] = {"client": "c", "scopes": ["post"], "expires_at": None, "actor": "root", **changes}
    key, row = await keys.make(**given)  # type: ignore[arg-type]
    return key, row["key_id"]


async def reason(keys: PostgresKeys, credential: str) -> str:
    found = await keys.holder_of(credential)
    return found.reason if isinstance(found, KeyRefused) else "in force"


async def test_a_key_says_whose_it_is_and_what_it_may(keys: PostgresKeys) -> None:
    key, key_id = await made(keys)

    assert await keys.holder_of(key) == KeyHolder(client_id="c", key_id=key_id, scopes=frozenset({"post"}))
    assert await reason(keys, key[:-1] + ("a" if key[-1] != "a" else "b")) == "secret"
    assert await reason(keys, "plk_000000000000_" + "s" * 43) == "unknown"


async def test_a_rotated_key_has_two_secrets_until_the_grace_is_over(keys: PostgresKeys, pool: Pool) -> None:
    first, key_id = await made(keys)
    second, row = await keys.rotate(key_id, grace=timedelta(hours=1), actor="root") or ("", {})

    assert row["previous_until"] > datetime.now(UTC) + timedelta(minutes=50)
    assert (await reason(keys, first), await reason(keys, second)) == ("in force", "in force")

    third, _ = await keys.rotate(key_id, grace=timedelta(0), actor="root") or ("", {})
    assert [await reason(keys, one) for one in (first, second, third)] == ["secret", "secret", "in force"]


async def test_a_revoked_key_is_over_with_both_its_secrets(keys: PostgresKeys) -> None:
    first, key_id = await made(keys)
    second, _ = await keys.rotate(key_id, grace=timedelta(hours=1), actor="root") or ("", {})

    row = await keys.revoke(key_id, actor="root")
    again = await keys.revoke(key_id, actor="root")

    assert row is not None and row["state"] == "revoked" and again == row
    assert (await reason(keys, first), await reason(keys, second)) == ("revoked", "revoked")
    assert await keys.rotate(key_id, grace=timedelta(0), actor="root") is None
    assert await keys.change(key_id, scopes=["post"], expires_at=None, actor="root") is None
    assert await keys.revoke("000000000000", actor="root") is None


async def test_a_key_expires_and_can_be_given_more_time_and_other_scopes(keys: PostgresKeys) -> None:
    key, key_id = await made(keys, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await reason(keys, key) == "expired"

    row = await keys.change(key_id, scopes=["read", "post"], expires_at=None, actor="root")

    assert row is not None and (row["state"], row["scopes"]) == ("active", ["post", "read"])
    found = await keys.holder_of(key)
    assert isinstance(found, KeyHolder) and found.scopes == {"read", "post"}


async def test_a_key_of_before_scopes_may_all_that_it_could(keys: PostgresKeys, place: Place, pool: Pool) -> None:
    await pool.execute("INSERT INTO api_key (key_id, client_id, hash) VALUES ('0ld', 'old', $1)", b"h")

    assert await pool.fetchval("SELECT scopes FROM api_key WHERE key_id = '0ld'") == list(SCOPES)


async def test_the_last_use_is_noted_coarsely_and_keys_are_listed_by_pages(keys: PostgresKeys) -> None:
    key, key_id = await made(keys)
    await made(keys)
    await keys.holder_of(key)
    await keys.note_use()

    rows = await keys.page(after="", limit=1_000)
    used = {row["key_id"]: row["last_used_at"] for row in rows}
    assert used[key_id] is not None
    assert not any("hash" in name for name in rows[0])
    assert [row["key_id"] for row in await keys.page(after=rows[0]["key_id"], limit=1)] == [rows[1]["key_id"]]


async def test_who_made_replaced_changed_and_ended_a_key_is_in_the_audit(keys: PostgresKeys, place: Place) -> None:
    _, key_id = await made(keys)
    await keys.rotate(key_id, grace=timedelta(hours=1), actor="ann")
    await keys.change(key_id, scopes=["read"], expires_at=None, actor="bob")
    await keys.revoke(key_id, actor="cat")
    await keys.revoke(key_id, actor="dan")

    assert await audited(place, key_id) == [
        ("root", "key.create", "c: post"),
        ("ann", "key.rotate", "the secret of before is valid for 1:00:00"),
        ("bob", "key.change", "read"),
        ("cat", "key.revoke", ""),
    ]


async def audited(place: Place, subject: str) -> list[tuple[str, ...]]:
    import asyncpg

    connection = await asyncpg.connect(place.owners["intake"])
    try:
        rows = await connection.fetch("SELECT actor, action, detail FROM audit WHERE subject = $1 ORDER BY no", subject)
        return [tuple(row) for row in rows]
    finally:
        await connection.close()


async def test_a_storm_of_guesses_is_a_few_lines_of_audit(pool: Pool, place: Place) -> None:
    refused = RefusedCredentials()
    for number in range(5_000):
        refused.note("key secret", f"guess-{number}" if number % 2 else "victim")

    await refused.flush(into_audit(pool))
    await refused.flush(into_audit(pool))

    assert await audited(place, "victim") == [("victim", "credential.refused", "key secret, 2500 times")]
    total = await pool.fetchval("SELECT 1") and await count_refused(place)
    assert total <= KINDS_MAX + 1


async def count_refused(place: Place) -> int:
    import asyncpg

    connection = await asyncpg.connect(place.owners["intake"])
    try:
        return int(await connection.fetchval("SELECT count(*) FROM audit WHERE action = 'credential.refused'"))
    finally:
        await connection.close()


async def test_refusals_that_cannot_be_written_are_kept_for_the_next_turn(pool: Pool, place: Place) -> None:
    refused = RefusedCredentials()
    refused.note("key revoked", "kept")

    async def away(_rows: object) -> None:
        raise Retryable("away")

    await refused.flush(away)
    refused.note("key revoked", "kept")
    await refused.flush(into_audit(pool))

    assert await audited(place, "kept") == [("kept", "credential.refused", "key revoked, 2 times")]
