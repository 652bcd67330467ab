"""What the router's administration learns from facts: which skills exist."""

from collections.abc import Sequence

from common.contracts.config import SkillDefined
from common.runtime.bus import Incoming
from router.policies.ports import Skills


async def know_skills(tables: Skills, records: Sequence[Incoming]) -> None:
    """The effect of the facts, inside the caller's transaction."""
    skills = [record.fact.skill for record in records if isinstance(record.fact, SkillDefined)]
    if skills:
        await tables.know(skills)
