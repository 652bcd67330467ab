"""Agent-presence's tables in memory: as strict as PostgreSQL's, and shared by all replicas of a test."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agent_presence.domain import (
    TELL_AGAIN_MS,
    Command,
    Item,
    Kept,
    Profile,
    Session,
    Standing,
    command_fact,
    picture,
    target_of,
)
from common.contracts import agents
from common.contracts.config import SkillDefined
from common.contracts.topics import AGENTS, CONFIG, shard_of
from common.runtime.bus import Place
from common.runtime.clock import Clock
from common.runtime.following import Sequences
from common.runtime.outbox import OutboxRow, outbox_row
from common.testing.database import Later, MemoryServer, OutboxRows, Positions
from common.testing.faults import Line, through

SWEEP_MAX = 500


@dataclass(slots=True, kw_only=True)
class SessionRow:
    """A row of `session`; `lease_until_s` on the database's clock."""

    session_no: int = 0
    seq: int = 0
    presence: agents.Presence = "offline"
    link_score: int = 100
    lease_until_s: float = 0.0
    started_at: datetime | None = None
    ended: bool = False


@dataclass(slots=True, kw_only=True)
class CommandRow:
    """A row of `command`."""

    command: Command
    outcome: str | None = None


class PresenceTables:
    """One database of agent-presence."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.skills: dict[str, int] = {}
        self.profiles: dict[str, Profile] = {}
        self.limits: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.commands: dict[tuple[str, str], CommandRow] = {}
        self.items: dict[tuple[str, str], Item] = {}
        self.standings: dict[str, Standing] = {}
        self.outbox = OutboxRows(server)
        self.positions = Positions()
        self.listeners: list[Callable[[str, int], None]] = []

    def over(self, agent_id: str, session_no: int) -> None:
        """Tell who listens that sessions of the agent up to this number are over."""
        for listener in list(self.listeners):
            listener(agent_id, session_no)

    def live(self, agent_id: str, session_no: int | None = None) -> SessionRow | None:
        """The agent's session, if it is not over, and is the one asked for."""
        row = self.sessions.get(agent_id)
        if row is None or row.ended or session_no not in (None, row.session_no):
            return None
        return row if self.profiles[agent_id].enabled else None

    def session(self, agent_id: str) -> Session:
        """A session with what the agent's profile says."""
        row, profile = self.sessions[agent_id], self.profiles[agent_id]
        return Session(
            agent_id=agent_id,
            session_no=row.session_no,
            seq=row.seq,
            presence=row.presence,
            pool=profile.pool,
            skills=profile.skills,
            units=profile.units,
            link_score=row.link_score,
            traits=profile.traits,
            limits=self.limits.get(agent_id, {}),
        )


