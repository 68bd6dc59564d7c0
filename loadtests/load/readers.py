"""The users who read what the service knows, for Locust: analysts, and the machines of ops."""

from __future__ import annotations

from locust import constant_pacing, task

from loadtests.load.shapes import ANALYST_SECONDS, OPERATOR_SECONDS
from loadtests.load.users import ServiceUser

EXPORTED = 1  # The smallest campaign: nobody exports a newsletter's millions every few seconds.
PAGES = (
    *("report", "report.csv", "allocation", "decisions.csv"),
    *("report", "health", "trail", "decisions.ndjson"),
)


class AnalystUser(ServiceUser):
    """Somebody who reads reports, exports a campaign, and looks where the allocation stands."""

    wait_time = constant_pacing(ANALYST_SECONDS)

    @task
    def look(self) -> None:
        """Read one page after the other, of one experiment after the other."""
        page = PAGES[self.asked % len(PAGES)]
        which = EXPORTED if page.startswith("decisions") else self.asked % len(self.experiments)
        self.asked += 1
        path = f"/experiments/{self.experiments[which]}/{page}"
        with self.asking("GET", path, f"GET /experiments/{{experiment_id}}/{page}") as answer:
            if answer is not None and page == "report":
                shares = [variant["allocation"] for variant in answer.json()["variants"]]
                if abs(sum(shares) - 1.0) > 1e-6:
                    answer.failure("the allocation does not sum to 1")


class OperatorUser(ServiceUser):
    """Prometheus and a load balancer: they scrape and probe."""

    wait_time = constant_pacing(OPERATOR_SECONDS)

    @task
    def watch(self) -> None:
        """Scrape and probe once."""
        for path in ("/metrics", "/readyz", "/sla"):
            with self.asking("GET", path, f"GET {path}"):
                pass
