"""A core that is told things in a test."""

from typing import Any

from router.core import State, step
from router.core.invariants import check
from router.core.model import decisions, events
from router.core.model.queue import Queue
from tests.support.builders import asked, queue, seen


class Table:
    """A core that is told things, and what it said to each."""

    def __init__(self, *queues: Queue) -> None:
        self.state, self.now_ms, self.said = State(), 1_000, []  # type: ignore[var-annotated]
        for one in queues or (queue(),):
            self.tell(events.QueueSet(queue=one))

    def tell(self, *told: events.Input, at_ms: int | None = None) -> list[Any]:
        self.now_ms = self.now_ms if at_ms is None else at_ms
        self.said = [output for one in told for output in step(self.state, one, self.now_ms)]
        check(self.state)
        return self.said

    def tick(self, at_ms: int) -> list[Any]:
        return self.tell(events.Ticked(), at_ms=at_ms)

    def offers(self) -> list[tuple[str, str]]:
        return [(one.contact_id, one.agent_id) for one in self.said if isinstance(one, decisions.Offered)]

    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.said if not isinstance(one, decisions.AgentRouting)]

    def order_of_service(self, *names: str) -> list[str]:
        """Who is served first when one agent works its way through."""
        found = []
        self.tell(seen("one"))
        for _ in names:
            contact, agent = self.offers()[0]
            found.append(contact)
            attempt = self.state.contacts[contact].attempt
            about = {"agent_id": agent, "contact_id": contact, "attempt": attempt}
            self.tell(asked("accept", command_id=f"a{contact}", **about))
            self.tell(asked("complete", command_id=f"c{contact}", **about))
        return found
