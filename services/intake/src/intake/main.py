"""Composition root of intake: the only place that builds."""

from common.contracts.topics import CONFIG, ROUTING
from common.runtime import service
from common.runtime.rates import RequestRate
from common.runtime.service import Service
from intake.adapters.catalogue import PostgresCatalogue
from intake.adapters.contacts import PostgresContacts
from intake.adapters.keys import PostgresKeys
from intake.adapters.projections import PostgresProjections, PostgresRepeats
from intake.admin_api import add_admin_routes
from intake.api import add_routes
from intake.config import SCHEMA, Settings
from intake.consumers import apply
from intake.errors import MISSING_HEADERS
from intake.handlers import Accepting, Reconciler
from intake.limits import Waiting


def run() -> None:
    """Run intake until it is told to stop."""
    service.run(Settings, _main, name="intake", schema=SCHEMA, connections=6)


async def _main(own: Service[Settings]) -> None:
    settings, pool, clock = own.settings, own.pool, own.clock
    outbox = own.outbox()
    follower = own.follower(CONFIG, ROUTING, tables=PostgresProjections, apply=apply)
    reconciler = Reconciler(repeats=PostgresRepeats(pool), clock=clock, after_ms=settings.reconcile_after_ms)
    app = own.app(title="Porchlight intake", description="Post contacts and follow them.", missing=MISSING_HEADERS)
    contacts = PostgresContacts(pool)
    keys = PostgresKeys(pool, pepper=settings.key_pepper.get_secret_value())
    add_routes(
        app,
        accepting=Accepting(
            contacts=contacts,
            catalogue=PostgresCatalogue(pool),
            relay=outbox,
            clock=clock,
            waiting=Waiting(contacts, waiting_max=settings.waiting_max),
        ),
        contacts=contacts,
        keys=keys,
        rate=RequestRate(per_s=settings.key_requests_per_s, burst=settings.key_burst),
        verifier=own.verifier,
        relay=outbox,
        clock=clock,
    )
    add_admin_routes(app, keys=keys, verifier=own.verifier, clock=clock)
    await own.serve(app, outbox.run, follower.run, reconciler.run, keys.run)
