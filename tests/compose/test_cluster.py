"""Three brokers, two of every service: any one of them may be killed under load, and PostgreSQL too."""

import time
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment, deployed

pytestmark = pytest.mark.timeout(1_200)
DOWN_S = 4.0
"""How long what was killed stays dead."""


@pytest.fixture(scope="module")
def cluster(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    state = tmp_path_factory.mktemp("cluster")
    with deployed("porchlight-cluster", state, "compose.yaml", "compose.cluster.yaml") as found:
        found.up()
        yield found


def test_a_replay_through_the_gateway_loses_and_doubles_nothing_while_each_part_is_killed(cluster: Deployment) -> None:
    killed = []
    with cluster.playing("replay", "--speed", "400") as replay:
        time.sleep(15)
        for service, number in (
            ("kafka-2", 1),
            ("intake", 1),
            ("router", 1),
            ("agent-presence", 2),
            ("reporting", 1),
            ("postgres", 1),
        ):
            assert replay.poll() is None, f"the load must still be on: {replay.communicate()[0]}"
            container = cluster.kill(service, number)
            time.sleep(DOWN_S)
            cluster.start(container)
            killed.append(service)
            time.sleep(6)
        output, _ = replay.communicate(timeout=600)

    assert len(killed) == 6
    restarts = {one["Name"]: one["RestartCount"] for one in cluster.containers() if one["RestartCount"]}
    assert restarts == {}, "nobody else fell: what is killed comes back, what loses a neighbour waits"
    assert "nothing lost, doubled or over capacity" in output, output
    cluster.wait_healthy("intake", "router", "agent-presence", "reporting", "postgres", "kafka", "kafka-2", "kafka-3")
    assert "nothing lost, doubled or over capacity" in cluster.tools("check")
