"""Images built once, and one platform of containers for the tests that leave it whole."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.deployment import DEPLOY, Deployment, deployed

BUILD_TIMEOUT_S = 900


@pytest.fixture(scope="session")
def images() -> None:
    """All images of this tree."""
    command = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "build", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with platforms of their own come first, so that the shared one does not run beside them."""
    items.sort(key=lambda item: "deployment" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def deployment(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("porchlight-test", tmp_path_factory.mktemp("state")) as found:
        began = time.monotonic()
        found.up()
        print(f"up and healthy in {time.monotonic() - began:.1f} s")
        yield found
