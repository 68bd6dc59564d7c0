"""What is fuzzed: every decoder that a stranger, a damaged disk or a damaged Redis can reach."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from service.api.authentication import Authentication, Headers
from service.api.hot_wishes import choice_of, choice_of_query, reward_of, rewards_of, send_of
from service.api.strict_json import loads
from service.decisions import Wish
from service.domain.access import Scope, key_text, parts_of
from service.domain.decision import (
    Decision,
    Source,
    pack_replay,
    replay_flags,
    send_bytes,
    unpack_replay,
)
from service.domain.reward import Reward
from service.domain.token import TokenCodec
from service.errors import InvalidInputError, UnauthenticatedError
from service.rewards import RewardWish
from service.store.outbox_frames import FRAME, FRAME_MAGIC, PAYLOAD_BYTES_MAX, next_frame, parse
from service.store.records import CommittedReward
from tests.fuzz.echoes import check_no_echo
from tests.fuzz.seeds import CODEC, HEAD_BYTES, SEED_OF_FRAMES, decision, seeds_of

Run = Callable[[bytes], None]


def token(data: bytes) -> None:
    """Decode a text: it is none of ours, or it is the only spelling of what it says."""
    _check_token(CODEC, data.decode("utf-8", "surrogateescape"))
    if len(data) == HEAD_BYTES:  # What only we could have signed: then it must come back whole.
        _check_token(CODEC, CODEC.encode(_decision_of(data)), is_ours=True)


def key(data: bytes) -> None:
    """Split a text: it is no key, or its parts are the whole of it."""
    text = data.decode("latin-1")
    parts = parts_of(text)
    assert parts is None or key_text(*parts) == text


class _NoKeys:
    """A keyring that opens to nobody and sees what it is shown."""

    def open_principal(self) -> None:
        """Return nobody."""

    def authenticate(self, text: str) -> None:
        """Refuse a text; all of them can be split or refused."""
        parts_of(text)
        raise UnauthenticatedError("show a valid API key")


_AUTHENTICATION = Authentication(_NoKeys())  # type: ignore[arg-type]  # It never returns.


def credentials(data: bytes) -> None:
    """Read an Authorization header and a query: nobody is let in, and nothing else happens."""
    headers: Headers = {b"authorization": data}
    try:
        _AUTHENTICATION.holder(headers, Scope.CHOOSE)
    except UnauthenticatedError as error:
        check_no_echo(str(error), data)
    else:
        raise AssertionError("a stranger was let in")
    try:
        assert _AUTHENTICATION.url_holder(data) is None
    except UnauthenticatedError as error:
        check_no_echo(str(error), data)


def choice(data: bytes) -> None:
    """Read the body of a choice."""
    try:
        experiment, wish = choice_of(data)
    except InvalidInputError as error:
        check_no_echo(str(error), data)
    else:
        _check_choice(experiment, wish)


def query(data: bytes) -> None:
    """Read the query of a choice."""
    try:
        experiment, wish, _ = choice_of_query(data)
    except InvalidInputError as error:
        check_no_echo(str(error), data)
    else:
        _check_choice(experiment, wish)


def send(data: bytes) -> None:
    """Read the body of a whole send."""
    try:
        request = send_of(data)
    except InvalidInputError as error:
        check_no_echo(str(error), data)
    else:
        for unit in request.units:
            _check_choice(request.experiment, Wish(unit, request.occasion))


def reward(data: bytes) -> None:
    """Read the body of a reward."""
    try:
        wish = reward_of(data)
    except InvalidInputError as error:
        check_no_echo(str(error), data)
    else:
        _check_reward(wish)


def rewards(data: bytes) -> None:
    """Read the body of many rewards."""
    try:
        wishes = rewards_of(data)
    except InvalidInputError as error:
        check_no_echo(str(error), data)
        return
    for wish in wishes:
        if isinstance(wish, RewardWish):
            _check_reward(wish)
        else:
            assert isinstance(wish, InvalidInputError)
            check_no_echo(str(wish), data)


def admin(data: bytes) -> None:
    """Read any body of the admin routes."""
    try:
        loads(data)
    except InvalidInputError as error:
        check_no_echo(str(error), data)


def frames(data: bytes) -> None:
    """Read a window of an outbox as it is, and one whose frames are all sound."""
    _check_frames(data)
    payload = data[:PAYLOAD_BYTES_MAX]
    checksum = zlib.crc32(payload, SEED_OF_FRAMES)
    sound = FRAME.pack(FRAME_MAGIC, len(payload), checksum) + payload
    assert _check_frames(sound + data) >= 1
    next_frame(data, 0, SEED_OF_FRAMES)


def replay(data: bytes) -> None:
    """Unpack what Redis remembers: 20 bytes say what they said, others are refused."""
    try:
        found = unpack_replay(data)
    except struct.error:
        assert len(data) != 20
        return
    flags = replay_flags(holdout=found.holdout, source=found.source, key_id=found.key_id)
    packed = pack_replay(found.variant, found.decided_at_ms, found.version, found.propensity, flags)
    assert packed == data or found.propensity != found.propensity  # NaN has many spellings.


@dataclass(frozen=True)
class Target:
    """A target, how many inputs `make test` gives it, and how long an input may get."""

    run: Run
    runs: int
    length_max: int = 400

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return self.run.__name__

    @property
    def seeds(self) -> list[bytes]:
        """What the mutations start from."""
        return seeds_of(self.name)


TARGETS = {
    target.name: target
    for target in (
        Target(token, 170_000, 100),
        Target(key, 80_000, 100),
        Target(credentials, 55_000, 200),
        Target(choice, 140_000),
        Target(query, 80_000),
        Target(send, 110_000),
        Target(reward, 140_000),
        Target(rewards, 80_000, 1_200),
        Target(admin, 80_000),
        Target(frames, 110_000),
        Target(replay, 55_000, 40),
    )
}


def _check_token(codec: TokenCodec, text: str, *, is_ours: bool = False) -> None:
    claim = codec.decode(text)
    assert claim is not None or not is_ours
    if claim is None:
        return
    source = Source.policy if claim.is_counted else Source.forced
    again = decision(
        key=claim.key,
        tenant=claim.tenant,
        experiment=claim.experiment,
        variant=claim.variant,
        decided_at_ms=claim.decided_at_ms,
        version=claim.version,
        key_id=claim.key_id,
        source=int(source),
        holdout=claim.holdout,
    )
    assert codec.encode(again) == text


def _decision_of(data: bytes) -> Decision:
    numbers = struct.unpack(">16sIIHIBB", data[:32])
    found_key, tenant, experiment, variant, version, source, key_id = numbers
    return decision(
        key=found_key,
        tenant=tenant,
        experiment=experiment,
        variant=variant,
        version=version,
        source=source & 3,
        key_id=1 + (key_id & 1),
    )


def _check_choice(experiment: str, wish: Wish) -> None:
    """Fail for what would fail later: where it is hashed, looked up or stored."""
    for text in (experiment, *(wish.eligible or ()), wish.force or ""):
        assert 0 <= len(text.encode()) <= 4 * 64
    assert "\0" not in wish.unit
    send_bytes(wish.unit, wish.occasion or "")
    if wish.context is not None:
        assert wish.context.decode().startswith("{")


def _check_reward(wish: RewardWish) -> None:
    for text in (wish.decision_id, wish.event, wish.event_id):
        text.encode()
    CODEC.decode(wish.decision_id)
    assert wish.value is None or abs(wish.value) <= 1e9
    assert wish.occurred_at_ms is None or abs(wish.occurred_at_ms) < 2**53


def _check_frames(window: bytes) -> int:
    """Check that what is read is what is sound, counted here by hand; return how many frames."""
    parsed = parse(window, 0, SEED_OF_FRAMES, 100)
    position = count = 0
    while count < 100 and position + FRAME.size <= len(window):
        magic, length, checksum = FRAME.unpack_from(window, position)
        body = window[position + FRAME.size : position + FRAME.size + length]
        is_sound = magic == FRAME_MAGIC and length <= PAYLOAD_BYTES_MAX and len(body) == length
        if not is_sound or zlib.crc32(body, SEED_OF_FRAMES) != checksum:
            break
        position += FRAME.size + length
        count += 1
    assert (len(parsed.records) + len(parsed.unreadable), parsed.end) == (count, position)
    assert all(isinstance(each, Decision | Reward | CommittedReward) for each in parsed.records)
    return count
