"""What each service's role may do in its database: the committed matrix beside its migrations, and how it is put in force."""

import tomllib
from dataclasses import dataclass

import asyncpg

from porchlight.jobs.migrations import migrations_folder

VERBS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Rights of one role: verbs by table, verbs by (table, column), functions that it may call."""

    tables: dict[str, frozenset[str]]
    columns: dict[tuple[str, str], frozenset[str]]
    functions: frozenset[str]


def read_matrix(service: str) -> Matrix:
    """The matrix of a service, from `grants.toml` beside its migrations."""
    found = tomllib.loads((migrations_folder(service) / "grants.toml").read_text())
    columns = {}
    for name, verbs in found.get("columns", {}).items():
        table, _, column = name.partition(".")
        columns[table, column] = _verbs(verbs)
    return Matrix(
        tables={table: _verbs(verbs) for table, verbs in found["tables"].items()},
        columns=columns,
        functions=frozenset(found.get("functions", [])),
    )


def _verbs(words: str) -> frozenset[str]:
    verbs = frozenset(words.upper().split())
    assert verbs <= VERBS, f"{words}: only {', '.join(sorted(VERBS))}"
    return verbs


async def grant(owner_dsn: str, *, role: str, matrix: Matrix) -> None:
    """Give the role exactly what the matrix says, in one transaction: a service at work notices nothing."""
    connection = await asyncpg.connect(owner_dsn, timeout=5)
    try:
        async with connection.transaction():
            await connection.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
            for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
                await connection.execute(f'REVOKE ALL ON ALL {kind} IN SCHEMA public FROM "{role}"')
            for table, verbs in sorted(matrix.tables.items()):
                await connection.execute(f'GRANT {", ".join(sorted(verbs))} ON "{table}" TO "{role}"')
            for (table, column), verbs in sorted(matrix.columns.items()):
                listed = ", ".join(f'{verb} ("{column}")' for verb in sorted(verbs))
                await connection.execute(f'GRANT {listed} ON "{table}" TO "{role}"')
            for function in sorted(matrix.functions):
                await connection.execute(f'GRANT EXECUTE ON FUNCTION "{function}" TO "{role}"')
    finally:
        await connection.close()
