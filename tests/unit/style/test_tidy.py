"""The rules of the house that a machine can watch. Each message says what to do instead."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = ("libs", "services", "tools", "tests")
BANNED_NAMES = {"utils.py", "helpers.py", "misc.py", "common.py", "base.py"}
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("time", "time"), ("time", "time_ns"), ("time", "monotonic")}
CHANCE = {("uuid", "uuid4"), ("random", "random"), ("random", "choice"), ("os", "urandom")}
BROAD_EXCEPTS = {
    "libs/common/src/common/runtime/batching.py": 2,  # hands a failed, or broken off, commit to every caller of the batch
    "libs/common/src/common/runtime/following.py": 2,  # finds the fact whose effect fails, counts it and parks it
    "libs/common/src/common/runtime/http.py": 1,  # answers for what nobody expected, so that the connection lives on
    "services/agent-presence/src/agent_presence/tail.py": 1,  # passes over a fact that makes it fail; the follower parks it
    "services/router/src/router/adapters/ledger.py": 1,  # closes a connection that nobody else knows, and goes on raising
    "services/router/src/router/sharding/owner.py": 1,  # a mistake of ours ends one shard's tenure, counted and logged
    "services/router/src/router/sharding/scorers.py": 2,  # an installation's own function may fail in any way
    "services/router/src/router/sharding/worker.py": 2,  # says what was being applied, and goes on raising; figures that fail
    "tools/cli/src/porchlight/local/kafka.py": 1,  # a fetching library raises what it likes
}
FUNCTION_LINES_MAX, FILE_LINES_MAX, TEST_FILE_LINES_MAX = 70, 500, 800


def files() -> list[Path]:
    return [path for top in OURS for path in sorted((ROOT / top).rglob("*.py")) if "/." not in str(path)]


def findings(path: Path, text: str) -> Iterator[str]:
    rel = path.relative_to(ROOT).as_posix()
    lines = text.count("\n")
    if path.name in BANNED_NAMES:
        yield f"{rel}: the name says nothing; name the job"
    if lines > (TEST_FILE_LINES_MAX if rel.startswith("tests/") else FILE_LINES_MAX):
        yield f"{rel} has {lines} lines: make two rooms of it"
    if re.search(r"\b(" + "TO" + r"DO|FIX" + r"ME|X" + r"XX)\b", text):
        yield f"{rel}: finish it, or write down in the docs why it is not"
    tree = ast.parse(text)
    if rel.startswith(("libs", "services", "tools")) and "/src/" in rel and ast.get_docstring(tree) is None:
        yield f"{rel} has no docstring: say what this room is for"
    yield from _of_functions(rel, tree)
    yield from _of_calls(rel, tree)
    yield from _of_retries(rel, tree)


def _of_functions(rel: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            if size > FUNCTION_LINES_MAX and not _is_route_table(node):
                yield f"{rel}:{node.lineno} {node.name} is {size} lines: it should fit on a screen"
        if isinstance(node, ast.AsyncFunctionDef) and "/core/" in rel and not rel.startswith("tests/"):
            yield f"{rel}:{node.lineno} async in the core: the core decides, it never waits"
        if isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.dump(node):
            yield f"{rel}:{node.lineno} a mock: use a double that obeys the contract"


def _is_route_table(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Functions that only hold routes, and composition roots: each function inside is measured on its own."""
    return node.name.startswith(("add_", "_add_"))


def _of_calls(rel: str, tree: ast.AST) -> Iterator[str]:
    own_clock = rel.endswith("runtime/clock.py") or rel.startswith(("tools/", "tests/"))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not isinstance(node.func.value, ast.Name):
            continue
        name = (node.func.value.id, node.func.attr)
        if name in CLOCKS and not own_clock:
            yield f"{rel}:{node.lineno} ask the clock, not {'.'.join(name)}"
        if name in CHANCE and not own_clock:
            yield f"{rel}:{node.lineno} ids come from runtime.clock, not {'.'.join(name)}"
        if name == ("asyncio", "sleep") and rel.startswith(("tests/unit", "tests/model")):
            yield f"{rel}:{node.lineno} a sleep in a unit test: move the clock instead"


def _of_retries(rel: str, tree: ast.AST) -> Iterator[str]:
    if not rel.startswith(("libs", "services")):
        return
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
        for node in ast.walk(handler):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.sleep":
                yield f"{rel}:{node.lineno} a fixed pause before the next try: pause with runtime.back_off"


def broad_excepts(tree: ast.AST) -> int:
    broad = {"Exception", "BaseException"}
    return sum(
        isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in broad))
        for node in ast.walk(tree)
    )


def test_every_file_is_tidy() -> None:
    found = [finding for path in files() for finding in findings(path, path.read_text())]

    assert found == []


def test_broad_excepts_stand_only_where_they_are_allowed() -> None:
    counted = {
        path.relative_to(ROOT).as_posix(): broad_excepts(ast.parse(path.read_text()))
        for path in files()
        if not path.is_relative_to(ROOT / "tests")
    }

    assert {rel: number for rel, number in counted.items() if number} == BROAD_EXCEPTS


@pytest.mark.parametrize(
    ("rel", "text", "says"),
    [
        ("libs/x/src/utils.py", '"""x"""\n', "name the job"),
        ("services/x/src/x.py", "a = 1\n", "no docstring"),
        ("services/x/src/core/x.py", '"""x"""\nasync def f():\n    pass\n', "async in the core"),
        ("services/x/src/x.py", '"""x"""\nimport time\ntime.time()\n', "ask the clock"),
        ("services/x/src/x.py", '"""x"""\nimport uuid\nuuid.uuid4()\n', "ids come from"),
        (
            "libs/x/src/x.py",
            '"""x"""\nimport asyncio\ntry:\n    pass\nexcept OSError:\n    asyncio.sleep(1)\n',
            "a fixed pause",
        ),
        ("tests/unit/x.py", "import asyncio\nasyncio.sleep(1)\n", "move the clock"),
        ("tests/unit/x.py", "from unittest import mock\n", "a mock"),
        ("services/x/src/x.py", '"""x"""\ndef f():\n' + "    a = 1\n" * 71, "fit on a screen"),
        ("services/x/src/x.py", '"""x"""\n' + "a = 1\n" * 501, "two rooms"),
        ("services/x/src/x.py", '"""x"""\n# FIX' + "ME\n", "finish it"),
    ],
)
def test_each_rule_finds_what_it_forbids(rel: str, text: str, says: str) -> None:
    assert [finding for finding in findings(ROOT / rel, text) if says in finding]


def test_no_address_of_a_registry_is_in_the_locks() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock.txt"))

    assert len(locks) == 8
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text and "--index" not in text, lock.name
        assert text.count("--hash=sha256:") >= text.count("==") > 10, lock.name
