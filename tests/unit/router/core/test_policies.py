"""What each routing policy promises, one by one, in the order of docs/routing.md."""

import pytest

from common.contracts.policies import (
    Capacity,
    Choice,
    Escalation,
    MicroBatch,
    Need,
    Order,
    Step,
    Sticky,
)
from router.core import step
from router.core.model import decisions, events
from tests.support.builders import arrived, asked, queue, seen
from tests.support.table import Table


class TestOrder:
    def test_priority_first_then_age(self) -> None:
        table = Table()
        table.tell(arrived("old"), arrived("new", accepted_at_ms=500), arrived("vip", priority=1, accepted_at_ms=900))

        assert table.order_of_service("old", "new", "vip") == ["vip", "old", "new"]

    def test_a_score_lets_waiting_make_up_for_priority(self) -> None:
        table = Table(queue(order=Order(method="score", points_per_priority=60, points_per_second=1)))
        table.tell(arrived("waited", accepted_at_ms=-70_000), arrived("vip", priority=1, accepted_at_ms=0))

        assert table.order_of_service("waited", "vip") == ["waited", "vip"]

    def test_the_score_is_on_the_offer_in_thousandths_of_a_point(self) -> None:
        table = Table(queue(order=Order(method="score", points_per_priority=60, points_per_second=2)))
        table.tell(arrived("c1", priority=3, accepted_at_ms=-9_000), at_ms=1_000)

        (made,) = [one for one in table.tell(seen()) if isinstance(one, decisions.Offered)]
        assert made.score == 3 * 60 * 1_000 + 2 * 10_000

    def test_scores_that_grow_at_different_rates_are_compared_at_the_moment(self) -> None:
        slow = queue("slow", order=Order(method="score", points_per_priority=100))
        fast = queue("fast", order=Order(method="score", points_per_priority=100, points_per_second=10))
        early, late = Table(slow, fast), Table(slow, fast)
        for table, at_ms in ((early, 5_000), (late, 20_000)):
            table.tell(arrived("s", queue_id="slow", priority=1), arrived("f", queue_id="fast"), at_ms=0)
            table.now_ms = at_ms

        assert early.order_of_service("s", "f") == ["s", "f"]
        assert late.order_of_service("s", "f") == ["f", "s"]

    def test_the_least_slack_to_the_service_level_goes_first(self) -> None:
        table = Table(
            queue("mail", order=Order(method="slack"), service_level_ms=3_600_000),
            queue("chat", order=Order(method="slack"), service_level_ms=30_000),
        )
        table.tell(arrived("old-mail", queue_id="mail"), arrived("new-chat", queue_id="chat", accepted_at_ms=900_000))

        assert table.order_of_service("old-mail", "new-chat") == ["new-chat", "old-mail"]

    def test_newest_first_keeps_priority(self) -> None:
        table = Table(queue(order=Order(newest_first=True)))
        table.tell(arrived("old"), arrived("new", accepted_at_ms=500), arrived("vip", priority=1))

        assert table.order_of_service("old", "new", "vip") == ["vip", "new", "old"]

    def test_one_order_across_all_queues_an_agent_serves(self) -> None:
        table = Table(queue("a"), queue("b"))
        table.tell(
            arrived("a2", queue_id="a", accepted_at_ms=20),
            arrived("b1", queue_id="b", accepted_at_ms=10),
            arrived("b3", queue_id="b", accepted_at_ms=30),
        )

        assert table.order_of_service("a2", "b1", "b3") == ["b1", "a2", "b3"]

    def test_priority_rises_with_the_wait_and_says_so(self) -> None:
        table = Table(queue(escalations=(Escalation(after_ms=60_000, priority=10),)))
        table.tell(arrived("patient"), at_ms=0)
        table.tick(60_000)
        assert [(one.priority, one.waited_ms) for one in table.said] == [(10, 60_000)]
        table.tell(arrived("vip", priority=9, accepted_at_ms=60_000))

        assert table.order_of_service("patient", "vip") == ["patient", "vip"]

    def test_a_queue_above_its_share_of_what_waits_goes_first(self) -> None:
        table = Table(
            queue("a", order=Order(method="ratio", share_percent=25)),
            queue("b", order=Order(method="ratio", share_percent=75)),
        )
        table.tell(*(arrived(f"a{n}", queue_id="a", accepted_at_ms=900) for n in range(2)))
        table.tell(*(arrived(f"b{n}", queue_id="b") for n in range(2)))

        assert table.order_of_service("a0") == ["a0"]  # two of four wait in a, whose share is one

    def test_who_becomes_free_takes_first_what_it_is_best_at(self) -> None:
        own = Order(own_skill_first=True)
        table = Table(queue("x", order=own, requirements=(("x", 0),)), queue("y", order=own, requirements=(("y", 0),)))
        table.tell(arrived("old-x", queue_id="x"), arrived("new-y", queue_id="y", accepted_at_ms=500))

        table.tell(seen("ann", skills=(("x", 40), ("y", 90))))
        assert table.offers() == [("new-y", "ann")]

    def test_unservable_contacts_of_top_priority_delay_nobody(self) -> None:
        table = Table()
        for number in range(10_000):
            step(table.state, arrived(f"x{number}", priority=9, requirements=(("nobody-has-it", 1),)), 0)
        step(table.state, arrived("servable"), 0)

        table.tell(seen())
        assert table.offers() == [("servable", "ann")]


