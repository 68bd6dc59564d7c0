"""`promobandit sla check` tells with its exit code whether a service keeps its promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from service.cli import main

KEY = "pb_abcdefghijkl_hush"
LEVEL: dict[str, Any] = {
    "requests": 0, "bad": 0, "good_share": None, "error_budget_left": 1.0,
    "p50_ms": None, "p95_ms": None, "p99_ms": None, "verdict": "no_data", "broken": [],
}  # fmt: skip
ASKED = {"requests": 2000, "bad": 30, "good_share": 0.985, "p50_ms": 0.8, "p95_ms": 2.0}


def levels(hour: str, month: str, covers: str = "service") -> bytes:
    """Return an answer of `GET /sla` with verdicts."""
    named = {"1h": hour, "30d": month}
    windows = {
        name: LEVEL | ASKED | {"p99_ms": 9.94, "verdict": verdict, "error_budget_left": -14.0}
        for name, verdict in named.items()
    }
    windows["1h"]["broken"] = ["good_share", "p99"] if hour == "broken" else []
    route = {"route": "POST /choose", "objective": 0.999, "windows": windows, "more": 1}
    return json.dumps({"covers": covers, "windows": named, "routes": [route]}).encode()


class Service(HTTPServer):
    """A service that answers what a test wants, and remembers what it was asked."""

    status = 200
    body = b"{}"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.server.status)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.delenv("PROMOBANDIT_API_KEY", raising=False)
    with Service() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        (levels("met", "met"), "", 0),
        (levels("met", "no_data"), "", 0),
        (levels("broken", "met"), "", 1),
        (levels("met", "broken"), "", 1),
        (levels("met", "broken"), "--window 1h", 0),
        (levels("no_data", "met"), "--window 1h", 2),
        (levels("no_data", "met"), "--window 1h --allow-no-data", 0),
        (levels("broken", "no_data"), "--allow-no-data", 1),
        (levels("met", "met", "process"), "", 2),
        (levels("broken", "met", "process"), "", 1),
        (b"{}", "", 2),
        (b"<html>", "--allow-no-data", 2),
    ],
)
def test_the_exit_code_is_the_verdict(
    service: Service, body: bytes, options: str, code: int
) -> None:
    service.body = body

    assert main(["sla", "check", "--url", service.url, *options.split()]) == code
    assert service.asked == [("/sla", None)]


def test_a_table_says_what_came_of_each_promise(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.body = levels("broken", "met")

    main(["sla", "check", "--url", f"{service.url}/"])

    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "route window requests good promised budget left p50 ms p95 ms p99 ms verdict",
        "POST /choose 1h 2000 98.5000% 99.9% -1400.0% 0.8 2.0 9.9 broken (good share, p99)",
        "POST /choose 30d 2000 98.5000% 99.9% -1400.0% 0.8 2.0 9.9 met",
        "broken",
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "the service answered 401: it wants a key"),
        (403, "the service answered 403: the key lacks the scope metrics"),
        (302, "the service answered 302"),  # Whoever is elsewhere is not shown the key.
        (503, "the service answered 503"),
    ],
)
def test_what_cannot_be_told_is_said_shortly_and_never_with_the_key(
    service: Service, capsys: pytest.CaptureFixture[str], tmp_path: Path, status: int, told: str
) -> None:
    service.status = status
    (tmp_path / "key").write_text(f"{KEY}\n")

    code = main(["sla", "check", "--url", service.url, "--key-file", str(tmp_path / "key")])

    out, err = capsys.readouterr()
    assert (code, out, err) == (2, "", f"promobandit sla: {told}\n")
    assert service.asked == [("/sla", f"Bearer {KEY}")]


def test_the_key_may_come_from_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMOBANDIT_API_KEY", KEY)
    service.body = levels("met", "met")

    assert main(["sla", "check", "--url", service.url]) == 0
    assert service.asked == [("/sla", f"Bearer {KEY}")]


@pytest.mark.parametrize("content", [b"pb_\xff_hush", b"pb_hush\r\nX-Other: 1"])
def test_a_key_that_is_none_is_not_shown(
    service: Service, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "key").write_bytes(content)

    code = main(["sla", "check", "--url", service.url, "--key-file", str(tmp_path / "key")])

    err = capsys.readouterr().err
    assert (code, service.asked) == (2, [])
    assert err.startswith("promobandit sla: ")
    assert "hush" not in err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/hush", "http://[hush", "hush:/y", "http://"])
def test_an_address_that_does_not_answer_is_not_repeated(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sla", "check", "--url", url]) == 2
    err = capsys.readouterr().err
    assert err.startswith("promobandit sla: ")
    assert "hush" not in err
