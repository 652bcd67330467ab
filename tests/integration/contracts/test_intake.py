"""What intake's ports promise: the same suite in memory and on PostgreSQL."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from common.contracts.config import QueueDefined
from common.runtime.clock import monotonic_s, new_id
from common.runtime.database import open_pool
from common.testing.database import MemoryServer
from common.testing.faults import GoodLine
from intake.adapters.contacts import PostgresContacts
from intake.adapters.projections import PostgresProjections
from intake.domain import NewContact, Receipt, Refusal, Refused, Standing, Wishes
from intake.ports import Contacts
from intake.testing import IntakeTables, MemoryContacts, MemoryProjections
from intake.translate import submission
from tests.integration.conftest import Place
from tests.support.world import new_contact

CLIENT = "world"


class Backend(ABC):
    """One database of intake, whatever it is made of."""

    def __init__(self, contacts: Contacts) -> None:
        self.contacts = contacts

    async def accept(self, contact: NewContact) -> Receipt | Refused:
        receipt = Receipt(
            contact_id=new_id(),
            queue=contact.queue,
            channel=contact.channel,
            priority=0,
            accepted_at_ms=1_000,
            replayed=False,
        )
        row = submission(receipt, pool="world", requirements=(), correlation_id="", wishes=contact.wishes)
        return (await self.contacts.accept([(contact, receipt, "world", row)]))[0]

    async def accepted(self, **changes: object) -> Receipt:
        done = await self.accept(replace(new_contact(new_id()), **changes))  # type: ignore[arg-type]
        assert isinstance(done, Receipt)
        return done

    @abstractmethod
    async def move(
        self, receipt: Receipt, state: str, *, agent_id: str = "", attempt: int = 0, queue: str = ""
    ) -> None:
        """The router's facts say that the contact is in this state."""


def standing(receipt: Receipt, state: str, agent_id: str, attempt: int, queue: str) -> Standing:
    return Standing(state=state, at_ms=2_000, attempt=attempt, agent_id=agent_id, queue=queue or receipt.queue)


class InMemory(Backend):
    def __init__(self) -> None:
        self._tables = IntakeTables(MemoryServer(monotonic_s))
        super().__init__(MemoryContacts(self._tables, GoodLine()))

    async def move(
        self, receipt: Receipt, state: str, *, agent_id: str = "", attempt: int = 0, queue: str = ""
    ) -> None:
        writes: list[object] = []
        tables = MemoryProjections(self._tables, writes.append)
        await tables.move_contacts({receipt.contact_id: standing(receipt, state, agent_id, attempt, queue)})
        for write in writes:
            write()  # type: ignore[operator]


class OnPostgres(Backend):
    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        super().__init__(PostgresContacts(pool))

    async def move(
        self, receipt: Receipt, state: str, *, agent_id: str = "", attempt: int = 0, queue: str = ""
    ) -> None:
        async with self._pool.acquire() as connection:
            tables = PostgresProjections(connection)
            await tables.move_contacts({receipt.contact_id: standing(receipt, state, agent_id, attempt, queue)})


