"""What the environment says; the only place that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.domain.redis_address import redis_address

PROCESSES_VARIABLE = "PROMOBANDIT_API_PROCESSES"
METRICS_DIR_VARIABLE = "PROMOBANDIT_METRICS_DIR"


def _plain(name: str) -> AliasChoices:
    """Return the name of a variable that has no prefix of ours, because everybody's has none."""
    return AliasChoices(name)


class Settings(BaseSettings):
    """One process's settings; addresses are secrets because they may hold passwords."""

    model_config = SettingsConfigDict(
        env_prefix="PROMOBANDIT_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,  # It may be a password.
    )

    redis_url: SecretStr | None = Field(default=None, validation_alias=_plain("REDIS_URL"))
    database_url: SecretStr | None = Field(default=None, validation_alias=_plain("DATABASE_URL"))
    reports_database_url: SecretStr | None = None
    data_dir: Path = Path("data")
    api_key: SecretStr | None = None  # What the command line shows a running service.
    outbox_dir: Path | None = None
    metrics_dir: Path | None = None
    log_format: Literal["auto", "json", "pretty"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    api_processes: int = Field(default=1, ge=1)  # That share out a key's rate among them.
    audit_seconds: float = Field(default=600.0, gt=0)
    snapshot_seconds: float = Field(default=60.0, gt=0)
    quality_seconds: float = Field(default=10.0, gt=0)
    learning_page_seconds: float = Field(default=10.0, gt=0)
    # Hosts of one's own network that webhooks may tell, by plain http too.
    webhook_hosts: Annotated[frozenset[str], NoDecode] = frozenset()
    # Between saying on /readyz that the process will end and its end; for load balancers.
    drain_seconds: float = Field(default=0.0, ge=0, le=300)
    # For a worker that was told to end: what SQL has not taken by then stays in the outbox.
    last_drain_seconds: float = Field(default=20.0, ge=0, le=3_600)
    # At least what restores the replay memory; None: units are kept for ever.
    retention_days: int | None = Field(default=None, ge=3)

    @field_validator("webhook_hosts", mode="before")
    @classmethod
    def _are_hosts(cls, text: object) -> object:
        if isinstance(text, str):
            return frozenset(host.strip().lower() for host in text.split(",") if host.strip())
        return text

    @field_validator("redis_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            redis_address(url.get_secret_value())
        return url

    @property
    def outbox(self) -> Path:
        """The directory of outbox segments."""
        return self.data_dir / "outbox" if self.outbox_dir is None else self.outbox_dir

    @property
    def metrics(self) -> Path:
        """The directory in which the processes of one machine share their metrics."""
        return self.data_dir / "metrics" if self.metrics_dir is None else self.metrics_dir

    @property
    def is_embedded(self) -> bool:
        """Whether the ledger is in the data directory, so that nobody else looks after it."""
        return self.database_url is None

    @property
    def database(self) -> str:
        """The ledger's address: SQLite in the data directory unless another is given."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data_dir / 'ledger.db').absolute()}"

    @property
    def reports_database(self) -> str | None:
        """The address where reports and exports read; None: in the ledger's own database."""
        url = self.reports_database_url
        return None if url is None else url.get_secret_value()

    @property
    def redis(self) -> str:
        """The Redis-protocol server's address.

        Raises `LookupError` without one: only `promobandit serve` starts a server of its own.
        """
        if self.redis_url is None:
            raise LookupError("REDIS_URL is not set")
        return self.redis_url.get_secret_value()

    @property
    def is_pretty(self) -> bool | None:
        """Whether log lines are for people; None asks the terminal."""
        return None if self.log_format == "auto" else self.log_format == "pretty"


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with some changes, for a child process."""
    return {**os.environ, **changes}
