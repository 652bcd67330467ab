"""What unit tests of several services share."""

from collections.abc import Iterator

import pytest

from tests.support.machines import StillMachine, used


@pytest.fixture
def machine() -> Iterator[StillMachine]:
    """Time that the test moves."""
    with used(StillMachine()) as found:
        yield found
