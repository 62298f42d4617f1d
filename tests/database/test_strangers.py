"""Objects of others that the owner's migrations would call, with the owner's rights."""

from collections.abc import Callable

import pytest
from alembic.util import CommandError

from dev.lab.sql import run_sql
from migrations.__main__ import migrate
from tests.support.postgres.clusters import EACH_VERSION, OWNER, Uris
from tests.support.postgres.revisions import NOTHING_TO_DO

# Whoever calls a function of the stranger writes the name of the role here.
CALLS = "CREATE TABLE public.calls (role text)"
NOTE = "INSERT INTO public.calls VALUES (current_user)"
OPERATOR = [
    CALLS,
    f"""CREATE FUNCTION public.equal("char", text) RETURNS boolean LANGUAGE sql
    BEGIN ATOMIC {NOTE}; SELECT true; END""",
    'CREATE OPERATOR public.= (leftarg = "char", rightarg = text, function = public.equal)',
]
FUNCTION = [
    CALLS,
    f"""CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE sql
    BEGIN ATOMIC {NOTE}; SELECT 'x'; END""",
]
RELATION = [CALLS, "CREATE TABLE public.alembic_version (version_num varchar(32) NOT NULL)"]
TRIGGER = [
    *RELATION,
    f"CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN {NOTE}; RETURN new; END $$",
    "CREATE TRIGGER note BEFORE INSERT ON public.alembic_version "
    "FOR EACH ROW EXECUTE FUNCTION public.note()",
]
VIEW = [
    *FUNCTION,
    "CREATE VIEW public.alembic_version AS "
    "SELECT public.set_config('role', 'none', true) AS version_num",
]


@pytest.fixture(params=EACH_VERSION)
def uris(request: pytest.FixtureRequest, empty: Callable[[str], Uris]) -> Uris:
    """An empty database in which PUBLIC may create, as in PostgreSQL 14 and older."""
    owner, superuser = empty(request.param)
    run_sql(superuser, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    run_sql(superuser, "CREATE ROLE other LOGIN NOINHERIT PASSWORD 'of-the-other'")
    return owner, superuser


def _as_stranger(uris: Uris, statements: list[str]) -> None:
    stranger = uris[0].replace(f"{OWNER}:of-the-test", "other:of-the-other")
    run_sql(stranger, *statements, "GRANT ALL ON public.calls TO PUBLIC")


def _calls(superuser: str) -> list[tuple[object, ...]]:
    return run_sql(superuser, "SET search_path = pg_catalog", "SELECT * FROM public.calls")


@pytest.mark.parametrize("login", ["owner", "superuser"])
@pytest.mark.parametrize(
    ("statements", "name"),
    [
        (OPERATOR, 'operator public.=("char",text)'),
        (FUNCTION, "function public.set_config(text,text,boolean)"),
    ],
    ids=["operator", "function"],
)
def test_what_a_stranger_has_made_on_the_search_path_is_refused_before_it_is_called(
    uris: Uris, statements: list[str], name: str, login: str
) -> None:
    owner, superuser = uris
    migrate(owner)
    run_sql(superuser, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    _as_stranger(uris, statements)

    with pytest.raises(CommandError) as refused:
        migrate(owner if login == "owner" else superuser)

    assert str(refused.value) == (
        "The schema public holds what a migration would call with the owner's rights, made by "
        f"others: {name} of other. No revision was applied. Drop it, or give it to the owner."
    )
    assert _calls(superuser) == []


@pytest.mark.parametrize("statements", [TRIGGER, VIEW], ids=["trigger", "view"])
def test_a_table_of_revisions_that_a_stranger_has_made_is_refused(
    uris: Uris, statements: list[str]
) -> None:
    _as_stranger(uris, [*statements, "GRANT ALL ON public.alembic_version TO PUBLIC"])

    with pytest.raises(CommandError, match=r"relation public\.alembic_version of other"):
        migrate(uris[0])

    assert _calls(uris[1]) == []


def test_what_the_owner_a_superuser_or_an_extension_has_made_is_no_strangers(uris: Uris) -> None:
    owner, superuser = uris
    migrate(owner)
    lower = "CREATE FUNCTION public.lower(int) RETURNS int LANGUAGE sql RETURN 1"
    upper = "CREATE FUNCTION public.upper(int) RETURNS int LANGUAGE sql RETURN 1"
    run_sql(owner, lower)
    run_sql(superuser, upper)
    # As if somebody who is no superuser had installed it.
    run_sql(
        superuser,
        "CREATE FUNCTION public.length(int) RETURNS int LANGUAGE sql RETURN 1",
        "ALTER FUNCTION public.length(int) OWNER TO other",
        "ALTER EXTENSION plpgsql ADD FUNCTION public.length(int)",
    )

    assert migrate(owner) == NOTHING_TO_DO


def test_a_search_path_of_the_role_or_of_the_database_does_not_steer_migrations(uris: Uris) -> None:
    owner, superuser = uris
    run_sql(
        superuser,
        f"CREATE SCHEMA app AUTHORIZATION {OWNER}",
        f"ALTER ROLE {OWNER} SET search_path = app",
        "ALTER DATABASE todo SET search_path = app",
    )
    try:
        migrate(owner)
    finally:
        run_sql(superuser, f"ALTER ROLE {OWNER} RESET search_path")

    tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('app', 'public')"
    assert run_sql(owner, f"{tables} ORDER BY 2") == [
        ("public", "alembic_version"),
        ("public", "todos"),
        ("public", "users"),
    ]
    assert migrate(owner) == NOTHING_TO_DO


def test_a_migration_ends_the_right_of_everybody_to_create_in_the_schema(uris: Uris) -> None:
    owner, superuser = uris
    run_sql(superuser, f"ALTER SCHEMA public OWNER TO {OWNER}")

    migrate(owner)

    may_create = "SELECT has_schema_privilege('other', 'public', 'CREATE')"
    assert run_sql(superuser, may_create) == [(False,)]
