"""Whoever makes a webhook is told, and can prove who told it."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from pathlib import Path

import httpx
import pytest

from tests.e2e.marketing import wait_until
from tests.http_receiver import http_receiver
from tests.servers import promobandit_service

pytestmark = pytest.mark.e2e


def signature_of(secret: str, headers: dict[str, str], body: bytes) -> str:
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def test_a_test_message_arrives_signed_and_is_seen_as_delivered(tmp_path: Path) -> None:
    hosts = {"PROMOBANDIT_WEBHOOK_HOSTS": "127.0.0.1"}
    with (
        http_receiver() as receiver,
        promobandit_service(tmp_path / "data", env=hosts) as service,
        httpx.Client(base_url=service.url, timeout=10) as client,
    ):
        body = {"url": f"{receiver.url}/hook?token=hush"}
        made = client.put("/webhooks/data-team", json=body).json()
        asked = client.post("/webhooks/data-team/test")
        wait_until(lambda: bool(receiver.posts))
        wait_until(lambda: shown(client)["deliveries"][0]["delivered_at"] is not None)
        seen = shown(client)
        removed = client.delete("/webhooks/data-team")

    ((path, headers, told),) = receiver.posts
    assert (asked.status_code, removed.status_code) == (202, 204)
    assert path == "/hook?token=hush"
    assert json.loads(told)["data"] == {"webhook": "data-team"}
    assert headers["webhook-signature"] == signature_of(made["secret"], headers, told)
    assert seen["deliveries"][0]["id"] == headers["webhook-id"] == asked.json()["id"]
    assert made["secret"] not in json.dumps(seen)
    assert "hush" not in (tmp_path / "data.log").read_text()


def shown(client: httpx.Client) -> dict[str, list[dict[str, str | None]]]:
    shown: dict[str, list[dict[str, str | None]]] = client.get("/webhooks/data-team").json()
    return shown
