"""One function a command: check, decide, save with its outbox row, hand over."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from common.runtime.batching import SharedCommit
from common.runtime.clock import Clock, new_id
from common.runtime.failures import Retryable
from common.runtime.on_its_way import OnItsWay
from common.runtime.outbox import OutboxRow
from intake import metrics
from intake.domain import NewContact, Receipt, Refusal, Refused, skills_of
from intake.limits import Waiting
from intake.ports import Catalogue, Contacts, Relay, Repeats
from intake.translate import submission

log = structlog.get_logger()

RECONCILE_EVERY_S = 1.0

NOTED_MAX = 20_000
"""Reads of details that this replica remembers to have noted; an older one is noted again when it is repeated. So the audit
grows by one row for each contact, holder and replica, as the table of contacts does."""

Given = tuple[NewContact, Receipt, str, OutboxRow]


class Accepting:
    """Accepts contacts; concurrent ones share a commit. An answer is a promise: it comes after the commit."""

    def __init__(
        self, *, contacts: Contacts, catalogue: Catalogue, relay: Relay, clock: Clock, waiting: Waiting | None = None
    ) -> None:
        self._waiting = waiting
        self._contacts = contacts
        self._catalogue = catalogue
        self._relay = relay
        self._clock = clock
        self._on_its_way = OnItsWay()
        self._commit: SharedCommit[Given, Receipt | Refused] = SharedCommit(
            self._commit_all, what="contact", key=lambda given: (given[0].client_id, given[0].idempotency_key)
        )

    async def accept(self, contact: NewContact) -> Receipt | Refused:
        """Accept one contact, or say why not. Raises `Retryable`: then nothing was promised."""
        answer = await self._accept(contact)
        if isinstance(answer, Refused):
            metrics.refused.labels(answer.reason.value).inc()
        elif not answer.replayed:
            metrics.accepted.labels(answer.channel).inc()
            if self._waiting is not None:
                self._waiting.accepted(contact.client_id)
        return answer

    async def _accept(self, contact: NewContact) -> Receipt | Refused:
        queue = await self._on_its_way.look(lambda: self._catalogue.queue(contact.queue))
        if queue is None:
            return Refused(reason=Refusal.UNKNOWN_QUEUE, detail=f"There is no queue {contact.queue}.")
        asked = [skill for skill, _ in contact.requirements] + skills_of(contact.wishes.need)
        missing = await self._missing_skills(asked)
        if missing:
            return Refused(reason=Refusal.UNKNOWN_SKILL, detail=f"There is no skill {', '.join(missing)}.")
        if await self._is_one_too_many(contact):
            return Refused(reason=Refusal.TOO_MANY_WAITING, detail="As many of your contacts wait as may.")
        pool, default_priority = queue
        receipt = Receipt(
            contact_id=new_id(),
            queue=contact.queue,
            channel=contact.channel,
            priority=default_priority if contact.priority is None else contact.priority,
            accepted_at_ms=self._clock.now_ms(),
            replayed=False,
        )
        contact = await self._with_last_agent(contact)
        row = submission(
            receipt,
            pool=pool,
            requirements=contact.requirements,
            correlation_id=contact.correlation_id,
            wishes=contact.wishes,
        )
        return await self._commit((contact, receipt, pool, row))

    async def _is_one_too_many(self, contact: NewContact) -> bool:
        """A repeated post is none: it has its place already."""
        if self._waiting is None or not await self._waiting.is_full(contact.client_id):
            return False
        return not await self._contacts.is_known(client_id=contact.client_id, idempotency_key=contact.idempotency_key)

    async def _missing_skills(self, asked: Sequence[str]) -> list[str]:
        """Those that nobody defined; one that was defined a moment ago is waited for."""
        missing = await self._catalogue.missing_skills(asked) if asked else []
        if not missing:
            return []

        async def all_there() -> bool | None:
            nonlocal missing
            missing = await self._catalogue.missing_skills(asked)
            return None if missing else True

        await self._on_its_way.look(all_there)
        return missing

    async def _with_last_agent(self, contact: NewContact) -> NewContact:
        """The agent who had the customer's last contact, where the client refers to customers and names no agent itself."""
        wishes = contact.wishes
        if not wishes.customer or wishes.last_agent:
            return contact
        agent_id = await self._contacts.last_agent(client_id=contact.client_id, customer=wishes.customer)
        return replace(contact, wishes=msgspec.structs.replace(wishes, last_agent=agent_id))

    async def _commit_all(self, given: Sequence[Given]) -> list[Receipt | Refused]:
        answers = await self._contacts.accept(given)
        fresh = [
            row
            for (_, _, _, row), answer in zip(given, answers, strict=True)
            if isinstance(answer, Receipt) and not answer.replayed
        ]
        self._relay.hand_over(fresh)
        return answers


