"""Which shards are ours: what was seen of the leases, and what to do about it. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil

INSTANCE_GONE_S = 3.0
"""An instance whose counter stood still for so long takes no share any more."""
INSTANCE_FORGOTTEN_S = 60.0
"""After so long its row is deleted, so that restarts leave nothing behind."""
LEFT_OVER_S = 0.2
"""A free shard that nobody with room took for so long is taken beyond the fair share."""
SURPLUS_S = 3.5
"""Surplus is given back after it lasted for so long: longer than an instance that just died still takes a share, so that
shards do not go to and fro."""
BLIND_S = 0.6
"""After a pause of our own between two looks, stillness proves nothing: the watch starts anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease row as one look found it. `locked`: some session holds the shard's advisory lock."""

    shard: int
    owner: str
    renew_counter: int
    locked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Shards to take (their lock is free), to break open (their owner stands still), and to give back."""

    take: tuple[int, ...] = ()
    break_open: tuple[int, ...] = ()
    give_back: tuple[int, ...] = ()


@dataclass(slots=True)
class Watch:
    """What this instance saw, on its own monotonic clock. No wall clock takes part."""

    me: str
    takeover_s: float
    leases: dict[int, tuple[int, float]] = field(default_factory=dict)
    instances: dict[str, tuple[int, float]] = field(default_factory=dict)
    free_since: dict[int, float] = field(default_factory=dict)
    surplus_since: float = 0.0
    looked_at: float = 0.0

    def plan(
        self,
        leases: Sequence[Lease],
        instances: dict[str, int],
        *,
        mine: set[int],
        now_s: float,
        draining: Collection[str] = (),
    ) -> Plan:
        """What to do after one look at all leases and all instances' counters.

        Who is `draining` gives everything back and takes nothing, unless nobody else is there to take it.
        """
        if now_s - self.looked_at > BLIND_S:
            self._begin_anew(now_s)
        self.looked_at = now_s
        alive = self._alive(instances, now_s)
        staying = alive - set(draining)
        if staying and self.me not in staying:
            return Plan(give_back=tuple(sorted(mine)))
        share = ceil(len(leases) / max(1, len(staying or alive)))
        take: list[int] = []
        broken: list[int] = []
        room = share - len(mine)
        for lease in sorted(leases, key=lambda one: one.shard):
            if lease.shard in mine:
                self.free_since.pop(lease.shard, None)
            elif not lease.locked:
                since = self.free_since.setdefault(lease.shard, now_s)
                if room > 0 or now_s - since >= LEFT_OVER_S:
                    take.append(lease.shard)
                    room -= 1
            else:
                self.free_since.pop(lease.shard, None)
                if self._stands_still(lease, now_s):
                    broken.append(lease.shard)
        surplus = sorted(mine)[share:]
        if not surplus or take or broken:
            self.surplus_since = now_s
        if now_s - self.surplus_since < SURPLUS_S:
            surplus = []
        return Plan(take=tuple(take), break_open=tuple(broken), give_back=tuple(surplus))

    def _begin_anew(self, now_s: float) -> None:
        """Forget what stood still while we did not look. Who was gone before stays gone until it moves."""
        self.leases.clear()
        self.free_since.clear()
        self.surplus_since = now_s
        for name, (counter, since) in self.instances.items():
            if self.looked_at - since < INSTANCE_GONE_S:
                self.instances[name] = (counter, now_s)

    def _stands_still(self, lease: Lease, now_s: float) -> bool:
        counter, since = self.leases.get(lease.shard, (-1, now_s))
        if counter != lease.renew_counter:
            self.leases[lease.shard] = (lease.renew_counter, now_s)
            return False
        return now_s - since >= self.takeover_s

    def _alive(self, instances: dict[str, int], now_s: float) -> set[str]:
        alive = {self.me}
        for name, counter in instances.items():
            known, since = self.instances.get(name, (None, now_s))
            if known != counter:
                since = now_s
                self.instances[name] = (counter, since)
            if now_s - since < INSTANCE_GONE_S:
                alive.add(name)
        return alive

    def long_gone(self) -> list[str]:
        """Instances whose counters stood still so long that their rows may go."""
        return sorted(
            name
            for name, (_, since) in self.instances.items()
            if name != self.me and self.looked_at - since > INSTANCE_FORGOTTEN_S
        )
