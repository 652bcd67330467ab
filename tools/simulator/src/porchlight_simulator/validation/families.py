"""Which families of cases there are, and how each becomes scenarios."""

from collections.abc import Callable, Mapping
from typing import Any

from porchlight_simulator.validation import exact_cases, simulated_cases
from porchlight_simulator.validation.exact_cases import Trial, UnknownCase

FAMILIES: dict[str, Callable[[Mapping[str, Any]], list[Trial]]] = {
    "erlang_b": exact_cases.erlang_b,
    "erlang_c": exact_cases.erlang_c,
    "erlang_c_staffing": exact_cases.staffing,
    "mmck": exact_cases.mmck,
    "erlang_a": exact_cases.erlang_a,
    "garnett_qed": exact_cases.large,
    "halfin_whitt": exact_cases.large,
    "cobham_mmc_np": exact_cases.priorities,
    "cobham_mg1_np": exact_cases.priorities_mg1,
    "mg1_fcfs": exact_cases.mg1,
    "ordered_hunt_loss": exact_cases.ordered_hunt,
    "overflow_moments": exact_cases.overflow_moments,
    "skills_fcfs_alis": exact_cases.skills,
    "sim_wallace_whitt": simulated_cases.wallace_whitt,
    "sim_fixed_queue_ratio": simulated_cases.fixed_ratio,
    "sim_skills_mixed": simulated_cases.mixed,
    "published_montreal": simulated_cases.published,
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
