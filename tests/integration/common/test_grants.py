"""Each role may do what the committed matrix says, cell by cell, and nothing else."""

from urllib.parse import urlsplit

import asyncpg
import pytest

from porchlight.installation import SERVICES
from porchlight.jobs.grants import read_matrix
from tests.integration.conftest import Place

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
COLUMN_VERBS = ("SELECT", "INSERT", "UPDATE", "REFERENCES")


def role_of(dsn: str) -> str:
    return str(urlsplit(dsn).username)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_rights_of_every_role_are_those_of_the_matrix_cell_by_cell(place: Place, service: str) -> None:
    matrix = read_matrix(service)
    connection = await asyncpg.connect(place.owners[service])
    try:
        cells = await connection.fetch(
            "SELECT r.rolname, c.relname, a.attname, v.verb,"
            "  has_table_privilege(r.rolname, c.oid, v.verb) AS by_table,"
            "  v.verb = ANY($2) AND has_column_privilege(r.rolname, c.oid, a.attnum, v.verb) AS by_column"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,"
            "  pg_roles r, unnest($1::text[]) AS v(verb)"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p') AND r.rolname = ANY($3)",
            list(VERBS),
            list(COLUMN_VERBS),
            [role_of(dsn) for dsn in place.dsns.values()],
        )
        functions = await connection.fetch(
            "SELECT r.rolname, p.proname, has_function_privilege(r.rolname, p.oid, 'EXECUTE') AS may"
            " FROM pg_proc p, pg_roles r WHERE p.pronamespace = 'public'::regnamespace AND r.rolname = ANY($1)",
            [role_of(dsn) for dsn in place.dsns.values()],
        )
    finally:
        await connection.close()
    own = role_of(place.dsns[service])
    wrong = []
    for cell in cells:
        table, column, verb = cell["relname"], cell["attname"], cell["verb"]
        by_table = cell["rolname"] == own and verb in matrix.tables.get(table, ())
        by_column = by_table or (cell["rolname"] == own and verb in matrix.columns.get((table, column), ()))
        if cell["by_table"] != by_table or cell["by_column"] != (by_column and verb in COLUMN_VERBS):
            wrong.append((cell["rolname"], table, column, verb))
    called = {row["proname"] for row in functions if row["may"] and row["rolname"] == own}
    assert wrong == []
    assert {row["relname"] for row in cells} >= set(matrix.tables), "the matrix names a table that is not there"
    assert called == matrix.functions
    assert not [row for row in functions if row["may"] and row["rolname"] != own]


async def test_the_router_cannot_begin_a_reign_without_the_lock_of_the_shard(place: Place) -> None:
    connection = await asyncpg.connect(place.dsns["router"])
    try:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.fetch("SELECT * FROM take_shard(3, 'thief')")
        assert refused.value.sqlstate == "PL003"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE shard_lease SET epoch = epoch + 1 WHERE shard = 3")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE contact SET state = 'completed'")

        await connection.fetchval("SELECT pg_advisory_lock(7318002, 3)")
        row = await connection.fetchrow("SELECT * FROM take_shard(3, 'rightful')")
        assert row is not None and row["epoch"] == 1
    finally:
        await connection.close()
