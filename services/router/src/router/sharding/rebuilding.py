"""A shard's memory from its rows, a slice at a time: the loop that renews leases, and the other shards, go on in between."""

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar
from weakref import WeakKeyDictionary

import msgspec
import structlog

from common.contracts.needs import size_faults
from common.contracts.policies import ANYBODY, Need
from router import metrics
from router.core.index.state import State
from router.core.invariants import checking
from router.core.model.agent import Agent
from router.core.model.contact import Contact
from router.core.model.queue import Queue
from router.core.restore import restoring

log = structlog.get_logger()

DECODED_TOGETHER = 250
"""Rows that are decoded in one slice."""
NOBODY = Need(not_=ANYBODY)
"""The need of a contact whose own cannot be walked: it waits, can be cancelled, and hurts nobody."""

_agent = msgspec.json.Decoder(Agent)
_contact = msgspec.json.Decoder(Contact)
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
_pauses = 0

Value = TypeVar("Value")


async def rebuild(
    *,
    queues: Sequence[Queue],
    agents: Sequence[str],
    contacts: Sequence[str],
    ended: dict[str, int],
    now_ms: int,
    elsewhere: Mapping[str, tuple[int, ...]],
    got_on: Callable[[], None],
) -> State:
    """The core's state from its values, agents and contacts as the JSON that is kept of them; checked.

    `elsewhere`: units of the agents that contacts of other shards take. `got_on` is called after each slice.

    Raises `AssertionError` when the values do not fit together. A contact that cannot be decoded is left out, and said.
    """
    state = State(now_ms=now_ms, ended=ended)
    crew: list[Agent] = []
    live: list[Contact] = []
    slices = chain(
        _decoding(agents, _agent, crew),
        _decoding(contacts, _contact, live),
        _bounding(live),
        restoring(state, queues=queues, agents=crew, contacts=live, elsewhere=elsewhere),
        checking(state),
    )
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    with _collection_paused():
        while True:
            async with turn:  # one slice of all rebuilds in a round of the loop, however many shards are taken at once
                if next(slices, True):
                    return state
            got_on()
            await asyncio.sleep(0)


def _decoding(docs: Sequence[str], decoder: "msgspec.json.Decoder[Value]", to: list[Value]) -> Iterator[None]:
    for number, doc in enumerate(docs):
        try:
            to.append(decoder.decode(doc))
        except (msgspec.MsgspecError, RecursionError) as why:
            metrics.left_out.labels("undecodable").inc()
            log.error("kept_value_left_out", doc=doc[:60], why=type(why).__name__)
        if number % DECODED_TOGETHER == DECODED_TOGETHER - 1:
            yield


def _bounding(contacts: list[Contact]) -> Iterator[None]:
    """Needs that came in before they were judged at the border, and could hurt whoever walks them, become `NOBODY`."""
    for number, contact in enumerate(contacts):
        if contact.need is not ANYBODY and size_faults(contact.need):
            contact.need = NOBODY
            metrics.left_out.labels("need").inc()
            log.error("kept_need_left_out", contact_id=contact.contact_id)
        if number % DECODED_TOGETHER == DECODED_TOGETHER - 1:
            yield


@contextmanager
def _collection_paused() -> Iterator[None]:
    """No garbage collection: a hundred thousand new values would be looked through for cycles again and again."""
    global _pauses
    _pauses += 1
    gc.disable()
    try:
        yield
    finally:
        _pauses -= 1
        if _pauses == 0:
            gc.enable()
