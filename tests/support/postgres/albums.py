"""Two more tables with owners, with columns and keys that the project's own do not have."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import sqlalchemy as sa
from sqlmodel import SQLModel

from dev.lab.sql import run_sql

ROWS = (
    "INSERT INTO users VALUES ('eve'), ('fay')",
    "INSERT INTO albums (user_id, price, cover) VALUES "
    "('eve', 12345678901234567890.123456789, '\\x00ff'), ('fay', NULL, NULL)",
    'INSERT INTO "album tracks" VALUES '
    "('eve', 1, '{a,NULL,\"b c\"}', '2026-01-02 03:04:05.678901'), ('fay', 2, NULL, NULL)",
)


@contextmanager
def albums_of_eve_and_fay(uri: str) -> Iterator[None]:
    """Add the tables to the models and to a database, with an album and a track of each user."""
    metadata = SQLModel.metadata
    albums = sa.Table(
        "albums",
        metadata,
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("number", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("price", sa.Numeric),
        sa.Column("twice", sa.Numeric, sa.Computed("price * 2", persisted=True)),
        sa.Column("cover", sa.LargeBinary),
        info={"owner": "user_id"},
    )
    tracks = sa.Table(
        "album tracks",  # before `albums` by name, after it by its foreign key
        metadata,
        sa.Column("the owner", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tags", sa.ARRAY(sa.Text)),
        sa.Column("added", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["the owner", "number"], ["albums.user_id", "albums.number"], ondelete="RESTRICT"
        ),
        info={"owner": "the owner"},
    )
    tables = [albums, tracks]
    try:
        engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(uri))
        metadata.create_all(engine, tables)
        engine.dispose()
        run_sql(uri, *ROWS)
        yield
    finally:
        for table in tables:
            metadata.remove(table)
