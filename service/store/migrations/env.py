"""What Alembic runs: migrate over the connection, and in the transaction, of the caller."""

from alembic import context

from service.store import (
    sql_tables_access,  # noqa: F401  Its tables join the metadata.
    sql_tables_privacy,  # noqa: F401
    sql_tables_quality,  # noqa: F401
    sql_tables_service_levels,  # noqa: F401
    sql_tables_split,  # noqa: F401
    sql_tables_webhooks,  # noqa: F401
)
from service.store.sql_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite changes a table by copying it.
)
context.run_migrations()