class MemorySessions:
    """See `agent_presence.ports.Sessions`."""

    def __init__(self, tables: PresenceTables, line: Line, *, clock: Clock, lease_s: float) -> None:
        self._tables, self._line, self._clock, self._lease_s = tables, line, clock, lease_s

    async def sign_in(self, agent_id: str, presence: agents.Presence) -> tuple[Session, list[OutboxRow]] | None:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "sign in"):
            profile = self._tables.profiles.get(agent_id)
            if profile is None or not profile.enabled:
                return None
            row = self._tables.sessions.setdefault(agent_id, SessionRow())
            self._tables.over(agent_id, row.session_no)
            row.session_no += 1
            row.started_at = datetime.fromtimestamp(self._clock.now_ms() / 1_000, UTC)
            row.seq += 1
            row.presence, row.ended = presence, False
            row.lease_until_s = self._tables.server.now_s() + self._lease_s
            return self._told(agent_id, agents.SessionStarted)

    async def change(
        self,
        agent_id: str,
        *,
        session_no: int | None,
        presence: agents.Presence | None = None,
        link_score: int | None = None,
    ) -> tuple[Session, list[OutboxRow]] | None:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "change presence"):
            row = self._tables.live(agent_id, session_no)
            if row is None:
                return None
            row.presence = row.presence if presence is None else presence
            row.link_score = row.link_score if link_score is None else link_score
            row.seq += 1
            if session_no is not None:
                row.lease_until_s = self._tables.server.now_s() + self._lease_s
            return self._told(agent_id, agents.PresenceChanged)

    async def sign_out(self, agent_id: str, session_no: int) -> list[OutboxRow] | None:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "sign out"):
            row = self._tables.live(agent_id, session_no)
            return None if row is None else [ended(self._tables, agent_id, "signed_out", at_ms=self._clock.now_ms())]

    async def expire(self) -> list[OutboxRow]:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "expire"):
            now_s = self._tables.server.now_s()
            over = [
                name
                for name, row in sorted(self._tables.sessions.items())
                if not row.ended and row.lease_until_s < now_s
            ]
            at_ms = self._clock.now_ms()
            return [ended(self._tables, name, "lease_expired", at_ms=at_ms) for name in over[:SWEEP_MAX]]

    async def renew(self, given: Sequence[tuple[str, int]]) -> list[bool]:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "renew leases"):
            rows = [self._tables.live(agent_id, number) for agent_id, number in given]
            for row in filter(None, rows):
                row.lease_until_s = self._tables.server.now_s() + self._lease_s
            return [row is not None for row in rows]

    async def pool_of(self, agent_id: str, session_no: int) -> str | None:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "pool of"):
            live = self._tables.live(agent_id, session_no)
            return None if live is None else self._tables.profiles[agent_id].pool

    async def keep(self, commands: Sequence[Command]) -> list[tuple[Kept, str | None, OutboxRow]]:
        """See `agent_presence.ports.Sessions`."""
        async with through(self._line, "keep commands"):
            return [(*self._keep(command), _row_of(command)) for command in commands]

    def _keep(self, command: Command) -> tuple[Kept, str | None]:
        key = (command.agent_id, command.command_id)
        known = self._tables.commands.get(key)
        if known is not None:
            first = known.command
            same = (first.verb, first.contact_id, first.attempt) == (command.verb, command.contact_id, command.attempt)
            if not same or target_of(first) != target_of(command):
                return Kept.REUSED, None
            if known.outcome is None and command.issued_at_ms - first.issued_at_ms >= TELL_AGAIN_MS:
                self._tables.outbox.add([_row_of(command)])
            return Kept.REPEATED, known.outcome
        if self._tables.live(command.agent_id, command.session_no) is None:
            return Kept.SESSION_OVER, None
        self._tables.commands[key] = CommandRow(command=command)
        self._tables.outbox.add([_row_of(command)])
        return Kept.FRESH, None

    def _told(self, agent_id: str, kind: type[agents.AgentPicture]) -> tuple[Session, list[OutboxRow]]:
        session = self._tables.session(agent_id)
        row = _told_row(kind(**picture(session, at_ms=self._clock.now_ms())))  # type: ignore[arg-type]
        self._tables.outbox.add([row])
        return session, [row]


def ended(tables: PresenceTables, agent_id: str, reason: agents.SessionEnd, *, at_ms: int) -> OutboxRow:
    """End the agent's session, and tell the router and who listens."""
    row = tables.sessions[agent_id]
    row.presence, row.ended = "offline", True
    row.seq += 1
    fields = picture(tables.session(agent_id), at_ms=at_ms)
    told = _told_row(agents.SessionEnded(**fields, reason=reason))  # type: ignore[arg-type]
    tables.outbox.add([told])
    tables.over(agent_id, row.session_no)
    return told


def _told_row(fact: agents.AgentPicture) -> OutboxRow:
    return outbox_row(fact, topic=AGENTS.name, partition=shard_of(fact.pool), key=fact.agent_id, at_ms=fact.at_ms)


def _row_of(command: Command) -> OutboxRow:
    return outbox_row(
        command_fact(command),
        topic=AGENTS.name,
        partition=shard_of(command.pool),
        key=command.agent_id,
        at_ms=command.issued_at_ms,
    )


