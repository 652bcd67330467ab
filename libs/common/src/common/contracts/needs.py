"""Whether a need may cross a border: the one test for posts, transfers, policies and files.

A need is a tree that somebody outside wrote, and the router walks it for every profile of agents. So its size is bounded
before anybody walks it, its words are plain text, and what nobody could ever meet is refused while its author listens.
"""

from collections.abc import Collection, Iterator

import msgspec

from common.contracts.agents import AGENT_ID_CHARS_MAX
from common.contracts.policies import Need

PARTS_MAX = 64
"""Parts of one need, itself counted; one with more is refused."""
DEPTH_MAX = 8
"""How deep needs may lie inside each other: one without `all`, `any` and `not` has depth 1."""
WORD_CHARS_MAX = 64
"""Of a skill, language, region, attribute or value, as where agents are defined; of an agent it is `AGENT_ID_CHARS_MAX`."""
LEVEL_MAX = 100
NESTING_MAX = 32
"""Lists and objects inside each other in anything that may hold needs (a policy, a file), looked at before it is read."""
TEXTS = ("skill", "language", "region", "attribute", "value", "agent")


class BadNeed(ValueError):
    """A need that is refused. The text gives the reasons, and holds nothing that JSON cannot carry."""


def read_need(value: object, *, skills: Collection[str] | None = None) -> Need:
    """The need that a border was given as JSON values. Raises `BadNeed` with everything that is wrong.

    `skills`: those that exist; None where the border does not know them.
    """
    if is_nested_too_deep(value):
        raise BadNeed(f"is nested more than {NESTING_MAX} levels deep")
    try:
        need = msgspec.convert(value, Need)
    except (msgspec.ValidationError, UnicodeError) as why:
        raise BadNeed(_plain(str(why))) from why
    found = need_faults(need, skills=skills)
    if found:
        raise BadNeed("; ".join(found))
    return need


def is_nested_too_deep(value: object) -> bool:
    """Whether lists and objects lie deeper in each other than `NESTING_MAX`. Never deeper in calls itself."""
    level: dict[int, object] = {id(value): value}
    for _ in range(NESTING_MAX):
        # by identity: what a file names twice is looked at once, else aliases of aliases would double at each level
        level = {
            id(inner): inner for one in level.values() for inner in _inside(one) if isinstance(inner, (dict, list))
        }
        if not level:
            return False
    return True


def need_faults(need: Need, *, skills: Collection[str] | None = None) -> list[str]:
    """Why the need is refused, each reason once; nothing for one that is fine."""
    found = size_faults(need)
    if found:
        return found
    for part in parts(need):
        if part.skill and skills is not None and part.skill not in skills:
            found.append(f"there is no skill {part.skill}")
        if not 0 <= part.min_level <= part.max_level <= LEVEL_MAX:
            found.append(f"levels must lie within 0 to {LEVEL_MAX}, the lower one first")
        if bool(part.attribute) != bool(part.value):
            found.append("an attribute needs a value, and a value an attribute")
    if not found and is_impossible(need):
        found.append("contradicts itself: nobody could ever meet it")
    return list(dict.fromkeys(found))


def size_faults(need: Need) -> list[str]:
    """Why the need could hurt whoever walks it or writes it down: too large, too deep, or words that are no plain text."""
    level, depth, seen = [need], 0, 0
    while level:
        depth, seen = depth + 1, seen + len(level)
        if depth > DEPTH_MAX:
            return [f"has needs inside each other more than {DEPTH_MAX} deep"]
        if seen > PARTS_MAX:
            return [f"has more than {PARTS_MAX} parts"]
        level = [inner for one in level for inner in _needs_inside(one)]
    found = []
    for part in parts(need):
        for name in TEXTS:
            text = getattr(part, name)
            chars_max = AGENT_ID_CHARS_MAX if name == "agent" else WORD_CHARS_MAX
            if text and (len(text) > chars_max or not text.isprintable()):
                found.append(f"{name} must be at most {chars_max} characters that can be printed")
    return list(dict.fromkeys(found))


def parts(need: Need) -> Iterator[Need]:
    """The need and everything inside it, however deep."""
    left = [need]
    while left:
        part = left.pop()
        yield part
        left.extend(reversed(_needs_inside(part)))


def is_impossible(need: Need) -> bool:
    """Whether no agent could ever meet the need, as far as that is seen without trying agents: its own parts contradict.

    For needs within the bounds above; the work is at most the number of parts times their depth.
    """
    return _is_impossible(need, ())


def _is_impossible(need: Need, given: tuple[Need, ...]) -> bool:
    """`given`: what must hold besides."""
    together = (*given, *_all_of(need))
    low: dict[str, int] = {}
    high: dict[str, int] = {}
    single: dict[str, str] = {}
    for part in together:
        if part.skill:
            low[part.skill] = max(low.get(part.skill, 0), part.min_level)
            high[part.skill] = min(high.get(part.skill, LEVEL_MAX), part.max_level)
            if low[part.skill] > high[part.skill]:
                return True
        for kind, name in (("region", part.region), ("agent", part.agent), (f"={part.attribute}", part.value)):
            if name and single.setdefault(kind, name) != name:
                return True
    languages = {part.language for part in together}
    for part in together[len(given) :]:
        if part.any and all(_is_impossible(one, together) for one in part.any):
            return True
    for part in together:
        no = part.not_
        if no is None or no.all or no.any or no.not_ is not None:
            continue
        skill_is_sure = not no.skill or (
            no.skill in low and no.min_level <= low[no.skill] and high[no.skill] <= no.max_level
        )
        if (
            skill_is_sure
            and (not no.language or no.language in languages)
            and (not no.region or single.get("region") == no.region)
            and (not no.agent or single.get("agent") == no.agent)
            and (not no.attribute or single.get(f"={no.attribute}") == no.value)
        ):
            return True  # what is ruled out is just what is asked for
    return False


def _all_of(need: Need) -> Iterator[Need]:
    """The need and those that must hold with it."""
    yield need
    for part in need.all:
        yield from _all_of(part)


def _needs_inside(need: Need) -> tuple[Need, ...]:
    return (*need.all, *need.any, *(() if need.not_ is None else (need.not_,)))


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _plain(text: str) -> str:
    """Text from outside that can be shown in any answer."""
    return text[:500].encode("ascii", "backslashreplace").decode()