class TestNeeds:
    @pytest.mark.parametrize(
        ("need", "able"),
        [
            (Need(skill="es", min_level=50), {"ann", "bob"}),
            (Need(skill="es", max_level=60), {"bob"}),
            (Need(all=(Need(skill="es"), Need(skill="tax"))), {"bob"}),
            (Need(any=(Need(skill="tax"), Need(language="fr"))), {"bob", "cid"}),
            (Need(skill="es", not_=Need(region="US-TX")), {"bob"}),
            (Need(language="fr"), {"cid"}),
            (Need(attribute="team", value="gold"), {"ann"}),
            (Need(any=(Need(agent="cid"), Need(agent="ann"))), {"ann", "cid"}),
            (Need(not_=Need(agent="ann")), {"bob", "cid"}),
            (Need(), {"ann", "bob", "cid"}),
        ],
    )
    def test_needs_combine_skills_levels_languages_regions_attributes_and_names(
        self, need: Need, able: set[str]
    ) -> None:
        people = (
            seen("ann", skills=(("es", 80),), region="US-TX", attributes=(("team", "gold"),)),
            seen("bob", skills=(("es", 55), ("tax", 20))),
            seen("cid", languages=("fr",)),
        )
        before, after = Table(), Table()
        before.tell(*people, *(arrived(f"c{n}", need=need) for n in range(3)))
        asked_before = {agent for _, agent in before.offers()}
        after.tell(*(arrived(f"c{n}", need=need) for n in range(3)), *people)

        assert asked_before == able
        assert {agent for _, agent in after.offers()} == able

    def test_a_step_asks_for_more_at_first_and_says_when_it_ends(self) -> None:
        table = Table(queue(steps=(Step(need=Need(skill="es", min_level=80), expires_ms=10_000),)))
        table.tell(seen("best", skills=(("es", 90),), presence="break"), seen("any"), at_ms=0)
        table.tell(arrived("c1"))
        assert table.kinds() == ["Queued", "StepJoined"]

        table.tick(10_000)

        assert table.kinds() == ["StepExpired", "Offered"]
        assert table.offers() == [("c1", "any")]

    def test_a_step_that_nobody_signed_in_could_serve_is_skipped(self) -> None:
        table = Table(queue(steps=(Step(need=Need(skill="es", min_level=80), expires_ms=10_000),)))

        table.tell(seen("any"), arrived("c1"))

        assert table.kinds() == ["Queued", "StepSkipped", "Offered"]

    def test_a_step_is_left_when_its_last_agent_signs_out(self) -> None:
        table = Table(queue(steps=(Step(need=Need(skill="es"), expires_ms=10_000),)))
        table.tell(seen("best", skills=(("es", 90),), presence="break"), seen("any"), arrived("c1"))

        table.tell(seen("best", skills=(("es", 90),), presence="offline", seq=2))

        assert table.kinds() == ["StepSkipped", "Offered"]

    @pytest.mark.parametrize("link_lost", [False, True])
    def test_a_step_is_left_when_its_last_agent_signs_out_while_it_rings_them(self, link_lost: bool) -> None:
        table = Table(queue(steps=(Step(need=Need(skill="es"), expires_ms=60_000),)))
        table.tell(seen("ann", skills=(("es", 90),)), seen("bob"), arrived("c1"))
        assert table.offers() == [("c1", "ann")]

        table.tell(seen("ann", skills=(("es", 90),), presence="offline", link_lost=link_lost, seq=2))

        assert [kind for kind in table.kinds() if kind != "AgentChanged"] == ["Rescinded", "StepSkipped", "Offered"]
        assert table.offers() == [("c1", "bob")]

    def test_a_step_is_left_when_its_last_agent_who_held_the_contact_does_not_come_back(self) -> None:
        table = Table(queue(steps=(Step(need=Need(skill="es"), expires_ms=60_000),)))
        table.tell(seen("ann", skills=(("es", 90),)), seen("bob"), arrived("c1"))
        table.tell(asked("accept", agent_id="ann"))

        table.tell(seen("ann", skills=(("es", 90),), presence="offline", link_lost=True, seq=2))
        table.tick(25_000)

        assert table.offers() == [("c1", "bob")]
        assert table.state.contacts["c1"].step == 1

    def test_a_contact_that_came_back_leaves_one_step_and_not_two(self) -> None:
        steps = (Step(need=Need(skill="es"), expires_ms=60_000), Step(need=Need(skill="fr"), expires_ms=60_000))
        table = Table(queue(steps=steps))
        table.tell(seen("spanish", skills=(("es", 90),)), seen("french", skills=(("fr", 90),), presence="break"))
        table.tell(arrived("c1"))
        assert table.offers() == [("c1", "spanish")]
        table.tell(asked("decline", agent_id="spanish"))

        table.tell(seen("spanish", skills=(("es", 90),), presence="offline", seq=2))

        assert table.kinds() == ["StepSkipped", "StepJoined"]
        assert table.state.contacts["c1"].step == 1

    def test_a_step_may_be_kept_even_when_nobody_is_there(self) -> None:
        step_one = Step(need=Need(skill="es"), expires_ms=10_000, even_unstaffed=True)
        table = Table(queue(steps=(step_one,)))

        table.tell(seen("any"), arrived("c1"))
        assert table.kinds() == ["Queued", "StepJoined"]


