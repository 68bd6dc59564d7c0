"""Whatever goes wrong, nothing secret comes out in logs, metrics or problems."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from tests.architecture.sources import ROOT
from tests.servers import postgres_database, promobandit_service, redis_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

JSON = {"Content-Type": "application/json"}


def secret(name: str) -> str:
    return f"Hush{name}9z"


@dataclass
class Leaks:
    """Remembers what was sent and what was answered."""

    url: str
    client: httpx.Client
    said: list[str] = field(default_factory=list)  # Problems, and what ops can see.
    tokens: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        """Ask, and keep what a problem says, headers included."""
        answer = self.client.request(method, path, **options)
        if answer.status_code >= 400:
            self.said.append(f"{answer.headers} {answer.text}")
        return answer

    def choose(self, **body: object) -> httpx.Response:
        """Choose, and keep the token."""
        answer = self.ask("POST", "/choose", json={"experiment": "spring", **body})
        if answer.status_code == 200:
            self.tokens.append(answer.json()["decision_id"])
        return answer

    def raw(self, request: bytes) -> None:
        """Send bytes that need not be HTTP."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while more := connection.recv(65_536):
                answer += more
        self.said.append(answer.decode("latin-1"))


def define(leaks: Leaks) -> None:
    variants = [{"id": "a", "payload": {"subject": secret("Payload")}}, {"id": "b"}]
    assert leaks.ask("PUT", "/experiments/spring", json={"variants": variants}).is_success


def be_a_good_caller(leaks: Leaks) -> None:
    context = {secret("Feature"): secret("Context")}
    answer = leaks.choose(unit=secret("Unit"), occasion=secret("Occasion"), context=context)
    assert answer.status_code == 200, answer.text
    query = f"experiment=spring&unit={secret('QueryUnit')}&occasion={secret('QueryOccasion')}"
    assert leaks.ask("GET", f"/choose?{query}&key={secret('UrlKey')}").status_code < 500
    units = [secret("BatchUnit") + str(i) for i in range(5)]
    body = {"experiment": "spring", "occasion": secret("Send"), "units": units}
    leaks.ask("POST", "/choose/batch", json=body)
    event = {"event_id": secret("EventId")}
    leaks.ask("POST", "/reward", json={"decision_id": leaks.tokens[0], **event})


def be_a_bad_caller(leaks: Leaks) -> None:
    body, there = secret("Body"), "/experiments/spring"
    for content in (
        body.encode(),
        b'{"variants": [{"id": "%s!"}]}' % body.encode(),
        b'{"%s": 1, "%s": 2}' % (body.encode(), body.encode()),
        b'{"unit": "%s\\u0000", "experiment": "spring"}' % body.encode(),
        b'{"unit": "%s", "experiment": "%s"}' % (body.encode(), body.encode()),
        b'{"experiment": "spring", "unit": "u", "context": "%s"}' % body.encode(),
        b'{"experiment": "spring", "unit": "%s\\ud800"}' % body.encode(),
        b'{"experiment": "spring", "unit": "u", "force": "%s"}' % body.encode(),
        b'{"decision_id": "%s", "event": "%s!"}' % (body.encode(), body.encode()),
        b'{"decision_id": "%s"}' % (body.encode() * 8),
        b"[" * 5_000 + body.encode(),
        b'{"policy": {"name": "%s"}, "variants": [{"id": "a"}]}' % body.encode(),
        b'{"rewards": [{"decision_id": "%s"}, "%s"]}' % (body.encode(), body.encode()),
    ):
        for method, path in (
            ("PUT", there),
            ("POST", "/choose"),
            ("POST", "/choose/batch"),
            ("POST", "/reward"),
            ("POST", "/reward/batch"),
        ):
            leaks.ask(method, path, content=content, headers=JSON)
    leaks.ask("GET", f"/choose?experiment=spring&unit=u&{secret('Query')}={secret('Query')}")
    leaks.ask("GET", f"/experiments?after={secret('Query')}&limit={secret('Query')}")
    leaks.ask("GET", f"/{secret('Path')}")
    leaks.ask("GET", f"/experiments/{secret('Path')}")
    leaks.ask("PUT", f"/experiments/-{secret('Path')}", json={})
    leaks.ask("POST", f"/experiments/spring/variants/{secret('Path')}/pause")


