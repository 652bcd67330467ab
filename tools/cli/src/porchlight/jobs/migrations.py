"""Where the migrations of each service lie, and with them the matrix of its role's rights."""

from importlib.util import find_spec
from pathlib import Path


def migrations_folder(service: str) -> Path:
    """Where a service's migrations lie: beside its `src`, or in the package when it was installed from a wheel."""
    spec = find_spec(service.replace("-", "_"))
    assert spec is not None and spec.origin is not None, f"{service} is not installed"
    beside = Path(spec.origin).parents[2] / "migrations"
    return beside if beside.is_dir() else Path(spec.origin).parent / "migrations"
