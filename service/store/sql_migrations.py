"""Run the Alembic migrations of this package on a connection that is in a transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

# Any constant will do, as long as nobody else on the server locks it: "promoban" in bytes.
_ADVISORY_LOCK = 0x70726F6D6F62616E


def upgrade(connection: Connection) -> None:
    """Upgrade to the newest revision; on SQLite the caller's BEGIN IMMEDIATE is the lock."""
    _lock(connection)
    command.upgrade(_config(connection), "head")


def downgrade(connection: Connection, revision: str = "base") -> None:
    """Go back to a revision; what the newer tables held is lost."""
    _lock(connection)
    command.downgrade(_config(connection), revision)


def is_current(connection: Connection) -> bool:
    """Return whether the database stands at the newest revision that is known here, or beyond.

    While a release rolls out, processes of the one before it run on the newer schema, which only
    adds to theirs.
    """
    known = ScriptDirectory.from_config(_config(connection))
    found = set(MigrationContext.configure(connection).get_current_heads())
    beyond = found - {script.revision for script in known.walk_revisions()}
    return bool(beyond) or found == set(known.get_heads())


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
