"""Facts to bytes and back. Readers ignore unknown fields; an unknown type is not an error but `None`."""

import msgspec

from common.contracts.topics import CATALOGUE


class BadFact(ValueError):
    """The bytes are not the fact that the envelope's type promises."""


_encoder = msgspec.json.Encoder(order="deterministic")
TYPES: dict[str, type[msgspec.Struct]] = {
    str(fact.__struct_config__.tag): fact for topic in CATALOGUE for fact in topic.facts
}
_decoders = {name: msgspec.json.Decoder(fact) for name, fact in TYPES.items()}


def type_of(fact: msgspec.Struct) -> str:
    """The wire type, for example `offer.made`."""
    return str(fact.__struct_config__.tag)


def encode(fact: msgspec.Struct) -> bytes:
    """JSON with a `type` field; the same fact gives the same bytes."""
    return _encoder.encode(fact)


def decode(type_name: str, value: bytes) -> msgspec.Struct | None:
    """The fact, or None for a type this release does not know. Raises `BadFact`."""
    decoder = _decoders.get(type_name)
    if decoder is None:
        return None
    try:
        return decoder.decode(value)
    except RecursionError as why:
        raise BadFact(f"{type_name}: nested too deep") from why
    except msgspec.MsgspecError as why:
        raise BadFact(f"{type_name}: {why}") from why
