"""A post leaves for the public internet only, whatever a name leads to, and follows nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from service.store.webhook_ports import DeliveryError
from service.store.webhook_posts import WebhookPosts
from tests.http_receiver import http_receiver

NAME = "hooks.example.com"


async def test_a_host_that_is_allowed_is_told() -> None:
    posts = WebhookPosts({"127.0.0.1"})

    with http_receiver() as receiver:
        status = await posts.post(f"{receiver.url}/a?b=c", {"webhook-id": "msg_1"}, b"{}")
        await posts.close()

    ((path, headers, body),) = receiver.posts
    assert (status, path, body) == (204, "/a?b=c", b"{}")
    assert headers["webhook-id"] == "msg_1"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%eth0"]],
)
async def test_a_name_that_leads_inside_is_told_nothing(addresses: Sequence[str]) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        assert host == NAME
        assert port
        return addresses

    posts = WebhookPosts({"127.0.0.1"}, resolve)

    with http_receiver() as receiver:
        with pytest.raises(DeliveryError, match="not public"):
            await posts.post(f"http://{NAME}:{receiver.port}/", {}, b"{}")
        await posts.close()

    assert receiver.posts == []


async def test_a_name_is_looked_up_once_and_connected_to_what_was_checked() -> None:
    asked = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    posts = WebhookPosts({NAME}, resolve)

    with http_receiver() as receiver:
        status = await posts.post(f"http://{NAME}:{receiver.port}/", {}, b"{}")
        await posts.close()

    ((_, headers, _),) = receiver.posts
    assert (status, asked) == (204, [(NAME, receiver.port)])
    assert headers["host"] == f"{NAME}:{receiver.port}"


async def test_a_look_up_waits_for_nobody_on_the_event_loops_threads() -> None:
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    blocked = loop.run_in_executor(None, over.wait)
    posts = WebhookPosts({"localhost"})

    with http_receiver() as receiver:
        status = await posts.post(f"http://localhost:{receiver.port}/", {}, b"{}")
        await posts.close()
    over.set()

    assert await blocked
    assert status == 204


async def test_of_an_answer_without_an_end_only_the_status_is_read() -> None:
    hung_up = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
        hung_up.set()

    posts = WebhookPosts({"127.0.0.1"})
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        status = await posts.post(f"http://127.0.0.1:{port}/", {}, b"{}")
        await asyncio.wait_for(hung_up.wait(), 5)
    await posts.close()

    assert status == 200


async def test_a_redirect_is_not_followed() -> None:
    posts = WebhookPosts({"127.0.0.1"})

    with http_receiver() as receiver:
        receiver.status, receiver.location = 307, f"{receiver.url}/elsewhere"
        status = await posts.post(f"{receiver.url}/", {}, b"{}")
        await posts.close()

    assert status == 307
    assert [path for path, *_ in receiver.posts] == ["/"]


async def test_a_name_that_is_none_leads_nowhere() -> None:
    posts = WebhookPosts({"hooks..inside"})

    with pytest.raises(DeliveryError, match="nowhere"):
        await posts.post("http://hooks..inside/", {}, b"{}")
    await posts.close()


async def test_nobody_there_is_an_error_without_an_address() -> None:
    posts = WebhookPosts({"127.0.0.1"})
    with http_receiver() as receiver:
        closed = receiver.url

    with pytest.raises(DeliveryError) as failed:
        await posts.post(closed, {}, b"{}")
    await posts.close()

    assert "127" not in str(failed.value)
