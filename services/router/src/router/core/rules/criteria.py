"""Whether an agent is what a contact needs. Needs are trees of all, any and not; see `Need`."""

from collections.abc import Iterator
from typing import NamedTuple

from common.contracts.policies import ANYBODY, Need


class Traits(NamedTuple):
    """What agents have in common who can do the same. `agent`: the id of one who is asked for by name, else empty."""

    pool: str
    skills: tuple[tuple[str, int], ...]
    languages: tuple[str, ...]
    region: str
    attributes: tuple[tuple[str, str], ...]
    agent: str


def is_met(need: Need, traits: Traits) -> bool:
    """Whether an agent with these traits meets the need."""
    if need.skill:
        level = dict(traits.skills).get(need.skill)
        if level is None or not need.min_level <= level <= need.max_level:
            return False
    return (
        (not need.language or need.language in traits.languages)
        and (not need.region or need.region == traits.region)
        and (not need.attribute or (need.attribute, need.value) in traits.attributes)
        and (not need.agent or need.agent == traits.agent)
        and all(is_met(part, traits) for part in need.all)
        and (not need.any or any(is_met(part, traits) for part in need.any))
        and (need.not_ is None or not is_met(need.not_, traits))
    )


def both(first: Need, second: Need) -> Need:
    """The need that is met when both are."""
    if second is ANYBODY:
        return first
    if first is ANYBODY or first in (ANYBODY, second):
        return second
    if second == ANYBODY:
        return first
    return Need(all=(first, second))


def either(first: Need, second: Need) -> Need:
    """The need that is met when one of them is."""
    return ANYBODY if ANYBODY in (first, second) else Need(any=(first, second))


def skills_need(requirements: tuple[tuple[str, int], ...]) -> Need:
    """Every skill at its level or better."""
    needs = tuple(Need(skill=skill, min_level=level) for skill, level in requirements)
    return needs[0] if len(needs) == 1 else Need(all=needs)


def named_agents(need: Need) -> Iterator[str]:
    """Agents that the need asks for, or rules out, by name."""
    for part in parts(need):
        if part.agent:
            yield part.agent


def skills_of(need: Need) -> list[str]:
    """Skills that the need speaks of, in the order in which it does, but not those that it rules out."""
    if need.not_ is not None:
        need = Need(skill=need.skill, all=need.all, any=need.any)
    found = [need.skill] if need.skill else []
    for part in (*need.all, *need.any):
        found.extend(skill for skill in skills_of(part) if skill not in found)
    return found


def parts(need: Need) -> Iterator[Need]:
    """The need and everything inside it."""
    yield need
    for part in (*need.all, *need.any, *(() if need.not_ is None else (need.not_,))):
        yield from parts(part)
