"""Many replications on all cores; the same seed gives the same figures, whatever the number of cores."""

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from porchlight_simulator.scenario import Scenario
from porchlight_simulator.statistics import Row, rows
from porchlight_simulator.world import World

Job = tuple[Scenario, int]


def play(job: Job) -> dict[str, Row]:
    """One replication's figures."""
    scenario, replication = job
    gc.disable()  # the core makes no cycles; looking for them would cost a tenth of the time
    try:
        return rows(scenario, World(scenario, replication).run())
    finally:
        gc.enable()


def play_all(jobs: Sequence[Job]) -> Iterator[dict[str, Row]]:
    """Every job's figures, in the order of the jobs."""
    with ProcessPoolExecutor(max_workers=min(len(jobs), os.cpu_count() or 1)) as pool:
        yield from pool.map(play, jobs)
