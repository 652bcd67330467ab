"""PostgreSQL and Apache Kafka in containers, by testcontainers (a development dependency)."""

from contextlib import ExitStack

from testcontainers.core.container import DockerContainer

PASSWORD = "porchlight-tests"
START = "/tmp/porchlight-start.sh"  # noqa: S108 -- inside the container
KAFKA_SETTINGS = {
    "CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw",
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_LISTENERS": "PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
}


def start_postgres(image: str, stack: ExitStack) -> str:
    """A PostgreSQL container; returns the administrator's address. It ends with the stack."""
    container = DockerContainer(image).with_exposed_ports(5432).with_env("POSTGRES_PASSWORD", PASSWORD)
    stack.enter_context(container)
    host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
    return f"postgresql://postgres:{PASSWORD}@{host}:{port}/postgres"


def start_kafka(image: str, stack: ExitStack) -> str:
    """A Kafka container; returns its bootstrap address. It ends with the stack.

    The address that it must advertise is known only when its port is mapped: it waits for its start script.
    """
    container = DockerContainer(image).with_exposed_ports(9092)
    for name, value in KAFKA_SETTINGS.items():
        container = container.with_env(name, value)
    container = container.with_command(f"sh -c 'while [ ! -f {START} ]; do sleep 0.1; done; sh {START}'")
    stack.enter_context(container)
    address = f"{container.get_container_host_ip()}:{container.get_exposed_port(9092)}"
    script = (
        f"export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://{address},BROKER://localhost:9093\nexec /etc/kafka/docker/run\n"
    )
    container.copy_into_container(script.encode(), START)
    return address