class MemoryDirectory:
    """See `agent_presence.ports.Directory`."""

    def __init__(self, tables: PresenceTables, line: Line, clock: Clock) -> None:
        self._tables, self._line, self._clock = tables, line, clock

    async def put_skill(self, skill: str, *, actor: str) -> list[OutboxRow]:
        """See `agent_presence.ports.Directory`."""
        del actor
        at_ms = self._clock.now_ms()
        async with through(self._line, "put skill"):
            version = self._tables.skills[skill] = self._tables.skills.get(skill, 0) + 1
            fact = SkillDefined(skill=skill, version=version)
            row = outbox_row(fact, topic=CONFIG.name, partition=0, key=f"skill/{skill}", at_ms=at_ms)
            self._tables.outbox.add([row])
            return [row]

    async def skills(self) -> list[str]:
        """See `agent_presence.ports.Directory`."""
        async with through(self._line, "skills"):
            return sorted(self._tables.skills)

    async def put_agent(self, profile: Profile, *, actor: str) -> list[OutboxRow] | None:
        """See `agent_presence.ports.Directory`."""
        del actor
        async with through(self._line, "put agent"):
            before = self._tables.profiles.get(profile.agent_id)
            told = [] if profile.enabled else self._end(profile.agent_id, "disabled")
            moves = before is not None and before.pool != profile.pool
            if moves and self._tables.live(profile.agent_id) is not None:
                return None
            self._tables.profiles[profile.agent_id] = profile
            return told

    async def end_session(self, agent_id: str, *, actor: str) -> list[OutboxRow]:
        """See `agent_presence.ports.Directory`."""
        del actor
        async with through(self._line, "end session"):
            return self._end(agent_id, "signed_out_by_supervisor")

    def _end(self, agent_id: str, reason: agents.SessionEnd) -> list[OutboxRow]:
        if self._tables.live(agent_id) is None:
            return []
        return [ended(self._tables, agent_id, reason, at_ms=self._clock.now_ms())]

    async def put_limits(self, agent_id: str, limits: dict[str, Any], *, actor: str) -> bool:
        """See `agent_presence.ports.Directory`."""
        del actor
        async with through(self._line, "put limits"):
            if agent_id not in self._tables.profiles:
                return False
            self._tables.limits[agent_id] = limits
            return True

    async def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        """See `agent_presence.ports.Directory`."""
        async with through(self._line, "get agent"):
            return self._shown(agent_id) if agent_id in self._tables.profiles else None

    async def list_agents(self, *, after: str, limit: int) -> list[dict[str, Any]]:
        """See `agent_presence.ports.Directory`."""
        async with through(self._line, "list agents"):
            return [self._shown(name) for name in sorted(self._tables.profiles) if name > after][:limit]

    def _shown(self, agent_id: str) -> dict[str, Any]:
        profile, live = self._tables.profiles[agent_id], self._tables.live(agent_id)
        return {
            **{name: getattr(profile, name) for name in Profile.__dataclass_fields__},
            "limits": self._tables.limits.get(agent_id, {}),
            "presence": "offline" if live is None else live.presence,
            **self._of_session(agent_id, live),
        }

    def _of_session(self, agent_id: str, live: SessionRow | None) -> dict[str, Any]:
        standing = self._tables.standings.get(agent_id)
        is_known = live is not None and standing is not None and standing.session_no == live.session_no
        return {
            "routing_state": standing.routing_state if is_known and standing else "offline",
            "routing_reason": standing.reason if is_known and standing else "",
            "link_score": None if live is None else live.link_score,
            "session_since": None if live is None else live.started_at,
        }


class MemorySessionEnds:
    """See `agent_presence.ports.SessionEnds`."""

    def __init__(self, tables: PresenceTables, line: Line) -> None:
        self._tables, self._line = tables, line

    async def listen(self, *, listening: Callable[[], None], over: Callable[[str, int], None]) -> None:
        """See `agent_presence.ports.SessionEnds`."""
        async with through(self._line, "listen for ends"):
            self._tables.listeners.append(over)
        try:
            listening()
            await asyncio.Event().wait()
        finally:
            self._tables.listeners.remove(over)


class MemoryInboxes:
    """See `agent_presence.ports.StoredInboxes`."""

    def __init__(self, tables: PresenceTables, line: Line) -> None:
        self._tables, self._line = tables, line

    async def load(self, topic: str) -> tuple[list[Item], list[Standing], dict[Place, int], Sequences]:
        """See `agent_presence.ports.StoredInboxes`."""
        async with through(self._line, "load inboxes"):
            offsets, sequences = self._tables.positions.load([topic])
            return list(self._tables.items.values()), list(self._tables.standings.values()), offsets, sequences


class MemoryInboxTables:
    """See `agent_presence.ports.InboxTables`."""

    def __init__(self, tables: PresenceTables, later: Later) -> None:
        self._tables, self._later = tables, later

    async def items_of(self, contact_ids: Sequence[str]) -> list[Item]:
        """See `agent_presence.ports.InboxTables`."""
        wanted = set(contact_ids)
        return [item for item in self._tables.items.values() if item.contact_id in wanted]

    async def write(
        self,
        *,
        items: Mapping[tuple[str, str], Item | None],
        standings: Mapping[str, Standing],
        outcomes: Mapping[tuple[str, str], str],
    ) -> None:
        """See `agent_presence.ports.InboxTables`."""
        self._later(lambda: self._write(items, standings, outcomes))

    def _write(
        self,
        items: Mapping[tuple[str, str], Item | None],
        standings: Mapping[str, Standing],
        outcomes: Mapping[tuple[str, str], str],
    ) -> None:
        for key, item in items.items():
            if item is None:
                self._tables.items.pop(key, None)
            else:
                self._tables.items[key] = replace(item)
        self._tables.standings.update(standings)
        for key, outcome in outcomes.items():
            row = self._tables.commands.get(key)
            if row is not None and row.outcome is None:
                row.outcome = outcome
