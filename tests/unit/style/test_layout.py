"""Four services alike: folder, distribution, import package and the names of their files; and where code may lie at all."""

import configparser
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = ("intake", "router", "agent-presence", "reporting")
TOOLS = {"cli": "porchlight", **{name: f"porchlight_{name}" for name in ("simulator", "checker", "docgen")}}
PLACES = {"libs", "services", "tools", "tests"}
EVERYWHERE = {"__init__.py", "__main__.py", "main.py", "config.py", "errors.py", "api.py", "py.typed"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_named_the_same_everywhere(service: str) -> None:
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())
    package = service.replace("-", "_")

    assert project["project"]["name"] == f"porchlight-{service}"
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{package}"]
    assert (ROOT / "services" / service / "src" / package / "__init__.py").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_files_that_all_have(service: str) -> None:
    folder = ROOT / "services" / service

    there = {
        path.name for path in (folder / "src" / service.replace("-", "_")).rglob("*")
    }  # the router's api.py lie in its wings

    assert there >= EVERYWHERE
    assert (folder / "README.md").exists() and (folder / "migrations" / "env.py").exists()


@pytest.mark.parametrize(("tool", "package"), TOOLS.items())
def test_a_tool_is_named_the_same_everywhere(tool: str, package: str) -> None:
    folder = ROOT / "tools" / tool
    project = tomllib.loads((folder / "pyproject.toml").read_text())

    assert project["project"]["name"] == f"porchlight-{tool}"
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{package}"]
    assert (folder / "README.md").exists() and (folder / "src" / package / "py.typed").exists()


def packages() -> set[str]:
    """Import packages of ours, wherever they lie."""
    return {path.parent.name for place in PLACES for path in (ROOT / place).glob("*/src/*/__init__.py")}


def test_checks_of_types_and_imports_know_every_package() -> None:
    typed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    linted = configparser.ConfigParser()
    linted.read(ROOT / ".importlinter")

    assert set(typed) == packages(), "name it in pyproject.toml, under tool.mypy"
    assert set(linted["importlinter"]["root_packages"].split()) == packages(), (
        "name it in .importlinter, and say its layers"
    )


def homeless(paths: Iterable[str]) -> list[str]:
    """What to do about each Python file that lies outside the places for code."""
    return [
        f"{path}: move it under libs/ (two services need it), services/, tools/ (people run it) or tests/"
        for path in sorted(paths)
        if path.split("/")[0] not in PLACES
    ]


def test_code_lies_in_one_of_four_places() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ROOT.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and folder.name != "build"
        for path in folder.rglob("*.py")
    ]

    assert homeless(found) == []


def test_code_in_another_place_is_found() -> None:
    assert homeless(["deploy/jobs/__init__.py", "tools/cli/src/porchlight/cli.py"]) == [
        "deploy/jobs/__init__.py: move it under libs/ (two services need it), services/, tools/ (people run it) or tests/"
    ]


def test_unit_tests_lie_as_their_sources_do() -> None:
    unit = ROOT / "tests" / "unit"
    sources = {
        path.parent.relative_to(source).as_posix()
        for place in PLACES
        for source in (ROOT / place).glob("*/src")
        for path in source.rglob("__init__.py")
    }
    tested = {path.parent.relative_to(unit).as_posix() for path in unit.rglob("test_*.py")}

    assert tested - sources == {"style", "deploy"}, "lay the test under tests/unit where the module lies under src/"


def test_no_image_has_the_generator_of_pages() -> None:
    texts = [(ROOT / "deploy" / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text()]

    assert not [text for text in texts if "docgen" in text or "tools/*" in text or "COPY tools tools" in text]


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of the machine that it was written on, and no address of a package registry."""
    words = ["/" + "work/", "farm-" + "bench", "/simple" + "/", "maven" + "2"]
    texts = [
        path
        for path in ROOT.rglob("*")
        if path.suffix in {".py", ".md", ".toml", ".txt", ".sh", ""}
        and path.is_file()
        and not {".venv", ".git", ".porchlight"} & set(path.relative_to(ROOT).parts)
        and not any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts[:-1])
    ]

    found = [(path.name, word) for path in texts for word in words if word in path.read_text(errors="replace")]

    assert found == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_was_written_for_its_newest_migration(service: str) -> None:
    folder = ROOT / "services" / service
    newest = max(path.name[:4] for path in (folder / "migrations" / "versions").glob("[0-9]*.py"))
    (config,) = folder.glob("src/*/config.py")
    assert f'SCHEMA = "{newest}"' in config.read_text(), (
        "say so in config.py, or an older schema passes for the right one"
    )
