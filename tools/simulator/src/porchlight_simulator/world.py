"""One replication: events in virtual time, told to the router's core, and what it decides played out."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from porchlight_simulator.counters import Crew, Kind, Tally
from porchlight_simulator.distributions import arrival_times, draws, generator, uniforms
from porchlight_simulator.scenario import AgentSpec, Scenario
from router.core import State, decide
from router.core.index.state import next_due_ms
from router.core.model import decisions, events
from router.core.model.contact import ContactState
from router.core.model.queue import Queue
from router.core.rules.criteria import both, skills_need

POOL = "simulated"
ARRIVE, GIVE_UP, ANSWER, FINISH, PRESENCE, OUTAGE, RETRY = range(7)
Listener = Callable[[State, events.Input, list[decisions.Output]], None]
"""Hears what was told and decided, and may look at the state."""
EVENTS_MAX = 500_000_000
"""A replication that needs more events than this is stopped with an error."""


class World:
    """Made for one replication; `run` plays it and returns what was counted. `listener` hears every step."""

    def __init__(self, scenario: Scenario, replication: int, *, listener: Listener | None = None) -> None:
        self._scenario = scenario
        self._seed = (scenario.seed, replication)
        self._ticks = scenario.ticks
        self._state = State()
        self._events: list[tuple[int, int, int, tuple[object, ...]]] = []
        self._order = count()
        self._now = 0
        self._tally = Tally(
            kinds={one.name: Kind() for one in scenario.arrivals},
            crews={one.name: Crew(count=one.count, by_agent=[0] * one.count) for one in scenario.agents},
            ticks=scenario.ticks,
        )
        self._contact: dict[str, tuple[int, int, bool, float]] = {}
        self._crew_of: dict[str, tuple[Crew, int, AgentSpec]] = {}
        self._busy: dict[str, int] = {}
        self._busy_since: dict[str, int] = {}
        self._seq: dict[str, int] = {}
        self._session: dict[str, int] = {}
        self._measured_from: int | None = 0 if scenario.warm_up == 0 else None
        self._measured_to: int | None = None
        self._numbers = 0
        self._open_measured = 0
        self._hear: dict[type[Any], Callable[[Any], None]] = {
            decisions.Offered: self._offered,
            decisions.Accepted: self._accepted,
            decisions.Completed: self._completed,
            decisions.Requeued: self._requeued,
            decisions.Abandoned: self._abandoned,
            decisions.Overflowed: self._blocked,
            decisions.Expired: self._blocked,
        }
        self._lots = generator(*self._seed, 700)
        self._left = scenario.contacts or 0
        self._is_measuring = scenario.warm_up == 0
        self._listener = listener

    def run(self) -> Tally:
        """Play until the end."""
        self._open()
        end = None if self._scenario.horizon is None else round(self._scenario.horizon * self._ticks)
        for _ in range(EVENTS_MAX):
            due = next_due_ms(self._state)
            if due is not None and (not self._events or due < self._events[0][0]):
                self._now = max(due, self._now)
                self._tell(events.Ticked())
                continue
            if not self._events:
                break
            at, _, kind, about = heappop(self._events)
            if end is not None and at > end and self._measured_to is None:
                self._close_measurement(end)
            self._now = at
            self._happen(kind, about)
            if self._measured_to is not None and self._open_measured == 0:
                break
        else:
            raise RuntimeError("the replication has no end")
        if self._measured_to is None:
            self._close_measurement(end if end is not None else self._now)
        return self._tally

    def _open(self) -> None:
        scenario = self._scenario
        for name, spec in scenario.queues.items():
            queue = Queue(
                queue_id=name,
                pool=POOL,
                version=1,
                priority=spec.priority,
                offer_timeout_ms=spec.offer_timeout_ms,
                wrap_up_ms=spec.wrap_up_ms,
                link_grace_ms=spec.link_grace_ms,
                service_level_ms=spec.service_level_ms,
                need=both(skills_need(tuple(sorted(spec.skills.items()))), spec.policy.need),
                policy=spec.policy,
            )
            self._tell(events.QueueSet(queue=queue))
        for place, crew in enumerate(scenario.agents):
            self._hire(crew, place)
        self._streams = []
        for place, stream in enumerate(scenario.arrivals):
            base = 1_000 + 10 * place
            self._streams.append(
                (
                    stream,
                    arrival_times(stream, generator(*self._seed, base)),
                    draws(stream.handle, generator(*self._seed, base + 1)),
                    None if stream.patience is None else draws(stream.patience, generator(*self._seed, base + 2)),
                    uniforms(generator(*self._seed, base + 3)),
                    both(stream.need, skills_need(tuple(sorted(stream.skills.items()))))
                    if stream.skills
                    else stream.need,
                )
            )
            self._next_arrival(place)
        if scenario.start_busy:
            self._start_busy()

    def _start_busy(self) -> None:
        """Begin as a loaded system would: with as many contacts as there are agents."""
        agents = sum(crew.count for crew in self._scenario.agents)
        total = sum(one.rate or 0.0 for one in self._scenario.arrivals)
        if total == 0:
            return
        for place, stream in enumerate(self._scenario.arrivals):
            for _ in range(round(agents * (stream.rate or 0.0) / total)):
                self._arrive(place, counted=False)

    def _hire(self, spec: AgentSpec, place: int) -> None:
        crew = self._tally.crews[spec.name]
        chance = uniforms(generator(*self._seed, 10 + place))
        for number in range(spec.count):
            name = f"{spec.name}-{number + 1:05d}"
            self._crew_of[name] = (crew, number, spec)
            self._busy[name] = 0
            if next(chance) > spec.flexible:
                continue
            if not spec.shifts:
                self._see(name, "available")
                self._plan_outage(name)
            for shift in spec.shifts:
                self._at(shift.start, PRESENCE, (name, "available"))
                self._at(shift.end, PRESENCE, (name, "offline"))

    def _at(self, when: float, kind: int, about: tuple[object, ...]) -> None:
        heappush(self._events, (round(when * self._ticks), next(self._order), kind, about))

    def _after(self, delay: float, kind: int, about: tuple[object, ...]) -> None:
        heappush(self._events, (self._now + round(delay * self._ticks), next(self._order), kind, about))

    def _happen(self, kind: int, about: tuple[object, ...]) -> None:
        if kind == FINISH:
            self._finish(*about)  # type: ignore[arg-type]
        elif kind == ARRIVE:
            place = about[0]
            assert isinstance(place, int)
            self._next_arrival(place)
            self._arrive(place, counted=True)
        elif kind == GIVE_UP:
            self._give_up(str(about[0]))
        elif kind == ANSWER:
            self._answer(*about)  # type: ignore[arg-type]
        elif kind == PRESENCE:
            self._see(str(about[0]), str(about[1]))
        elif kind == OUTAGE:
            self._lose_line(str(about[0]), bool(about[1]))
        else:
            place = about[0]
            assert isinstance(place, int)
            self._arrive(place, counted=True, again=True)

    def _next_arrival(self, place: int) -> None:
        at = next(self._streams[place][1], None)
        if at is not None and (self._scenario.horizon is None or at <= self._scenario.horizon):
            self._at(at, ARRIVE, (place,))

    def _arrive(self, place: int, *, counted: bool, again: bool = False) -> None:
        stream, _, handles, patiences, _, need = self._streams[place]
        handle = next(handles)
        patience = None if patiences is None else next(patiences)
        self._numbers += 1
        name = f"c{self._numbers:09d}"
        scenario = self._scenario
        if counted and scenario.contacts is not None:
            if self._measured_from is None and self._numbers > scenario.warm_up:
                self._open_measurement()
            counted = self._measured_from is not None and self._measured_to is None
        kind = self._tally.kinds[stream.name]
        if counted:
            kind.arrived += 1
            kind.drawn += handle
            kind.retried += again
            self._open_measured += 1
        self._contact[name] = (place, self._now, counted, handle)
        self._tell(
            events.ContactArrived(
                contact_id=name,
                queue_id=stream.queue,
                pool=POOL,
                channel=stream.channel,
                priority=stream.priority,
                accepted_at_ms=self._now,
                need=need,
            )
        )
        if patience is not None and name in self._state.place_of:
            self._after(patience, GIVE_UP, (name,))
        if counted and scenario.contacts is not None:
            self._left -= 1
            if self._left == 0:
                self._close_measurement(self._now)

    def _give_up(self, name: str) -> None:
        contact = self._state.contacts.get(name)
        if contact is not None and contact.state in (ContactState.QUEUED, ContactState.OFFERED):
            self._tell(events.CancelAsked(contact_id=name, reason="customer_gave_up"))

    def _answer(self, name: str, agent: str, attempt: int) -> None:
        self._ask("accept", name, agent, attempt)

    def _finish(self, name: str, agent: str, attempt: int) -> None:
        self._ask("complete", name, agent, attempt)

    def _ask(self, verb: str, name: str, agent: str, attempt: int) -> None:
        contact = self._state.contacts.get(name)
        if contact is None or (contact.holding is not None and contact.holding.attempt != attempt):
            return
        if verb == "complete" and contact.state is not ContactState.ASSIGNED:
            return
        self._tell(
            events.AgentAsked(
                verb=verb,
                command_id=f"{verb}/{name}/{attempt}",
                agent_id=agent,
                pool=POOL,
                session_no=self._session[agent],
                contact_id=name,
                attempt=attempt,
            )
        )

    def _see(self, name: str, presence: str, *, lost: bool = False) -> None:
        _, _, spec = self._crew_of[name]
        self._seq[name] = self._seq.get(name, 0) + 1
        self._session.setdefault(name, 1)
        self._tell(
            events.AgentSeen(
                agent_id=name,
                pool=POOL,
                session_no=self._session[name],
                seq=self._seq[name],
                presence=presence,
                skills=tuple(sorted(spec.skills.items())),
                units=spec.units,
                link_lost=lost,
                languages=spec.languages,
                region=spec.region,
                attributes=tuple(sorted(spec.attributes.items())),
            )
        )

    def _plan_outage(self, name: str) -> None:
        _, number, spec = self._crew_of[name]
        if spec.outages is not None:
            source = generator(*self._seed, 500, number)
            self._after(float(source.exponential(spec.outages.every)), OUTAGE, (name, True))

    def _lose_line(self, name: str, begins: bool) -> None:
        _, number, spec = self._crew_of[name]
        assert spec.outages is not None, spec
        source = generator(*self._seed, 501, number, self._seq[name])
        if begins and self._state.agents[name].presence != "offline":
            self._tally.lost_lines += 1
            self._see(name, "offline", lost=True)
            self._after(float(source.exponential(spec.outages.lasts)), OUTAGE, (name, False))
        else:
            self._see(name, "available")
            self._after(float(source.exponential(spec.outages.every)), OUTAGE, (name, True))

    def _tell(self, told: events.Input) -> None:
        state = self._state
        hear = self._hear
        decided = decide(state, told, self._now)
        if self._listener is not None:
            self._listener(state, told, decided)
        for output in decided:
            heard = hear.get(type(output))
            if heard is not None:
                heard(output)
        if state.to_score:
            self._score()
        if len(state.touched_contacts) > _NOTES_MAX:
            state.touched_contacts.clear()
            state.touched_agents.clear()
            state.fresh.clear()

    def _score(self) -> None:
        """The scorer of a simulation draws lots."""
        for name in list(self._state.to_score):
            lots = self._lots.integers(0, 1 << 30, len(self._crew_of)).tolist()
            self._tell(events.ScoresGiven(contact_id=name, scores=dict(zip(self._crew_of, lots, strict=True))))

    def _offered(self, output: decisions.Offered) -> None:
        contact = self._state.contacts[output.contact_id]
        if contact.holding is None:
            delay = 0.0
            _, number, spec = self._crew_of[output.agent_id]
            if spec.answers_after is not None:
                source = generator(*self._seed, 600, number, output.attempt, self._numbers)
                delay = next(draws(spec.answers_after, source))
            self._after(delay, ANSWER, (output.contact_id, output.agent_id, output.attempt))

    def _accepted(self, output: decisions.Accepted) -> None:
        name, agent = output.contact_id, output.agent_id
        place, came, counted, handle = self._contact[name]
        kind = self._tally.kinds[self._streams[place][0].name]
        if counted:
            kind.waits.append((self._now - came) / self._ticks)
            kind.handled += handle
            self._open_measured -= 1
            self._contact[name] = (place, came, False, handle)
        if self._busy[agent] == 0:
            self._change_busy(agent, 1)
        self._busy[agent] += 1
        speed = self._crew_of[agent][2].speed
        self._after(handle / speed, FINISH, (name, agent, output.attempt))

    def _completed(self, output: decisions.Completed) -> None:
        self._freed(output.agent_id)
        self._contact.pop(output.contact_id, None)

    def _freed(self, agent: str) -> None:
        self._busy[agent] -= 1
        if self._busy[agent] == 0:
            self._change_busy(agent, -1)

    def _requeued(self, output: decisions.Requeued) -> None:
        self._freed(output.agent_id)

    def _abandoned(self, output: decisions.Abandoned) -> None:
        place, came, counted, _ = self._contact.pop(output.contact_id)
        stream, _, _, _, chances, _ = self._streams[place]
        if counted:
            self._tally.kinds[stream.name].given_up.append((self._now - came) / self._ticks)
            self._open_measured -= 1
        if stream.retry is not None and next(chances) < stream.retry.share:
            self._after(stream.retry.after, RETRY, (place,))

    def _blocked(self, output: decisions.ContactDecision) -> None:
        place, _, counted, _ = self._contact.pop(output.contact_id)
        if counted:
            self._tally.kinds[self._streams[place][0].name].blocked += 1
            self._open_measured -= 1

    def _change_busy(self, agent: str, change: int) -> None:
        crew, number, _ = self._crew_of[agent]
        now = self._now
        if self._is_measuring:
            self._add_up(crew)
            if change < 0:
                crew.by_agent[number] += now - max(self._busy_since[agent], self._measured_from or 0)
        crew.busy += change
        crew.since = now
        if change > 0:
            self._busy_since[agent] = now

    def _add_up(self, crew: Crew) -> None:
        area = crew.busy * (self._now - crew.since)
        crew.area += area
        crew.area_squared += crew.busy * area

    def _open_measurement(self) -> None:
        self._measured_from = self._now
        self._is_measuring = True
        for crew in self._tally.crews.values():
            crew.since = self._now

    def _close_measurement(self, at: int) -> None:
        self._now = at
        begin = self._measured_from or 0
        for agent, (crew, number, _) in self._crew_of.items():
            if self._busy[agent]:
                crew.by_agent[number] += max(0, at - max(self._busy_since[agent], begin))
        for crew in self._tally.crews.values():
            self._add_up(crew)
        self._measured_to = at
        self._is_measuring = False
        self._tally.span = (at - begin) / self._ticks


_NOTES_MAX = 1_000
"""What the core notes for a shell is thrown away this often."""
