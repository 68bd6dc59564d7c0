"""`promobandit keys` shows a secret once, and without keys nobody but this machine is let in."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.cli import main
from service.cli.exposure import address_of, checked
from service.cli.processes import groups_of
from service.domain.access import KEY_TEXT_PATTERN
from service.errors import ServiceError
from service.settings import Settings

DAY_SECONDS = 86_400
YEARS_AHEAD = "2999-01-31T12:00:00+02:00"


class Operator:
    """Somebody at a terminal, with a data directory."""

    def __init__(self, data_dir: Path, terminal: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self._terminal = terminal

    def runs(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, and what it wrote to stdout and stderr."""
        code = main([*arguments, "--data-dir", str(self.data_dir)])
        told = self._terminal.readouterr()
        return code, told.out, told.err

    def makes(self, *arguments: str) -> str:
        """Make a key and return it."""
        code, out, err = self.runs("keys", "create", *arguments)
        assert code == 0, err
        return out.splitlines()[0]

    def list(self, *arguments: str) -> list[list[str]]:
        """Return the cells of the list of keys, without its heading."""
        _, out, _ = self.runs("keys", "list", *arguments)
        return [re.split(r"  +", line) for line in out.splitlines()[1:]]


@pytest.fixture
def operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    return Operator(tmp_path / "data", capsys)


def test_a_key_is_shown_once_with_what_it_is_for(operator: Operator) -> None:
    code, out, err = operator.runs(
        *("keys", "create", "--scope", "reward", "--scope", "choose", "--tenant", "shop"),
        *("--rate", "50", "--expires", YEARS_AHEAD, "--name", "the shop's mailer"),
    )

    key, purpose, warning = out.splitlines()
    assert (code, err) == (0, "")
    assert re.match(KEY_TEXT_PATTERN, key)
    assert purpose == (
        "for choose, reward as tenant shop, at most 50 a second, until 2999-01-31T10:00:00Z"
    )
    assert "once" in warning
    assert operator.data_dir.stat().st_mode & 0o777 == 0o700


def test_the_list_tells_everything_but_the_secret(operator: Operator) -> None:
    key = operator.makes("--scope", "choose", "--name", "the shop's mailer")
    _, key_id, secret = key.split("_", 2)
    _, out, _ = operator.runs("keys", "list")

    heading, row = out.splitlines()
    assert re.split(r"  +", heading) == [
        *("id", "tenant", "name", "scopes", "created", "expires", "last used", "state"),
    ]
    cells = re.split(r"  +", row)
    assert cells[:4] == [key_id, "default", "the shop's mailer", "choose"]
    assert cells[5:] == ["never", "never", "valid"]
    assert secret not in out
    assert secret.encode() not in (operator.data_dir / "ledger.db").read_bytes()


def test_a_tenants_keys_are_listed_alone(operator: Operator) -> None:
    operator.makes("--scope", "choose")
    operator.makes("--scope", "report", "--tenant", "shop")

    assert [row[1] for row in operator.list("--tenant", "shop")] == ["shop"]
    code, _, err = operator.runs("keys", "list", "--tenant", "nobody")
    assert (code, err) == (1, "promobandit keys: there is no tenant of this name\n")


def test_a_revoked_key_is_shown_as_such_and_not_revoked_again(operator: Operator) -> None:
    key_id = operator.makes("--scope", "choose").split("_")[1]
    first, told, _ = operator.runs("keys", "revoke", key_id)
    second, _, err = operator.runs("keys", "revoke", key_id)

    assert (first, second) == (0, 1)
    assert told.startswith(f"key {key_id} is revoked")
    assert "no key of this id" in err
    assert operator.list()[0][-1] == "revoked"


def test_a_key_may_end_some_time_from_now(operator: Operator) -> None:
    operator.makes("--scope", "choose", "--expires", "P90D")

    ends = datetime.fromisoformat(operator.list()[0][5])
    assert abs((ends - datetime.now(UTC)).total_seconds() - 90 * DAY_SECONDS) < 600


