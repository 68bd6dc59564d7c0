"""Reports and exports read where they are told to, and everything else in the ledger's database."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from service.bootstrap.api import build_api
from service.domain.experiment import Variant
from service.experiments import Definition, Target
from service.settings import Settings
from service.store.sql_ledger import SqlLedger
from tests.sql_stores import decision, opened

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("redis")]
DECISIONS = 7


async def test_reports_and_exports_read_the_replica(redis_url: str, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_url) as server:
        server.flushall()
    primary, replica = (f"sqlite:///{tmp_path / name}.db" for name in ("primary", "replica"))
    settings = Settings(
        redis_url=SecretStr(redis_url),
        database_url=SecretStr(primary),
        reports_database_url=SecretStr(replica),
        data_dir=tmp_path / "data",
    )
    async with opened(replica) as database, opened(primary):
        # What no replica has: something else than its primary, so that one sees who was asked.
        await SqlLedger(database).append([decision(n, experiment=1) for n in range(DECISIONS)], [])
        services = build_api(settings)
        await services.start()
        try:
            target = Target(tenant=1, experiment_id="spring", actor="ada")
            await services.experiments.put(
                target, Definition(variants=(Variant("a"), Variant("b")))
            )
            report = await services.reports.report(1, "spring")
            export = await services.exports.open(1, "spring")
            lines = b"".join([part async for part in export.ndjson()]).splitlines()
        finally:
            await services.stop()

    assert report.totals.pulls == len(lines) == DECISIONS
