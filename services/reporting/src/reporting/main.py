"""Composition root of reporting: the only place that builds."""

from common.contracts.topics import AGENTS, CONFIG, CONTACTS, ROUTING
from common.runtime import service
from common.runtime.service import Service
from reporting.adapters.figures import PostgresFigures
from reporting.adapters.read_models import PostgresReadModels
from reporting.adapters.sampling import Sampler
from reporting.api import add_routes
from reporting.config import SCHEMA, Settings
from reporting.consumers import apply


def run() -> None:
    """Run reporting until it is told to stop."""
    service.run(Settings, _main, name="reporting", schema=SCHEMA, connections=1)


async def _main(own: Service[Settings]) -> None:
    figures = PostgresFigures(own.engine(size=4))
    follower = own.follower(CONFIG, CONTACTS, AGENTS, ROUTING, tables=PostgresReadModels, apply=apply)
    app = own.app(title="Porchlight reporting", description="Figures and journeys.")
    links = [pair.partition("=")[::2] for pair in own.settings.status_links.split(",") if pair]
    add_routes(app, figures=figures, verifier=own.verifier, clock=own.clock, links=links)
    await own.serve(app, follower.run, Sampler(figures, own.clock).run)
