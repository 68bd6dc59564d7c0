"""A small HTTP client of the service: one connection, as lean as a measurement needs it."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterable
from typing import Any

TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1


class RefusedError(RuntimeError):
    """The service did not answer with a success."""


class Client:
    """Speaks to one service, on the loopback unless another host is named."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        self.key = ""

    def is_ready(self) -> bool:
        """Say whether the service says that it is ready."""
        try:
            self.request("GET", "/readyz")
        except (OSError, http.client.HTTPException, RefusedError):
            self._connection.close()
            return False
        return True

    def hang_up(self) -> None:
        """Close the connection; the next request opens one that no server has tired of."""
        self._connection.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return the body of a successful answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= http.client.MULTIPLE_CHOICES:
            raise RefusedError(f"{method} {path}: {response.status} {answer[:500]!r}")
        return answer

    def put_experiment(self, experiment: str, variants: int = 2) -> None:
        """Create a running experiment."""
        body = {
            "variants": [
                {"id": f"variant-{i:03d}", "payload": {"subject": "Hello"}} for i in range(variants)
            ]
        }
        self.request("PUT", f"/experiments/{experiment}", json.dumps(body).encode())

    def choose_batch(self, body: bytes) -> bytes:
        """Return the answer to one batch of choices."""
        return self.request("POST", "/choose/batch", body)

    def totals(self, experiment: str) -> tuple[int, int]:
        """Return how many pulls and rewards of an experiment the ledger holds."""
        report: dict[str, Any] = json.loads(
            self.request("GET", f"/experiments/{experiment}/report")
        )
        variants = report["variants"]
        return sum(v["pulls"] for v in variants), sum(v["rewards"] for v in variants)

    def wait_for_pulls(self, experiment: str, pulls: int, seconds_max: float) -> float:
        """Wait until the ledger holds so many pulls; return the seconds that took."""
        started = time.perf_counter()
        while self.totals(experiment)[0] < pulls:
            if time.perf_counter() - started > seconds_max:
                raise RefusedError(f"{pulls} pulls were not in the ledger in {seconds_max} s")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - started

    def wait_until_closed(self, seconds_max: float = 10.0) -> None:
        """Wait until nobody is let in without a key any more."""
        key, self.key = self.key, ""
        deadline = time.perf_counter() + seconds_max
        try:
            while True:
                self.request("GET", "/experiments")
                if time.perf_counter() > deadline:
                    raise TimeoutError("the service stayed open")
                time.sleep(POLL_SECONDS)
        except RefusedError:
            self.key = key

    def drained(self) -> int:
        """Return how many records the worker has committed to the ledger since its start."""
        return self._counted("drained_records")

    def fallbacks(self) -> int:
        """Return how many choices were answered without Redis."""
        return self._counted("fallbacks")

    def _counted(self, counter: str) -> int:
        """Return a counter's sum over its labels."""
        pattern = rf"^promobandit_{counter}_total(?:\{{.*\}})? (\S+)$"
        found = re.findall(pattern, self.request("GET", "/metrics").decode(), re.MULTILINE)
        return sum(int(float(value)) for value in found)

    def wait_for_drained(self, records: int, seconds_max: float) -> None:
        """Wait until the worker has committed so many records."""
        deadline = time.perf_counter() + seconds_max
        while self.drained() < records:
            if time.perf_counter() > deadline:
                raise RefusedError(f"{records} records were not drained in {seconds_max} s")
            time.sleep(POLL_SECONDS)


def batch_body(experiment: str, occasion: str, units: Iterable[str]) -> bytes:
    """Return the body of a batch of choices."""
    body = {"experiment": experiment, "occasion": occasion, "units": list(units)}
    return json.dumps(body, separators=(",", ":")).encode()
