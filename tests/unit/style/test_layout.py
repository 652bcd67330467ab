"""Four services alike: folder, distribution, import package and the names of their files."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = ("intake", "router", "agent-presence", "reporting")
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