class Details:
    """The customer's details, for the agent who holds the contact."""

    def __init__(self, contacts: Contacts) -> None:
        self._contacts = contacts
        self._on_its_way = OnItsWay()
        self._noted: OrderedDict[tuple[str, str, int | None], None] = OrderedDict()

    async def customer(self, *, contact_id: str, agent_id: str, session_no: int | None) -> dict[str, Any] | Refused:
        """For the agent who holds it, in its present session; who read whose is noted first, once a session.

        An agent whose accept was answered holds the contact, and the fact that says so may still be on its way to us: it is
        waited for. Raises `Retryable` when too many wait.
        """

        async def look() -> dict[str, Any] | Refused | None:
            return await self._contacts.customer(contact_id=contact_id, agent_id=agent_id, session_no=session_no)

        found: dict[str, Any] | Refused | None = await self._on_its_way.look(look)
        if found is None:
            return Refused(reason=Refusal.NOT_FOUND, detail="You do not hold such a contact.")
        key = (contact_id, agent_id, session_no)
        if not isinstance(found, Refused) and key not in self._noted:
            await self._contacts.note_read(contact_id=contact_id, agent_id=agent_id, session_no=session_no)
            self._noted[key] = None
            if len(self._noted) > NOTED_MAX:
                self._noted.popitem(last=False)
        return found


async def ask_callback(
    *, contact_id: str, client_id: str, not_before_ms: int | None, contacts: Contacts, relay: Relay, clock: Clock
) -> Refused | None:
    """Ask the router to make it a callback, or to move one; a contact that is over or with an agent is refused."""
    done = await contacts.call_back(
        contact_id=contact_id, client_id=client_id, not_before_ms=not_before_ms, at_ms=clock.now_ms()
    )
    if isinstance(done, Refused):
        return done
    relay.hand_over([done])
    return None


async def cancel(
    *, contact_id: str, client_id: str, reason: str, contacts: Contacts, relay: Relay, clock: Clock
) -> Refused | None:
    """Ask the router to end a contact; asking twice is asking once."""
    done = await contacts.cancel(contact_id=contact_id, client_id=client_id, reason=reason, at_ms=clock.now_ms())
    if isinstance(done, Refused):
        return done
    if done is not None:
        relay.hand_over([done])
    return None


class Reconciler:
    """Repeats submissions that nobody queued, wishes that were not granted, and cancellations that ended nothing.

    The router ignores what it knows.
    """

    def __init__(self, *, repeats: Repeats, clock: Clock, after_ms: int) -> None:
        self._repeats = repeats
        self._clock = clock
        self._after_ms = after_ms

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            await asyncio.sleep(RECONCILE_EVERY_S)
            try:
                repeated = await self.reconcile()
            except Retryable as why:
                log.warning("reconcile_failed", why=str(why))
                continue
            if repeated:
                log.warning("unconfirmed_contacts_repeated", contacts=repeated)

    async def reconcile(self) -> int:
        """One round; returns how many facts were put into the outbox again."""
        now_ms = self._clock.now_ms()
        repeated = await self._repeats.repeat(before_ms=now_ms - self._after_ms, now_ms=now_ms)
        metrics.repeated.inc(repeated)
        return repeated
