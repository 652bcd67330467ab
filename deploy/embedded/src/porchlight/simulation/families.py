"""Which families of cases there are, and how each becomes scenarios."""

from collections.abc import Callable, Mapping
from typing import Any

from porchlight.simulation import cases, more_cases
from porchlight.simulation.cases import Trial, UnknownCase

FAMILIES: dict[str, Callable[[Mapping[str, Any]], list[Trial]]] = {
    "erlang_b": cases.erlang_b,
    "erlang_c": cases.erlang_c,
    "erlang_c_staffing": cases.staffing,
    "mmck": cases.mmck,
    "erlang_a": cases.erlang_a,
    "garnett_qed": cases.large,
    "halfin_whitt": cases.large,
    "cobham_mmc_np": cases.priorities,
    "cobham_mg1_np": cases.priorities_mg1,
    "mg1_fcfs": cases.mg1,
    "ordered_hunt_loss": cases.ordered_hunt,
    "overflow_moments": cases.overflow_moments,
    "skills_fcfs_alis": cases.skills,
    "sim_wallace_whitt": more_cases.wallace_whitt,
    "sim_fixed_queue_ratio": more_cases.fixed_ratio,
    "sim_skills_mixed": more_cases.mixed,
    "published_montreal": more_cases.published,
}


def trials_of(case: Mapping[str, Any]) -> list[Trial]:
    """The scenarios of a case. Raises `UnknownCase`."""
    build = FAMILIES.get(case.get("family", ""))
    if build is None:
        raise UnknownCase(f"family {case.get('family')!r} is not one of {', '.join(sorted(FAMILIES))}")
    try:
        return build(case)
    except KeyError as why:
        raise UnknownCase(f"{why} is missing") from why