class TestChoice:
    def test_missed_offers_do_not_reset_the_idle_clock_and_work_does(self) -> None:
        table = Table()
        table.tell(seen("ann"), at_ms=0)
        table.tell(seen("bob"), at_ms=10)
        table.tell(arrived("c1"), at_ms=20)
        table.tell(asked("decline"), at_ms=30)  # on to bob
        table.tell(asked("accept", agent_id="bob", attempt=2, command_id="b"), at_ms=40)
        table.tell(asked("complete", agent_id="bob", attempt=2, command_id="c"), at_ms=50)

        table.tell(arrived("c2"))
        assert table.offers() == [("c2", "ann")]

    def test_round_robin_is_global_over_queues(self) -> None:
        turn = Choice(method="round_robin")
        table = Table(queue("a", choice=turn), queue("b", choice=turn))
        table.tell(*(seen(name) for name in ("ann", "bob", "cid")), at_ms=0)
        asked_in_turn = []
        for number, queue_id in enumerate(("a", "b", "a", "b", "a")):
            table.tell(arrived(f"c{number}", queue_id=queue_id), at_ms=10 + number)
            asked_in_turn += [agent for _, agent in table.offers()]
            agent = asked_in_turn[-1]
            about = {"agent_id": agent, "contact_id": f"c{number}"}
            table.tell(asked("accept", command_id=f"a{number}", **about))
            table.tell(asked("complete", command_id=f"x{number}", **about))

        assert asked_in_turn == ["ann", "bob", "cid", "ann", "bob"]

    def test_the_least_loaded_is_asked_by_share_of_capacity(self) -> None:
        table = Table(queue(choice=Choice(method="least_loaded")))
        table.tell(seen("small", units=4), seen("large", units=12), at_ms=0)
        table.tell(arrived("c1", channel="chat"), at_ms=1)
        table.tell(arrived("c2", channel="chat"), at_ms=2)
        table.tell(arrived("c3", channel="chat"), at_ms=3)

        # small: 2 of 4 after one chat; large: 2 of 12, then 4 of 12
        assert {name: len(agent.work) for name, agent in table.state.agents.items()} == {"small": 1, "large": 2}

    def test_the_most_skilled_is_asked(self) -> None:
        table = Table(queue(choice=Choice(method="most_skilled"), requirements=(("es", 10),)))
        table.tell(seen("ok", skills=(("es", 40),)), at_ms=0)
        table.tell(seen("best", skills=(("es", 90),)), at_ms=10)

        table.tell(arrived("c1"))
        assert table.offers() == [("c1", "best")]

    def test_best_fit_weighs_skills(self) -> None:
        table = Table(queue(choice=Choice(method="best_fit", weights={"tax": 3, "chat": 1})))
        table.tell(seen("a", skills=(("chat", 100),)), seen("b", skills=(("tax", 50),)))

        table.tell(arrived("c1"))
        assert table.offers() == [("c1", "b")]

    def test_a_scorer_chooses_when_it_answers_in_time(self) -> None:
        table = Table(queue(choice=Choice(method="scorer", scorer="any", budget_ms=5)))
        table.tell(seen("ann"), seen("bob"), at_ms=0)
        table.tell(arrived("c1"), at_ms=10)
        assert table.offers() == [] and list(table.state.to_score) == ["c1"]

        table.tell(events.ScoresGiven(contact_id="c1", scores={"bob": 7, "ann": 3}), at_ms=12)
        assert table.offers() == [("c1", "bob")]

    def test_a_scorer_that_is_late_is_not_waited_for(self) -> None:
        table = Table(queue(choice=Choice(method="scorer", scorer="any", budget_ms=5)))
        table.tell(seen("ann"), seen("bob"), at_ms=0)
        table.tell(arrived("c1"), at_ms=10)

        table.tick(15)
        assert table.offers() == [("c1", "ann")]

    @pytest.mark.parametrize(
        ("sticky", "known"),
        [
            (Sticky(to="last_agent", wait_ms=30_000), {"last_agent": "bob"}),
            (Sticky(to="named_agent", wait_ms=30_000), {"named_agent": "bob"}),
            (Sticky(to="account_team", wait_ms=30_000), {"account_team": "gold"}),
        ],
    )
    def test_a_contact_waits_a_bounded_time_for_whom_it_knows(self, sticky: Sticky, known: dict[str, str]) -> None:
        table = Table(queue(sticky=(sticky,)))
        table.tell(seen("ann"), seen("bob", presence="break", attributes=(("team", "gold"),)), at_ms=0)
        table.tell(arrived("c1", **known), arrived("c2", **known))
        assert table.offers() == []

        table.tell(seen("bob", seq=2, attributes=(("team", "gold"),)), at_ms=5_000)
        assert table.offers() == [("c1", "bob")]
        table.tell(asked("accept", agent_id="bob"))
        table.tick(30_000)
        assert table.offers() == [("c2", "ann")]

    def test_nobody_waits_for_an_agent_who_is_not_on_shift(self) -> None:
        table = Table(queue(sticky=(Sticky(to="last_agent", wait_ms=30_000),)))

        table.tell(seen("ann"), seen("bob", presence="offline"), arrived("c1", last_agent="bob"))
        assert table.offers() == [("c1", "ann")]

    def test_a_burst_is_decided_together_so_that_more_are_served(self) -> None:
        batch = MicroBatch(window_ms=100, burst=2)
        table = Table(queue(micro_batch=batch))
        table.tell(seen("generalist", skills=(("a", 1), ("b", 1))), at_ms=0)
        table.tell(seen("specialist", skills=(("a", 1),)), at_ms=10)
        table.tell(seen("away", presence="break"), at_ms=20)
        for number in range(2):  # not servable: they only make it a burst
            table.tell(arrived(f"x{number}", need=Need(skill="none")), at_ms=990)
        table.tell(arrived("a", need=Need(skill="a")), at_ms=1_000)
        table.tell(arrived("b", need=Need(skill="b")), at_ms=1_050)
        assert table.offers() == []

        said = table.tell(events.Ticked(), at_ms=1_100) + table.tell(events.Ticked(), at_ms=1_150)
        offers = {(one.contact_id, one.agent_id) for one in said if isinstance(one, decisions.Offered)}
        assert ("b", "generalist") in offers or ("a", "generalist") in offers

    def test_a_calm_queue_does_not_wait_for_a_window(self) -> None:
        table = Table(queue(micro_batch=MicroBatch(window_ms=100, burst=3)))

        table.tell(seen(), arrived("c1"))
        assert table.offers() == [("c1", "ann")]