@pytest.fixture(params=["memory", "postgres"])
async def backend(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[Backend]:
    if request.param == "memory":
        yield InMemory()
        return
    pool = await open_pool(place.owners["intake"], name="t", size=3)
    await pool.execute("TRUNCATE contact, personal, idempotency_key, outbox, queue CASCADE")
    yield OnPostgres(pool)
    await pool.close()


class TestContacts:
    async def test_a_key_gets_its_first_receipt_again(self, backend: Backend) -> None:
        contact = new_contact(new_id())
        first, second = await backend.accept(contact), await backend.accept(contact)
        other = await backend.accept(replace(contact, body_hash=b"another"))

        assert isinstance(first, Receipt) and isinstance(second, Receipt)
        assert (second.contact_id, first.replayed, second.replayed) == (first.contact_id, False, True)
        assert isinstance(other, Refused) and other.reason is Refusal.KEY_REUSED

    async def test_a_contact_says_where_it_is_now_and_its_post_is_answered_as_it_was(self, backend: Backend) -> None:
        contact = new_contact(new_id())
        first = await backend.accept(contact)
        assert isinstance(first, Receipt)
        await backend.move(first, "queued", queue="elsewhere")

        moved = await backend.contacts.get(contact_id=first.contact_id, client_id=contact.client_id)
        page = await backend.contacts.page(client_id=contact.client_id, before="g", limit=5)
        again = await backend.accept(contact)

        assert moved is not None and isinstance(again, Receipt)
        assert (moved["queue"], [one["queue"] for one in page], again.queue) == (
            "elsewhere",
            ["elsewhere"],
            first.queue,
        )

        await backend.move(first, "queued", queue=first.queue)
        back = await backend.contacts.get(contact_id=first.contact_id, client_id=contact.client_id)
        assert back is not None and back["queue"] == first.queue

    async def test_a_contact_is_its_clients_alone(self, backend: Backend) -> None:
        receipt = await backend.accepted()

        assert await backend.contacts.get(contact_id=receipt.contact_id, client_id="another") is None
        found = await backend.contacts.get(contact_id=receipt.contact_id, client_id=CLIENT)
        assert found is not None and (found["state"], found["queue"]) == ("accepted", receipt.queue)

    async def test_pages_go_from_the_newest_back(self, backend: Backend) -> None:
        ids = [(await backend.accepted()).contact_id for _ in range(3)]

        page = await backend.contacts.page(client_id=CLIENT, before="~", limit=2)
        rest = await backend.contacts.page(client_id=CLIENT, before=page[-1]["contact_id"], limit=2)

        assert [row["contact_id"] for row in (*page, *rest)] == sorted(ids, reverse=True)

    async def test_a_cancellation_is_asked_for_once(self, backend: Backend) -> None:
        receipt = await backend.accepted()
        asked = {"contact_id": receipt.contact_id, "client_id": CLIENT, "reason": "withdrawn"}

        first = await backend.contacts.cancel(**asked, at_ms=5)  # type: ignore[arg-type]
        second = await backend.contacts.cancel(**asked, at_ms=6)  # type: ignore[arg-type]

        assert not isinstance(first, Refused) and first is not None and first.type == "contact.cancel_requested"
        assert second is None

    @pytest.mark.parametrize("state", ["completed", "wrap_up", "expired"])
    async def test_what_is_over_is_neither_cancelled_nor_called_back(self, backend: Backend, state: str) -> None:
        receipt = await backend.accepted()
        await backend.move(receipt, state, agent_id="ann", attempt=1)
        about = {"contact_id": receipt.contact_id, "client_id": CLIENT, "at_ms": 5}

        cancelled = await backend.contacts.cancel(**about, reason="withdrawn")  # type: ignore[arg-type]
        called = await backend.contacts.call_back(**about, not_before_ms=None)  # type: ignore[arg-type]

        assert isinstance(cancelled, Refused) and cancelled.reason is Refusal.CONTACT_OVER
        assert isinstance(called, Refused) and called.reason is Refusal.CONTACT_OVER

    async def test_nobody_elses_contact_is_found(self, backend: Backend) -> None:
        receipt = await backend.accepted()
        about = {"contact_id": receipt.contact_id, "client_id": "another", "at_ms": 5}

        cancelled = await backend.contacts.cancel(**about, reason="withdrawn")  # type: ignore[arg-type]
        called = await backend.contacts.call_back(**about, not_before_ms=None)  # type: ignore[arg-type]

        assert isinstance(cancelled, Refused) and cancelled.reason is Refusal.NOT_FOUND
        assert isinstance(called, Refused) and called.reason is Refusal.NOT_FOUND

    async def test_a_customers_last_agent_is_who_served_them_last(self, backend: Backend) -> None:
        receipt = await backend.accepted(wishes=Wishes(customer="ada"))
        asked = {"client_id": CLIENT, "customer": "ada"}
        assert await backend.contacts.last_agent(**asked) == ""

        await backend.move(receipt, "completed", agent_id="ann", attempt=1)

        assert await backend.contacts.last_agent(**asked) == "ann"
        assert await backend.contacts.last_agent(client_id="another", customer="ada") == ""

    async def test_an_attempt_never_goes_back(self, backend: Backend) -> None:
        receipt = await backend.accepted()
        await backend.move(receipt, "offered", agent_id="ann", attempt=3)
        await backend.move(receipt, "queued", attempt=0)

        found = await backend.contacts.get(contact_id=receipt.contact_id, client_id=CLIENT)

        assert found is not None and (found["state"], found["attempt"]) == ("queued", 3)


def test_a_queue_that_is_known_later_is_newer() -> None:
    tables, writes = IntakeTables(MemoryServer(monotonic_s)), []
    facts = [
        QueueDefined(
            queue="q",
            pool="p",
            version=version,
            requirements=(),
            priority=version,
            offer_timeout_ms=1,
            wrap_up_ms=0,
            link_grace_ms=0,
            service_level_ms=1,
        )
        for version in (2, 1)
    ]
    projections = MemoryProjections(tables, writes.append)

    for fact in facts:
        projections._know(fact)

    assert tables.queues["q"].version == 2
