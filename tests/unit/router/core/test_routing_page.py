"""docs/routing.md is true: every policy with its story is played with the core."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.contracts.policies import Need, QueuePolicy
from router.core import State, step
from router.core.model import decisions, events
from router.core.model.queue import Queue
from router.policies.validation import Known, vet

PAGE = Path(__file__).parents[4] / "docs" / "routing.md"
EXAMPLE = re.compile(r"```json\n(.*?)```\s+```story\n(.*?)```", re.S)
EXAMPLES = EXAMPLE.findall(PAGE.read_text())
SAID = {
    decisions.Offered: "{0.contact_id} offered to {0.agent_id}",
    decisions.Accepted: "{0.contact_id} accepted by {0.agent_id}",
    decisions.Rescinded: "{0.contact_id} rescinded from {0.agent_id}",
    decisions.Requeued: "{0.contact_id} requeued from {0.agent_id}",
    decisions.Transferred: "{0.contact_id} transferred from {0.agent_id}",
    decisions.StepJoined: "{0.contact_id} joined step {0.step}",
    decisions.StepExpired: "{0.contact_id} expired step {0.step}",
    decisions.Escalated: "{0.contact_id} escalated to {0.priority}",
    decisions.Overflowed: "{0.contact_id} overflowed: {0.reason}",
    decisions.CallbackArranged: "{0.contact_id} becomes a callback",
    decisions.OfferDenied: "{0.agent_id} denied: {0.reason}",
    decisions.Refused: "refused: {0.reason}",
}


def queue(queue_id: str, policy: QueuePolicy) -> Queue:
    return Queue(
        queue_id=queue_id,
        pool="p",
        version=1,
        priority=0,
        offer_timeout_ms=3_600_000,
        wrap_up_ms=0,
        link_grace_ms=15_000,
        service_level_ms=20_000,
        need=policy.need,
        policy=policy,
    )


class Story:
    """Plays the lines of a story and notes what the router said after each."""

    def __init__(self, policy: QueuePolicy) -> None:
        self.state, self.now_ms, self.seqs = State(), 0, 0
        self.told: list[str] = []
        self.tell(events.QueueSet(queue=queue("other", QueuePolicy(need=Need(skill="other")))))
        self.tell(events.QueueSet(queue=queue("q", policy)))

    def tell(self, one: events.Input) -> None:
        for said in step(self.state, one, self.now_ms):
            text = SAID.get(type(said))
            if text is not None:
                self.told.append("-> " + text.format(said))

    def line(self, line: str) -> None:
        words = line.split()
        match words:
            case ["agent", name, *rest]:
                self.agent(name, dict(word.split("=", 1) for word in rest))
            case ["contact", name, *rest]:
                self.contact(name, dict(word.split("=", 1) for word in rest))
            case ["at", seconds]:
                self.now_ms = round(float(seconds) * 1_000)
                self.tell(events.Ticked())
            case ["scores", name, *rest]:
                scores = {agent: int(value) for agent, value in (word.split(":") for word in rest)}
                self.tell(events.ScoresGiven(contact_id=name, scores=scores))
            case ["open" | "close" as what]:
                self.tell(events.QueueOpened(queue_id="q", is_open=what == "open"))
            case [agent, "accepts", name]:
                self.ask("accept", agent, name)
            case [agent, "transfers", name, "to", target]:
                self.ask("transfer", agent, name, to_agent=target)
            case _:
                raise AssertionError(f"no such line in a story: {line}")

    def agent(self, name: str, given: dict[str, str]) -> None:
        self.seqs += 1
        pairs = {
            field: tuple(sorted(tuple(one.split(":")) for one in given.pop(field, "").split(",") if one))
            for field in ("skills", "attributes")
        }
        values: dict[str, Any] = {"presence": given.pop("presence", "available"), "units": int(given.pop("units", 6))}
        values["languages"] = tuple(filter(None, given.pop("languages", "").split(",")))
        values["region"] = given.pop("region", "")
        values.update({field: int(value) for field, value in given.items()})
        self.tell(
            events.AgentSeen(
                agent_id=name,
                pool="p",
                session_no=1,
                seq=self.seqs,
                link_lost=False,
                skills=tuple((skill, int(level)) for skill, level in pairs["skills"]),
                attributes=pairs["attributes"],
                **values,
            )
        )

    def contact(self, name: str, given: dict[str, str]) -> None:
        need = Need(skill=given["need"]) if "need" in given else Need()
        self.tell(
            events.ContactArrived(
                contact_id=name,
                queue_id="q",
                pool="p",
                channel=given.get("channel", "voice"),
                priority=int(given.get("priority", 0)),
                accepted_at_ms=self.now_ms,
                need=need,
                last_agent=given.get("last_agent", ""),
            )
        )

    def ask(self, verb: str, agent: str, name: str, **more: str) -> None:
        contact = self.state.contacts[name]
        offers = contact.offers if contact.holding is None else [contact.holding]
        (attempt,) = [one.attempt for one in offers if one.agent_id == agent]
        self.seqs += 1
        self.tell(
            events.AgentAsked(
                verb=verb,
                command_id=f"k{self.seqs}",
                agent_id=agent,
                pool="p",
                session_no=1,
                contact_id=name,
                attempt=attempt,
                **more,
            )
        )


@pytest.mark.parametrize(("policy", "story"), EXAMPLES, ids=[re.sub(r"\W+", "-", one[0])[:50] for one in EXAMPLES])
def test_the_example_is_what_happens(policy: str, story: str) -> None:
    value = msgspec.json.decode(policy, type=QueuePolicy)
    known = Known(skills=None, queues={"other": QueuePolicy()}, scorers=frozenset({"lifetime_value"}))
    assert vet("q", Need(), value, known) == []
    played = Story(value)

    for line in story.splitlines():
        if line.startswith("->"):
            assert played.told and played.told.pop(0) == line, f"{line}; the router said {played.told}"
        else:
            assert played.told == [], f"before '{line}' the router also said {played.told}"
            played.line(line)
    assert played.told == []


def test_every_part_of_a_policy_has_its_place_on_the_page() -> None:
    text = PAGE.read_text()

    missing = [name for name in QueuePolicy.__struct_fields__ if name not in text]
    assert missing == []
    assert len(EXAMPLES) == PAGE.read_text().count("```story") > 15
