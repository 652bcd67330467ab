"""Turns the figures of the last hour into metrics, now and then."""

import asyncio

import structlog

from common.runtime.clock import Clock
from common.runtime.failures import Retryable
from reporting import metrics
from reporting.ports import Figures

log = structlog.get_logger()

EVERY_S = 15.0
FORMULA = "sl.2"


class Sampler:
    """One round is one pass over the hour's stays and over who is there now."""

    def __init__(self, figures: Figures, clock: Clock) -> None:
        self._figures = figures
        self._clock = clock

    async def run(self) -> None:
        """Sample until cancelled; while the database is away the last figures stay."""
        while True:
            try:
                await self.sample()
            except Retryable as why:
                log.warning("figures_not_sampled", why=str(why))
            await asyncio.sleep(EVERY_S)

    async def sample(self) -> None:
        """Work the figures out once."""
        now_ms = self._clock.now_ms()
        from_ms = now_ms - metrics.WINDOW_S * 1_000
        rows, as_of_ms = await self._figures.by_queue(from_ms=from_ms)
        metrics.behind_seconds.set(max(0, now_ms - as_of_ms) / 1000)
        for row in rows:
            queue = row["queue_id"]
            metrics.offered.labels(queue).set(row["offered"])
            metrics.answered.labels(queue).set(row["answered"])
            metrics.abandoned.labels(queue).set(row["abandoned"])
            metrics.waiting.labels(queue).set(row["waiting"])
            metrics.scheduled.labels(queue).set(row["scheduled"])
            since_ms = row["waiting_since_ms"]
            metrics.oldest_seconds.labels(queue).set(0 if since_ms is None else max(0, now_ms - since_ms) / 1000)
            level, asa_ms = row["service_level"], row["asa_ms"]
            metrics.service_level.labels(queue, FORMULA).set(float("nan") if level is None else level)
            metrics.asa_seconds.labels(queue).set(float("nan") if asa_ms is None else asa_ms / 1000)
