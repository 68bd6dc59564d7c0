"""What each check last said of each experiment: kept in SQL, and told when it changes."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from service.domain.clock import MINUTE_MS
from service.domain.experiment import Experiment, label_of
from service.domain.quality import QualityState
from service.logs import logger
from service.metrics.page import Family, Page
from service.quality.verdicts import Changed, CheckState, QualityChange, Verdict
from service.store.quality_ports import QualityStates

# A state is left for a better one only when that has lasted: whoever is woken is woken once.
HOLD_MS = 10 * MINUTE_MS
# After a longer pause another worker may have judged.
RELOAD_MS = MINUTE_MS
STATE = Family(
    "quality_state",
    "What a check of data quality says: 0 all is well or too little to tell, 1 warning, 2 alarm",
    "gauge",
    ("experiment", "check"),
)
_Key = tuple[int, str]

_log = logger(__name__)


class Standings:
    """Holds all states in memory, saves those that were looked at, and announces changes."""

    def __init__(self, store: QualityStates, changed: Changed, hold_ms: int = HOLD_MS) -> None:
        self._store = store
        self._changed = changed
        self._hold_ms = hold_ms
        self._states: dict[_Key, QualityState] = {}
        self._labels: dict[int, str] = {}
        self._unsaved: dict[_Key, QualityState] = {}
        self._better_since_ms: dict[_Key, int] = {}
        self._loaded_at_ms: int | None = None

    async def load(self, now_ms: int) -> None:
        """Read the states at the first turn, and after a pause; call it every turn."""
        last_ms, self._loaded_at_ms = self._loaded_at_ms, None
        if last_ms is None or now_ms - last_ms > RELOAD_MS:
            states = await self._store.all()
            self._states = {(each.experiment, each.check): each for each in states}
        self._loaded_at_ms = now_ms

    async def note(self, experiment: Experiment, verdict: Verdict, now_ms: int) -> None:
        """Take a verdict; announce it if it makes the state another one."""
        key = (experiment.number, verdict.check)
        before = self._states.get(key)
        if before is not None and self._is_held(key, before, verdict, now_ms):
            self._put(experiment, replace(before, checked_at_ms=now_ms))
            return
        await self._move(experiment, before, verdict, now_ms)

    async def close(self, experiment: Experiment, verdicts: Iterable[Verdict], now_ms: int) -> None:
        """Take verdicts of an experiment that is judged no more, at once."""
        for verdict in verdicts:
            key = (experiment.number, verdict.check)
            self._better_since_ms.pop(key, None)
            await self._move(experiment, self._states.get(key), verdict, now_ms)

    async def save(self) -> None:
        """Write what was looked at since the last time."""
        saved = list(self._unsaved.values())
        await self._store.save(saved)
        self._unsaved.clear()

    def write_page(self, page: Page) -> None:
        """Put every state onto the learning page."""
        labels = dict(self._labels)
        for (number, check), state in dict(self._states).items():
            if number in labels:
                page.put(STATE, (labels[number], check), float(state.state))

    def _is_held(self, key: _Key, before: QualityState, verdict: Verdict, now_ms: int) -> bool:
        """Whether the worse state stays for now."""
        if verdict.state >= before.state:
            self._better_since_ms.pop(key, None)
            return False
        since_ms = self._better_since_ms.setdefault(key, now_ms)
        if now_ms - since_ms < self._hold_ms:
            return True
        del self._better_since_ms[key]
        return False

    async def _move(
        self, experiment: Experiment, before: QualityState | None, verdict: Verdict, now_ms: int
    ) -> None:
        was = CheckState.ok if before is None else before.state
        is_same = before is not None and was is verdict.state
        if was is not verdict.state:
            await self._announce(experiment, was, verdict, now_ms)
        state = QualityState(
            experiment=experiment.number,
            check=verdict.check,
            state=verdict.state,
            since_ms=before.since_ms if before is not None and is_same else now_ms,
            checked_at_ms=now_ms,
            sentence=verdict.sentence,
            figures=verdict.figures,
        )
        self._put(experiment, state)

    def _put(self, experiment: Experiment, state: QualityState) -> None:
        key = (state.experiment, state.check)
        self._states[key] = self._unsaved[key] = state
        self._labels[experiment.number] = label_of(experiment)

    async def _announce(
        self, experiment: Experiment, was: CheckState, verdict: Verdict, now_ms: int
    ) -> None:
        """Tell first and save then: told twice after a kill is better than never."""
        say = _log.info if verdict.state is CheckState.ok else _log.warning
        say(
            "quality_changed",
            experiment=label_of(experiment),
            check=verdict.check,
            before=was.name,
            after=verdict.state.name,
            sentence=verdict.sentence,
        )
        change = QualityChange(
            tenant=experiment.tenant,
            number=experiment.number,
            experiment=experiment.id,
            check=verdict.check,
            before=was,
            after=verdict.state,
            sentence=verdict.sentence,
            at_ms=now_ms,
        )
        await self._changed(change)
