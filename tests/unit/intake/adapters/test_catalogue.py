"""Names of queues and skills are looked up by name, and names that nobody defined cost one look at a time."""

from collections.abc import Sequence

import pytest

from intake.adapters import catalogue
from intake.adapters.catalogue import Remembered


class Table:
    """Counts how often it is read, and for what."""

    def __init__(self, **rows: int) -> None:
        self.rows = rows
        self.asked: list[list[str]] = []

    async def read(self, names: Sequence[str]) -> dict[str, int]:
        self.asked.append(sorted(names))
        return {name: self.rows[name] for name in names if name in self.rows}


async def test_a_name_that_nobody_defined_is_looked_up_once_in_a_while_however_often_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue, "ABSENT_S", 60.0)
    table = Table(billing=7)
    names = Remembered[int](table.read)

    for _ in range(50):
        assert await names.get(["flying"]) == {}
        assert await names.get(["billing"]) == {"billing": 7}

    assert table.asked == [["flying"], ["billing"]]


async def test_a_name_that_was_defined_since_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ABSENT_S", 0.0)
    table = Table()
    names = Remembered[int](table.read)
    await names.get(["new"])

    table.rows["new"] = 1

    assert await names.get(["new"]) == {"new": 1}


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "NAMES_MAX", 10)
    names = Remembered[int](Table(**{f"n{number}": number for number in range(100)}).read)

    for number in range(100):
        await names.get([f"n{number}", f"absent{number}"])

    assert len(names._there) <= 10 and len(names._absent) <= 10
