"""Every advisory lock that services take in PostgreSQL, so that no two mean different things by one number.

Locks are per database, and each service has a database of its own; the numbers differ all the same, because databases can be put
together.
"""

from zlib import crc32

MIGRATIONS = 7_318_001
"""One migration job at a time."""
SHARDS = 7_318_002
"""A class of locks: with it a shard's number, held by the session of the shard's owner."""
SWEEPS = 7_318_003
"""One replica of agent-presence at a time ends what ran out."""
QUEUE_CHANGES = 7_318_004
"""A class of locks: with it the hash of a pool's name. Queues of a pool are changed one after the other."""


def follower(name: str) -> int:
    """Held by the session of the replica that applies facts for everybody under that name."""
    return crc32(f"follower/{name}".encode())
