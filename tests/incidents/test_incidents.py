"""The incidents are complete; they run for minutes, so `python -m tests.incidents` runs them."""

from __future__ import annotations

from tests.deploy.test_rules import alerts
from tests.incidents.incident import Incident, Outcome
from tests.incidents.prometheus import Alert
from tests.incidents.rows_serving import sends_pile_up
from tests.incidents.table import INCIDENTS

FIRES = Alert("Fires", (("route", "reports"),))
INCIDENT = Incident(
    name="One",
    alerts=("Fires",),
    breaking=sends_pile_up,
    labels={"route": "reports"},
    besides=frozenset({"MayFire"}),
)


def test_every_alert_has_an_incident_and_no_incident_waits_for_another() -> None:
    assert {name for incident in INCIDENTS for name in incident.alerts} == set(alerts())
    assert {name for incident in INCIDENTS for name in incident.besides} <= set(alerts())
    assert len({incident.name for incident in INCIDENTS}) == len(INCIDENTS)


def test_an_incident_is_as_it_should_be_when_its_alert_fires_and_only_others_that_may() -> None:
    outcome = Outcome(INCIDENT, {"Fires": 9.0}, frozenset({FIRES, Alert("MayFire")}))

    assert outcome.broken() == []


def test_an_incident_tells_what_did_not_fire_what_did_and_what_went_wrong() -> None:
    elsewhere = Alert("Fires", (("route", "sends"),))
    outcome = Outcome(INCIDENT, {}, frozenset({elsewhere, Alert("Another")}), ("a caller failed",))

    assert outcome.broken() == [
        "a caller failed",
        "Fires did not fire",
        "Another fired",
        "Fires fired",
    ]