def show_bad_papers(leaks: Leaks) -> None:
    key = f"pb_{secret('Id')}_{secret('Key')}"
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"{key}"},
        {"X-Request-Id": f"{secret('RequestId')} <script>"},
        {"X-Actor": f"<{secret('Actor')}>"},
        {"Content-Type": secret("Header")},
    ):
        leaks.ask("GET", "/experiments/nobody", headers=headers)
        leaks.ask("PUT", "/experiments/spring", json={}, headers=headers)
        leaks.ask("POST", "/choose", json={"experiment": "nobody", "unit": "u"}, headers=headers)
    leaks.ask("GET", f"/choose?experiment=spring&unit=u&key={key}")
    hidden = secret("Wire").encode()
    leaks.raw(b"GET /%s HTTP/9.9\r\n%s\r\n\r\n" % (hidden, hidden))
    leaks.raw(b"CONNECT %s:443 HTTP/1.1\r\nHost: x\r\n\r\n" % hidden)
    leaks.raw(b"GET /?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (hidden * 1_000))
    leaks.raw(
        b"POST /reward HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % hidden
    )


def break_sql(server_url: str) -> None:
    """Throw everybody out of the database, and let nobody in again."""
    with psycopg.connect(server_url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute("ALTER DATABASE secrets ALLOW_CONNECTIONS false")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'secrets'"
        )


@contextmanager
def redis_with_password(directory: Path) -> Iterator[tuple[str, redis.Redis]]:
    """Run a Redis that wants a password; give its URL with it, and a client."""
    with redis_server("redis", directory) as url:
        client: redis.Redis = redis.Redis.from_url(url)
        client.config_set("requirepass", secret("RedisPassword"))
        client.auth(secret("RedisPassword"))
        yield url.replace("unix://", f"unix://:{secret('RedisPassword')}@"), client


@pytest.fixture(scope="module")
def leaks(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str
) -> Iterator[tuple[Leaks, str]]:
    """Live through all that may go wrong; give what was said, and the log."""
    data_dir = tmp_path_factory.mktemp("secrets") / "data"
    with (
        tempfile.TemporaryDirectory(prefix="pb-") as name,
        redis_with_password(Path(name)) as (redis_url, redis_client),
        postgres_database(postgres_url, "secrets") as database_url,
    ):
        env = {
            "DATABASE_URL": database_url.replace("postgres@", f"postgres:{secret('SqlPassword')}@"),
            "REDIS_URL": redis_url,
            "PROMOBANDIT_LOG_LEVEL": "DEBUG",
            "PROMOBANDIT_LOG_FORMAT": "json",
        }
        with (
            promobandit_service(data_dir, "--workers", "1", env=env) as service,
            httpx.Client(base_url=service.url, timeout=30) as client,
        ):
            leaks = Leaks(service.url, client)
            live_through_faults(leaks, redis_client, postgres_url)
        yield leaks, data_dir.with_suffix(".log").read_text()


def live_through_faults(leaks: Leaks, redis_client: redis.Redis, server_url: str) -> None:
    define(leaks)
    be_a_good_caller(leaks)
    be_a_bad_caller(leaks)
    show_bad_papers(leaks)
    redis_client.config_set("requirepass", secret("AnotherPassword"))
    redis_client.client_kill_filter(skipme=True)
    be_a_good_caller(leaks)
    redis_client.shutdown(nosave=True)
    be_a_good_caller(leaks)
    break_sql(server_url)
    be_a_good_caller(leaks)
    be_a_bad_caller(leaks)
    leaks.ask("PUT", "/experiments/summer", json={"variants": [{"id": secret("Variant")}]})
    leaks.ask("GET", "/readyz")
    leaks.said.append(leaks.ask("GET", "/metrics").text)


def where(text: str) -> list[str]:
    """Return the lines that hold a secret, cut to what is around it."""
    return [
        line[max(0, at - 200) : at + 60]
        for line in text.splitlines()
        if (at := line.find("Hush")) >= 0
    ]


def test_no_secret_stands_in_a_log_line(leaks: tuple[Leaks, str]) -> None:
    _, log = leaks

    assert where(log) == []


def test_no_secret_is_told_in_a_problem_or_a_metric(leaks: tuple[Leaks, str]) -> None:
    said = "\n".join(leaks[0].said)

    assert len(leaks[0].said) > 100
    assert where(said) == []


def test_no_decision_id_stands_in_a_log_line_or_a_problem(leaks: tuple[Leaks, str]) -> None:
    found, log = leaks
    texts = [log, *found.said]

    assert found.tokens
    assert [text for text in texts for token in found.tokens if token[:24] in text] == []


def test_the_faults_were_logged_all_the_same(leaks: tuple[Leaks, str]) -> None:
    lines = [json.loads(line) for line in leaks[1].splitlines() if line.startswith("{")]

    assert {line["event"] for line in lines} >= {
        "redis_unavailable",
        "ledger_unavailable_rewards_queued",
    }


POSTGRES = "postgresql+psycopg://u"
WRONG = {
    "a password with a slash": ("worker", "REDIS_URL", "redis://:Hush/9z@localhost/0"),
    "a password with a hash": ("worker", "REDIS_URL", "redis://:Hush#9z@localhost/0"),
    "a Sentinel without a service": ("worker", "REDIS_URL", "redis+sentinel://:Hush9z@localhost"),
    "a port that is none": ("migrate", "DATABASE_URL", f"{POSTGRES}:Hush9z@localhost:Hush9z/x"),
    "a driver that is none": ("migrate", "DATABASE_URL", "Hush9z://u:Hush9z@localhost/x"),
    "nobody there": ("migrate", "DATABASE_URL", f"{POSTGRES}:Hush9z@127.0.0.1:9/x"),
    "an option that is none": ("migrate", "DATABASE_URL", f"{POSTGRES}:Hush9z@127.0.0.1:9/x?y=z"),
}


def started(directory: Path, command: str, variable: str, address: str) -> subprocess.Popen[str]:
    addresses = {"REDIS_URL": "redis://127.0.0.1:9", "DATABASE_URL": "sqlite:///nobody.db"}
    return subprocess.Popen(
        [sys.executable, "-m", "service", command, "--data-dir", str(directory)],
        env={"PYTHONPATH": str(ROOT), **addresses, variable: address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
    )


def test_no_command_tells_a_password_when_an_address_is_wrong(tmp_path: Path) -> None:
    processes = {name: started(tmp_path, *each) for name, each in WRONG.items()}
    said = {}
    for name, process in processes.items():
        said[name], _ = process.communicate(timeout=60)

    assert [name for name, text in said.items() if "Hush" in text] == []
    assert {process.returncode for process in processes.values()} == {1}
    assert all(text.startswith("promobandit ") for text in said.values())