class TestCapacity:
    def test_units_of_a_channel_are_the_queues_to_say(self) -> None:
        table = Table(queue(capacity=Capacity(units={"chat": 3})))
        table.tell(seen(), *(arrived(f"c{n}", channel="chat") for n in range(4)))

        assert len(table.offers()) == 2

    def test_a_channel_maximum_and_units_count_both(self) -> None:
        table = Table()
        table.tell(seen(channel_max=(("chat", 1),)))

        table.tell(*(arrived(f"c{n}", channel="chat") for n in range(3)), arrived("m", channel="email"))
        assert table.offers() == [("c0", "ann"), ("m", "ann")]

    def test_interruptible_work_does_not_count_against_what_may_interrupt_it(self) -> None:
        table = Table(queue("mail"), queue("calls", capacity=Capacity(interrupts=("email",))))
        table.tell(seen(), arrived("m", queue_id="mail", channel="email"))

        table.tell(arrived("call", queue_id="calls"))
        assert table.offers() == [("call", "ann")]
        table.tell(arrived("m2", queue_id="mail", channel="email"))
        assert table.offers() == []

    def test_capacity_is_exceeded_on_purpose_once_and_says_so(self) -> None:
        table = Table(queue(), queue("crisis", capacity=Capacity(exceed=True)))
        table.tell(seen(), arrived("c1"))

        table.tell(arrived("c2", queue_id="crisis"), arrived("c3", queue_id="crisis"))
        made = [one for one in table.said if isinstance(one, decisions.Offered)]
        assert [(one.contact_id, one.over) for one in made] == [("c2", "exceed")]

    def test_a_pause_frees_capacity_and_a_resume_takes_the_next_that_comes_free(self) -> None:
        table = Table(queue(resume_hold_ms=60_000))
        table.tell(seen(), arrived("c1"), asked("accept"), at_ms=0)
        table.tell(asked("pause", command_id="p"), arrived("c2"))
        assert table.offers() == [("c2", "ann")]
        table.tell(asked("accept", contact_id="c2", command_id="a2"), arrived("c3"))

        table.tell(asked("resume", command_id="r"))
        assert table.kinds() == []  # no room yet; the next is kept for it
        table.tell(asked("complete", contact_id="c2", command_id="x2"))
        assert table.kinds() == ["Completed", "Resumed"]

    def test_a_resume_waits_a_bounded_time_and_is_refused_then(self) -> None:
        table = Table(queue(resume_hold_ms=60_000))
        table.tell(seen(), arrived("c1"), asked("accept"), asked("pause", command_id="p"), arrived("c2"), at_ms=0)
        table.tell(asked("accept", contact_id="c2", command_id="a2"), asked("resume", command_id="r"))

        table.tick(60_000)
        assert [(one.command_id, one.reason) for one in table.said] == [("r", "no_capacity")]
        assert table.state.contacts["c1"].state == "paused"
