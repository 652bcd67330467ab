"""Who may read the customer's details: the holder, in its present session; and that it is written down."""

import pytest

from common.contracts import routing
from common.contracts.codec import type_of
from common.contracts.envelope import Envelope
from common.runtime.bus import Incoming
from common.testing.database import MemoryServer
from common.testing.faults import GoodLine
from intake.consumers import apply
from intake.domain import NewContact, Receipt, Refusal, Refused, Wishes
from intake.handlers import Details
from intake.testing import IntakeTables, MemoryContacts, MemoryProjections, Row

ABOUT = {"contact_id": "c1", "pool": "p", "queue": "q", "at_ms": 1, "attempt": 1, "agent_id": "ann"}


class Intake:
    """Intake's tables with one contact, and its reading of the router's facts."""

    def __init__(self) -> None:
        self.tables = IntakeTables(MemoryServer(lambda: 0.0))
        posted = NewContact(
            client_id="shop",
            idempotency_key="k",
            body_hash=b"",
            queue="q",
            channel="voice",
            priority=0,
            requirements=(),
            external_id=None,
            customer='{"name": "Ada"}',
            correlation_id="",
            wishes=Wishes(),
        )
        receipt = Receipt(contact_id="c1", queue="q", channel="voice", priority=0, accepted_at_ms=0, replayed=False)
        self.tables.contacts["c1"] = Row(posted=posted, receipt=receipt, pool="p")
        self.details = Details(MemoryContacts(self.tables, GoodLine()))
        self.details._on_its_way._wait_s = 0.0

    async def hear(self, *facts: routing.RoutingFact) -> None:
        records = [
            Incoming(
                topic="routing.v1",
                partition=0,
                offset=number,
                headers=(),
                value=b"",
                envelope=Envelope(event_id="e", type=type_of(fact), occurred_at_ms=1, key="k", producer="router"),
                fact=fact,
            )
            for number, fact in enumerate(facts)
        ]
        await apply(MemoryProjections(self.tables, lambda write: write()), records)

    async def read(self, session_no: int | None, *, agent_id: str = "ann") -> str:
        """The name, or why not."""
        found = await self.details.customer(contact_id="c1", agent_id=agent_id, session_no=session_no)
        return found.reason.value if isinstance(found, Refused) else str(found["name"])


def session(number: int, state: routing.RoutingState = "ready") -> routing.AgentRoutingChanged:
    return routing.AgentRoutingChanged(
        agent_id="ann", pool="p", session_no=number, routing_state=state, reason="", at_ms=1
    )


@pytest.fixture
async def intake() -> Intake:
    found = Intake()
    await found.hear(session(3), routing.OfferAccepted(**ABOUT, command_id="k"))  # type: ignore[arg-type]
    return found


async def test_the_holder_reads_in_its_present_session_only(intake: Intake) -> None:
    assert await intake.read(3) == "Ada"
    assert await intake.read(2) == Refusal.SESSION_OVER
    assert await intake.read(4) == Refusal.NOT_FOUND, "nobody has heard of that session"
    assert await intake.read(3, agent_id="bob") == Refusal.NOT_FOUND


async def test_who_names_no_session_has_to_be_signed_in(intake: Intake) -> None:
    signed_in = await intake.read(None)
    await intake.hear(session(3, "offline"))

    assert [signed_in, await intake.read(None)] == ["Ada", Refusal.SESSION_OVER]


async def test_a_new_sign_in_ends_the_reading_of_the_one_before(intake: Intake) -> None:
    await intake.hear(session(4))

    assert [await intake.read(3), await intake.read(4)] == [Refusal.SESSION_OVER, "Ada"]


async def test_who_is_signed_out_reads_nothing_though_the_contact_is_kept_for_them(intake: Intake) -> None:
    await intake.hear(routing.LinkLost(**ABOUT, held_until_ms=9), session(3, "offline"))  # type: ignore[arg-type]

    assert await intake.read(3) == Refusal.SESSION_OVER


async def test_a_lost_line_hides_the_details_also_before_anything_is_known_of_sessions() -> None:
    intake = Intake()
    await intake.hear(routing.OfferAccepted(**ABOUT, command_id="k"))  # type: ignore[arg-type]
    before = await intake.read(1)

    await intake.hear(routing.LinkLost(**ABOUT, held_until_ms=9))  # type: ignore[arg-type]

    assert (before, await intake.read(1)) == ("Ada", Refusal.NOT_FOUND)


async def test_an_older_fact_about_a_session_changes_nothing(intake: Intake) -> None:
    await intake.hear(session(2, "offline"))

    assert await intake.read(3) == "Ada"


async def test_who_read_whose_details_is_noted_once_a_session(intake: Intake) -> None:
    for number in (3, 3, 2):
        await intake.read(number)
    await intake.read(3, agent_id="bob")
    await intake.hear(session(4))
    await intake.read(4)

    assert intake.tables.reads == [("ann", "c1", 3), ("ann", "c1", 4)]
