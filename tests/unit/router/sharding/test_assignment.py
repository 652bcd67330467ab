"""Who takes, breaks open and gives back which shards."""

from router.sharding.assignment import Lease, Plan, Watch

SHARDS = 12


def leases(*, locked: set[int], counter: int = 1) -> list[Lease]:
    return [
        Lease(
            shard=n, owner="x" if n in locked else "", renew_counter=counter if n in locked else 0, locked=n in locked
        )
        for n in range(SHARDS)
    ]


def test_a_lone_instance_takes_every_free_shard_at_once() -> None:
    plan = Watch(me="a", takeover_s=1.5).plan(leases(locked=set()), {"a": 1}, mine=set(), now_s=10.0)

    assert plan == Plan(take=tuple(range(SHARDS)))


def test_two_instances_take_half_each_and_the_rest_only_when_nobody_wants_it() -> None:
    watch = Watch(me="a", takeover_s=1.5)

    first = watch.plan(leases(locked=set()), {"a": 1, "b": 1}, mine=set(), now_s=10.0)
    taken = set(first.take)
    later = watch.plan(leases(locked=taken), {"a": 2, "b": 2}, mine=taken, now_s=10.1)
    left_over = watch.plan(leases(locked=taken), {"a": 3, "b": 3}, mine=taken, now_s=10.4)

    assert len(taken) == SHARDS // 2
    assert later == Plan()
    assert set(left_over.take) == set(range(SHARDS)) - taken


def test_an_owner_that_stands_still_is_broken_open_after_the_takeover_time() -> None:
    watch = Watch(me="a", takeover_s=1.5)
    mine = set(range(6))
    plans = [
        watch.plan(leases(locked=set(range(SHARDS))), {"a": n, "b": 1}, mine=mine, now_s=10 + n / 10) for n in range(17)
    ]

    broken = [n for n, plan in enumerate(plans) if plan.break_open]

    assert broken == [15, 16]
    assert plans[-1].break_open == tuple(range(6, SHARDS))


def test_an_owner_that_renews_is_left_alone() -> None:
    watch = Watch(me="a", takeover_s=1.5)

    plans = [
        watch.plan(leases(locked={7}, counter=n // 5), {"a": n, "b": n}, mine=set(range(6)), now_s=10 + n / 10)
        for n in range(60)
    ]

    assert not [plan for plan in plans if plan.break_open]


def test_after_a_pause_of_our_own_stillness_proves_nothing() -> None:
    watch = Watch(me="a", takeover_s=1.5)
    watch.plan(leases(locked={7}), {"a": 1}, mine=set(), now_s=10.0)

    plan = watch.plan(leases(locked={7}), {"a": 1}, mine=set(), now_s=60.0)

    assert plan.break_open == ()


def looks(watch: Watch, *, mine: set[int], other_moves: bool, times: int, start_s: float = 10.0) -> list[Plan]:
    """Plans of looks a tenth of a second apart, with another instance that lives or is dead."""
    everything = set(range(SHARDS))
    return [
        watch.plan(
            leases(locked=everything, counter=n),
            {"a": n, "b": n if other_moves else 1},
            mine=mine,
            now_s=start_s + n / 10,
        )
        for n in range(times)
    ]


def test_surplus_is_given_back_when_another_instance_lives_on() -> None:
    plans = looks(Watch(me="a", takeover_s=1.5), mine=set(range(SHARDS)), other_moves=True, times=37)

    assert [n for n, plan in enumerate(plans) if plan.give_back] == [35, 36]
    assert plans[-1].give_back == tuple(range(6, SHARDS))


def test_a_dead_instance_never_moves_a_shard_not_even_when_we_are_slow_to_look() -> None:
    watch = Watch(me="a", takeover_s=1.5)
    mine = set(range(SHARDS))
    plans = looks(watch, mine=mine, other_moves=False, times=60)

    for round_no in range(20):  # each look comes late, as on a machine that is busy
        plans += looks(watch, mine=mine, other_moves=False, times=3, start_s=20 + 2 * round_no)

    assert not [plan for plan in plans if plan.give_back]


def test_an_instance_that_is_gone_takes_no_share() -> None:
    watch = Watch(me="a", takeover_s=1.5)
    everything = set(range(SHARDS))

    plans = [
        watch.plan(leases(locked=everything), {"a": n, "b": 1}, mine=everything, now_s=10 + n / 10) for n in range(35)
    ]

    assert plans[-1] == Plan()


def test_who_drains_gives_everything_back_and_takes_nothing_while_others_stay() -> None:
    watch = Watch(me="a", takeover_s=1.5)
    mine = set(range(6))

    plan = watch.plan(leases(locked=mine), {"a": 1, "b": 1}, mine=mine, now_s=10.0, draining={"a"})
    other = Watch(me="b", takeover_s=1.5).plan(
        leases(locked=set()), {"a": 1, "b": 1}, mine=set(), now_s=10.0, draining={"a"}
    )

    assert plan == Plan(give_back=tuple(range(6)))
    assert set(other.take) == set(range(SHARDS))


def test_the_last_instance_keeps_its_shards_however_often_it_is_asked_to_drain() -> None:
    watch = Watch(me="a", takeover_s=1.5)
    mine = set(range(SHARDS))

    plan = watch.plan(leases(locked=mine), {"a": 1}, mine=mine, now_s=10.0, draining={"a"})

    assert plan == Plan()
