"""The platform of the tests that need a second replica of whoever follows facts."""

from collections.abc import Iterator

import pytest

from tests.support.platforms import RunningPlatform, started


@pytest.fixture(scope="package")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """Two of each service that follows facts."""
    with started(tmp_path_factory.mktemp("pairs"), intake=2, router=1, presence=2, reporting=2) as found:
        yield found
