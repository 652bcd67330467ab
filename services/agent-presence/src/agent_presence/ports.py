"""What agent-presence needs from the outside. Every method raises `Retryable` when the database is away."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from agent_presence.domain import Command, Item, Kept, Profile, Session, Standing
from common.contracts import agents
from common.runtime.bus import Place
from common.runtime.following import Sequences
from common.runtime.outbox import OutboxRow


class Sessions(Protocol):
    """Sign-in, leases and commands; each change tells the router in the same transaction."""

    async def sign_in(self, agent_id: str, presence: agents.Presence) -> tuple[Session, list[OutboxRow]] | None:
        """A new session, which fences the one before; None when there is no such agent, or it is disabled."""
        ...

    async def change(
        self,
        agent_id: str,
        *,
        session_no: int | None,
        presence: agents.Presence | None = None,
        link_score: int | None = None,
    ) -> tuple[Session, list[OutboxRow]] | None:
        """Tell the router the agent's picture anew (of any session when `session_no` is None); None: no session."""
        ...

    async def sign_out(self, agent_id: str, session_no: int) -> list[OutboxRow] | None:
        """End the session; None when it is over already."""
        ...

    async def expire(self) -> list[OutboxRow]:
        """End every session whose lease ran out. One replica at a time does it."""
        ...

    async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
        """Renew many leases in one statement; False for a session that is over."""
        ...

    async def pool_of(self, agent_id: str, session_no: int) -> str | None:
        """The agent's pool, which is fixed for the length of a session; None when the session is over."""
        ...

    async def keep(self, commands: Sequence[Command]) -> list[tuple[Kept, str | None, OutboxRow]]:
        """Keep commands in one statement: what became of each, its outcome if known, and its outbox row."""
        ...


class Directory(Protocol):
    """Who works here and who can do what."""

    async def put_skill(self, skill: str, *, actor: str) -> list[OutboxRow]:
        """Define a skill; defining it again tells everybody again."""
        ...

    async def skills(self) -> list[str]:
        """Every skill."""
        ...

    async def put_agent(self, profile: Profile, *, actor: str) -> list[OutboxRow] | None:
        """Define or change an agent; disabling one ends its session, which the rows tell.

        None: nothing was changed, because that would move a signed-in agent to another pool.
        """
        ...

    async def end_session(self, agent_id: str, *, actor: str) -> list[OutboxRow]:
        """Sign an agent out on behalf of `actor`; no rows when nobody was signed in."""
        ...

    async def put_limits(self, agent_id: str, limits: dict[str, Any], *, actor: str) -> bool:
        """Breaks, shift and hours of an agent; False when there is no such agent."""
        ...

    async def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        """An agent as administrators define it, its presence, and of its session `routing_state`, `routing_reason`, `link_score` and
        `session_since`; without a session, or before the router has heard of it, `offline`, empty and None."""
        ...

    async def list_agents(self, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Agents in the order of their ids."""
        ...


class StoredInboxes(Protocol):
    """What a replica starts from."""

    async def load(self, topic: str) -> tuple[list[Item], list[Standing], dict[Place, int], Sequences]:
        """Everything from one snapshot, and from where on the facts of `topic` are missing in it."""
        ...


class InboxTables(Protocol):
    """The stored inboxes, inside the transaction of who follows the router's facts."""

    async def items_of(self, contact_ids: Sequence[str]) -> list[Item]: ...

    async def write(
        self,
        *,
        items: Mapping[tuple[str, str], Item | None],
        standings: Mapping[str, Standing],
        outcomes: Mapping[tuple[str, str], str],
    ) -> None:
        """Items by (contact, agent), None for one that is gone; outcomes by (agent, command), the first one counts."""
        ...


class SessionEnds(Protocol):
    """Ends of sessions, whichever replica ended them."""

    async def listen(self, *, listening: Callable[[], None], over: Callable[[str, int], None]) -> None:
        """Call `listening` when every end is heard from now on, and `over(agent, number)` when sessions of the agent up to
        that number are over. Returns only by an error: `Retryable` when ends may be missed from now on."""
        ...


class Relay(Protocol):
    """Publishes committed rows soon."""

    def hand_over(self, rows: Sequence[OutboxRow]) -> None: ...
