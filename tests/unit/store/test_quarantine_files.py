"""The quarantine forgets a unit: its records are wiped, what cannot be read is removed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from service.domain.erasure import Erasure
from service.store.outbox_reader import SegmentReader
from service.store.quarantine import QuarantineFiles
from service.store.records import Record
from tests.store_records import NOW_MS, HandClock, a_decision, a_reward


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def erasure(unit: str = "unit-1", tenant: int = 1) -> Erasure:
    return Erasure(
        id="0" * 32, tenant=tenant, unit=unit, requested_at_ms=NOW_MS, requested_by="ada"
    )


def put(home: Path, record: Record) -> None:
    home.mkdir(exist_ok=True)
    SegmentReader(home, HandClock()).quarantine("one.seg", record, "poison")


def put_bytes(home: Path, name: str, data: bytes) -> Path:
    (home / "quarantine").mkdir(parents=True, exist_ok=True)
    path = home / "quarantine" / name
    path.write_bytes(data)
    return path


def bodies(home: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(p.read_bytes()) for p in sorted((home / "quarantine").glob("*"))]


def test_a_decision_of_the_unit_is_wiped_and_kept(home: Path) -> None:
    put(home, replace(a_decision(1, context=b'{"age":41}'), occasion="for unit-1"))

    assert QuarantineFiles(home).erase([erasure()]) == 1

    (body,) = bodies(home)
    kept = {name: body["decision"][name] for name in ("unit", "occasion", "context", "variant")}
    assert kept == {"unit": "", "occasion": "", "context": None, "variant": 1}
    assert body["reason"] == "poison"


def test_records_of_other_units_and_tenants_stay_as_they_are(home: Path) -> None:
    put(home, a_decision(2))
    put(home, replace(a_decision(1), tenant=2))
    before = bodies(home)

    assert QuarantineFiles(home).erase([erasure()]) == 0

    assert bodies(home) == before


def test_an_event_id_that_tells_the_unit_is_wiped(home: Path) -> None:
    put(home, replace(a_reward(1), event_id="order of unit-1"))

    QuarantineFiles(home).erase([erasure()])

    assert [body["reward"]["event_id"] for body in bodies(home)] == [""]


def test_bytes_that_hold_the_unit_are_removed(home: Path) -> None:
    damaged = put_bytes(home, "one.seg.16.bin", b"\xff\x00...unit-1...\xfe")
    other = put_bytes(home, "one.seg.99.bin", b"\xff\x00...unit-2...\xfe")

    assert QuarantineFiles(home).erase([erasure()]) == 1

    assert (damaged.exists(), other.exists()) == (False, True)


def test_a_short_unit_must_be_a_whole_field_of_damaged_bytes(home: Path) -> None:
    by_chance = put_bytes(home, "one.seg.16.bin", b"an u among others")
    field = put_bytes(home, "one.seg.99.bin", b"..." + msgspec.msgpack.encode("u") + b"...")

    QuarantineFiles(home).erase([erasure("u")])

    assert (by_chance.exists(), field.exists()) == (True, False)


def test_a_request_that_has_forgotten_its_unit_wipes_nothing(home: Path) -> None:
    put(home, replace(a_decision(1), unit=""))

    assert QuarantineFiles(home).erase([erasure("")]) == 0


def test_files_that_are_too_old_are_removed(home: Path) -> None:
    old = put_bytes(home, "old.bin", b"x")
    young = put_bytes(home, "young.bin", b"x")
    os.utime(old, (1_000, 1_000))

    assert QuarantineFiles(home).expire(1_000_001) == 1

    assert (old.exists(), young.exists()) == (False, True)


def test_a_quarantine_that_was_never_made_is_empty(home: Path) -> None:
    assert QuarantineFiles(home).erase([erasure()]) == 0
    assert QuarantineFiles(home).expire(NOW_MS) == 0
