"""The envelope of a fact: CloudEvents 1.0, Kafka binary mode (attributes are headers, the value is the fact's JSON)."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

Headers = tuple[tuple[str, bytes], ...]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Who says what, when, and because of what.

    `event_id` is made before the first attempt to publish, so that a repetition is recognisable. `sequence` and
    `epoch` are set on routing facts only: the gapless place in the shard's log, and the reign that wrote it.
    """

    event_id: str
    type: str
    occurred_at_ms: int
    key: str
    producer: str
    correlation_id: str = ""
    sequence: int | None = None
    epoch: int | None = None


class BadEnvelope(ValueError):
    """The headers do not make an envelope."""


def to_headers(envelope: Envelope) -> Headers:
    """CloudEvents attributes as Kafka headers, in a fixed order."""
    moment = datetime.fromtimestamp(envelope.occurred_at_ms / 1000, UTC)
    values: list[tuple[str, str]] = [
        ("ce_specversion", "1.0"),
        ("ce_id", envelope.event_id),
        ("ce_type", envelope.type),
        ("ce_source", f"/porchlight/{envelope.producer}"),
        ("ce_subject", envelope.key),
        ("ce_time", moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
        ("content-type", "application/json"),
    ]
    if envelope.correlation_id:
        values.append(("ce_correlationid", envelope.correlation_id))
    if envelope.sequence is not None:
        values.append(("ce_sequence", str(envelope.sequence)))
    if envelope.epoch is not None:
        values.append(("ce_epoch", str(envelope.epoch)))
    return tuple((name, value.encode()) for name, value in values)


def from_headers(headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """The envelope that `to_headers` wrote; unknown headers are ignored. Raises `BadEnvelope`."""
    try:
        found = {name: value.decode() for name, value in headers}
        if found["ce_specversion"] != "1.0":
            raise BadEnvelope(f"CloudEvents version {found['ce_specversion']} is not 1.0")
        moment = datetime.fromisoformat(found["ce_time"].replace("Z", "+00:00"))
        sequence, epoch = found.get("ce_sequence"), found.get("ce_epoch")
        return Envelope(
            event_id=found["ce_id"],
            type=found["ce_type"],
            occurred_at_ms=round(moment.timestamp() * 1000),
            key=found.get("ce_subject", ""),
            producer=found["ce_source"].rpartition("/")[2],
            correlation_id=found.get("ce_correlationid", ""),
            sequence=None if sequence is None else int(sequence),
            epoch=None if epoch is None else int(epoch),
        )
    except BadEnvelope:
        raise
    except (KeyError, ValueError) as why:
        raise BadEnvelope(f"not a CloudEvents 1.0 envelope: {why!r}") from why
