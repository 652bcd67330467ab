"""The compose files and the Dockerfile keep their promises; read as data, so that no Docker is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from porchlight.installation import SERVICES

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OPEN_KAFKA: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.open-kafka.yaml").read_text())
CLUSTER: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.cluster.yaml").read_text())
OUTSIDE = {"gateway", "prometheus", "grafana"}
ALL = sorted(COMPOSE["services"].items())


def test_only_the_gateway_is_published_without_a_profile() -> None:
    published = {name for name, one in ALL if one.get("ports") and not one.get("profiles")}
    assert published == {"gateway"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name, one in ALL if "outside" in one["networks"]} == OUTSIDE
    assert "version" not in COMPOSE and "version" not in CLUSTER


@pytest.mark.parametrize(("name", "one"), ALL, ids=[name for name, _ in ALL])
def test_every_container_is_bounded_and_hardened(name: str, one: dict[str, Any]) -> None:
    assert one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]
    assert one["mem_limit"] and one["pids_limit"] > 0
    assert one["logging"]["options"] == {"max-size": "20m", "max-file": "5"}
    assert "latest" not in one["image"] and ":" in one["image"]
    if name in SERVICES:
        assert one["read_only"] and "cap_add" not in one and "privileged" not in one


def test_a_release_has_one_number_everywhere() -> None:
    root = DEPLOY.parent
    found = {
        path: re.findall(pattern, (root / path).read_text())
        for path, pattern in {
            "deploy/compose.yaml": r"PORCHLIGHT_VERSION:-([^}]+)}",
            "deploy/init.sh": r"PORCHLIGHT_VERSION:-([^}]+)}",
            "deploy/Dockerfile": r"ARG VERSION=(\S+)",
            **{
                str(path.relative_to(root)): r'(?m)^version = "(.*)"'
                for folder in ("libs", "services", "tools")
                for path in root.glob(f"{folder}/*/pyproject.toml")
            },
        }.items()
    }
    numbers = {number for one in found.values() for number in one}
    assert len(numbers) == 1 and all(found.values()), found
    assert f"## {numbers.pop()}\n" in (root / "CHANGELOG.md").read_text()


def test_passwords_are_files_and_nowhere_in_the_environment() -> None:
    for name, one in ALL:
        environment = one.get("environment") or {}
        secret = [
            key
            for key in environment
            if re.search("PASSWORD|PEPPER|SECRET(?!S_DIR)", key) and not key.endswith("__FILE")
        ]
        assert secret == [], f"{name}: {secret}"
    assert all(set(one) == {"file"} for one in COMPOSE["secrets"].values())
    wanted = {f"{service.replace('-', '_')}_{what}_password" for service in SERVICES for what in ("database", "kafka")}
    assert wanted <= set(COMPOSE["secrets"])


def test_kafka_has_users_rights_and_a_network_of_its_own() -> None:
    assert COMPOSE["networks"]["bus"]["internal"]
    there = {name for name, one in ALL if "bus" in one["networks"]}
    assert there == {*SERVICES, "kafka", "migrate", "topics", "tools", "demo"}
    assert COMPOSE["services"]["kafka"]["networks"] == ["bus"]
    brokers = [COMPOSE["services"]["kafka"], *(CLUSTER["services"][name] for name in ("kafka", "kafka-2", "kafka-3"))]
    for broker in brokers:
        environment = broker["environment"]
        listeners = environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
        assert all(one.endswith(":SASL_PLAINTEXT") for one in listeners)
        assert environment["KAFKA_AUTHORIZER_CLASS_NAME"].endswith("StandardAuthorizer")
        assert environment["KAFKA_SUPER_USERS"] == "User:admin"
    for service in SERVICES:
        prefix = service.upper().replace("-", "_")
        assert COMPOSE["services"][service]["environment"][f"{prefix}_KAFKA_USERNAME"] == service
        assert f"{prefix.lower()}_kafka_password" in COMPOSE["services"][service]["secrets"]
        assert OPEN_KAFKA["services"][service]["environment"][f"{prefix}_KAFKA_USERNAME"] == ""


def test_the_gateway_can_hold_what_its_limit_allows() -> None:
    def default(name: str) -> int:
        found = re.search(rf"{name}:-(\d+)", COMPOSE["services"]["gateway"]["environment"][name])
        assert found, name
        return int(found[1])

    assert default("GATEWAY_WORKER_CONNECTIONS") > 2 * default("GATEWAY_CONNECTIONS")
    assert COMPOSE["services"]["gateway"]["ulimits"]["nofile"] > 2 * default("GATEWAY_WORKER_CONNECTIONS")


def test_services_wait_for_both_jobs_and_volumes_have_names() -> None:
    for service in SERVICES:
        waits = COMPOSE["services"][service]["depends_on"]
        assert {name: one["condition"] for name, one in waits.items()} == {
            "migrate": "service_completed_successfully",
            "topics": "service_completed_successfully",
        }
    assert all(len(name) > 1 for name in (*COMPOSE["volumes"], *CLUSTER["volumes"])), "one letter is taken for a drive"


def test_the_cluster_has_three_brokers_that_may_lose_one_and_two_of_everything() -> None:
    brokers = {name: one["environment"] for name, one in CLUSTER["services"].items() if name.startswith("kafka")}
    assert sorted(one["KAFKA_NODE_ID"] for one in brokers.values()) == [1, 2, 3]
    for one in brokers.values():
        assert one["KAFKA_MIN_INSYNC_REPLICAS"] == 2 and one["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    replicas = {
        name: one.get("deploy", {}).get("replicas")
        for name, one in {**COMPOSE["services"], **CLUSTER["services"]}.items()
    }
    assert [replicas[name] for name in ("intake", "agent-presence", "reporting")] == [2, 2, 2]
    assert COMPOSE["services"]["router"]["deploy"]["replicas"] == 2
    assert CLUSTER["services"]["topics"]["command"][-2:] == ["--replication", "3"]


def test_the_image_has_no_compiler_in_its_last_stage_and_is_nobody_special() -> None:
    build, last = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[1:]
    assert "gcc" in build and "apt-get" not in last and "pip" not in last
    for line in ("USER 10001:10001", "STOPSIGNAL SIGTERM", "HEALTHCHECK", "LABEL org.opencontainers.image.title"):
        assert line in last
    assert "--require-hashes" in build
