"""docs/webhooks.md tells receivers what they get, and its code takes what is sent."""

from __future__ import annotations

import re
from typing import Any

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from service.domain.webhook import WEBHOOKS_MAX
from service.store.webhook_posts import POST_SECONDS_MAX
from service.webhooks.deliverer import KEPT_MS, PAUSES_MS
from service.webhooks.signing import secret_text, signed_headers
from service.webhooks.subscriptions import DELIVERIES_SHOWN, TEST_TYPE
from service.worker.announce import QUALITY_TYPE
from tests.architecture.sources import ROOT

PAGE = (ROOT / "docs" / "webhooks.md").read_text()
UNITS = {"s": SECOND_MS, "min": MINUTE_MS, "h": HOUR_MS}


def test_the_page_has_the_numbers_of_the_code() -> None:
    listed = PAGE.partition("tried again after ")[2].partition(", then given up")[0]
    pauses = [int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+) (\w+)", listed)]

    assert pauses == list(PAUSES_MS)
    assert f"A tenant may have {WEBHOOKS_MAX}." in PAGE
    assert f"its last {DELIVERIES_SHOWN} messages" in PAGE
    assert f"Any 2xx within {POST_SECONDS_MAX:.0f} s" in PAGE
    assert f"remembered for {KEPT_MS // DAY_MS} days" in PAGE
    assert f'"type": "{QUALITY_TYPE}"' in PAGE
    assert f"`{TEST_TYPE}`" in PAGE


def test_the_pages_code_tells_what_is_genuine() -> None:
    page: dict[str, Any] = {}
    exec(PAGE.partition("```python\n")[2].partition("```")[0], page)  # noqa: S102  It is ours.
    is_genuine, secret, body = page["is_genuine"], b"s" * 32, b'{"type":"webhook.test"}'
    headers = signed_headers("msg_1", secret, body, 1_000)

    assert is_genuine(secret_text(secret), headers, body, 1_100.0)
    assert not is_genuine(secret_text(b"t" * 32), headers, body, 1_100.0)
    assert not is_genuine(secret_text(secret), headers, body + b" ", 1_100.0)
    assert not is_genuine(secret_text(secret), headers, body, 2_000.0)