@pytest.mark.parametrize("expires", ["P1Y", "P", "soon", "2999-01-31", "2999-01-31T12:00:00"])
def test_an_end_that_is_no_time_is_refused(
    operator: Operator, expires: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        operator.makes("--scope", "choose", "--expires", expires)

    assert end.value.code == 2
    assert "argument --expires" in capsys.readouterr().err
    assert not operator.data_dir.exists()


def test_another_tenant_gets_no_key_to_the_whole_services_metrics(operator: Operator) -> None:
    code, out, err = operator.runs("keys", "create", "--scope", "metrics", "--tenant", "shop")

    assert (code, out) == (1, "")
    assert "scope metrics shows the whole service: only the tenant default may have it" in err


@pytest.mark.parametrize("command", [["list"], ["revoke", "abcdefghijkl"]])
def test_where_no_data_is_none_is_made(operator: Operator, command: list[str]) -> None:
    code, _, err = operator.runs("keys", *command)

    assert code == 1
    assert "there is no data in" in err
    assert not operator.data_dir.exists()


def test_a_database_of_others_is_not_migrated_by_the_way(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/theirs.db")
    code, _, err = operator.runs("keys", "create", "--scope", "choose")

    assert code == 1
    assert "run promobandit migrate" in err


def test_every_act_on_keys_names_who_did_it(operator: Operator) -> None:
    key_id = operator.makes("--scope", "choose").split("_")[1]
    operator.runs("keys", "revoke", key_id)
    operator.runs("rotate-signing-key")

    with sqlite3.connect(operator.data_dir / "ledger.db") as ledger:
        acts = ledger.execute("SELECT action, actor FROM admin_acts ORDER BY id").fetchall()
    ledger.close()
    assert [action for action, _ in acts] == ["create key", "revoke key", "rotate signing key"]
    assert all(re.fullmatch(r"cli:\S+", actor) for _, actor in acts)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104
def test_without_a_key_no_other_address_is_listened_on(operator: Operator, host: str) -> None:
    code, _, err = operator.runs("serve", "--host", host, "--port", "0")

    assert code == 1
    assert f"will not listen on {host} without an API key" in err
    assert "promobandit keys create" in err


def test_a_key_that_has_ended_lets_nobody_listen(operator: Operator) -> None:
    key_id = operator.makes("--scope", "choose").split("_")[1]
    settings = Settings(data_dir=operator.data_dir)
    before = checked("192.0.2.7", settings, migrate=False)
    operator.runs("keys", "revoke", key_id)

    assert before
    with pytest.raises(RuntimeError, match="without an API key"):
        checked("192.0.2.7", settings, migrate=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_the_loopback_no_key_is_asked_for(operator: Operator, host: str) -> None:
    settings = Settings(data_dir=operator.data_dir)

    assert not checked(address_of(host), settings, migrate=False)


@pytest.mark.parametrize("host", ["", "0", "0x7f.1.1.1.1"])
def test_an_odd_spelling_does_not_pass_for_the_loopback(operator: Operator, host: str) -> None:
    settings = Settings(data_dir=operator.data_dir)

    with pytest.raises((ServiceError, OSError)):  # There is no SQL to ask for keys either.
        checked(address_of(host), settings, migrate=True)


def test_one_api_process_alone_is_as_careful(operator: Operator) -> None:
    key_id = operator.makes("--scope", "choose").split("_")[1]
    operator.runs("keys", "revoke", key_id)
    code, _, err = operator.runs("api", "--host", "192.0.2.7", "--port", "0")

    assert code == 1
    assert "promobandit api: will not listen on 192.0.2.7 without an API key" in err


@pytest.mark.parametrize("is_exposed", [True, False])
def test_processes_are_told_that_others_reach_them(*, is_exposed: bool) -> None:
    api, (worker,) = groups_of(3, 2, is_exposed=is_exposed)

    assert [("--exposed" in child.arguments) for child in api] == [is_exposed] * 2
    assert "--exposed" not in worker.arguments
