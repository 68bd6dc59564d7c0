"""What can go wrong, in the words of the domain; `service.api.errors` says it in HTTP."""


class ServiceError(Exception):
    """The base of all errors that callers are told about; the message is for them, and short."""

    retry_after_seconds: float | None = None  # When to come back, where that helps.


class RetryLaterError(ServiceError):
    """The same request may succeed later."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class InvalidInputError(ServiceError):
    """A value is outside what the schema or the experiment allows."""


class UnsupportedFeatureError(InvalidInputError):
    """A setting of the contract that this version does not serve yet."""


class ExperimentNotFoundError(ServiceError):
    """No experiment has this id."""


class VariantNotFoundError(ServiceError):
    """The experiment has no variant of this id."""


class ExperimentNotStartedError(ServiceError):
    """The experiment is a draft: nothing may be sent yet."""


class StateConflictError(ServiceError):
    """The change does not fit the experiment's or variant's state."""


class RevisionConflictError(StateConflictError):
    """Somebody else changed the experiment meanwhile; read it again."""


class NoEligibleVariantError(ServiceError):
    """None of the variants the caller named is active."""


class DecisionNotFoundError(ServiceError):
    """The decision id is not one of ours."""


class ErasureNotFoundError(ServiceError):
    """No erasure has this id."""


class WebhookNotFoundError(ServiceError):
    """No webhook has this id."""


class WindowClosedError(ServiceError):
    """The reward came after its attribution window; it is recorded as late."""


class UnauthenticatedError(ServiceError):
    """The request shows no key, or one that opens nothing."""


class ForbiddenError(ServiceError):
    """The key may not be used for this."""


class RateLimitedError(RetryLaterError):
    """The key has used up what it may do now; it may again after `retry_after_seconds`."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(RetryLaterError):
    """A part of the service that the request needs cannot be reached now."""


class OverloadedError(UnavailableError):
    """More is asked than can be answered in time; the request was not begun."""


class LedgerUnavailableError(UnavailableError):
    """SQL is down, late or refusing writes."""


class OutboxUnavailableError(UnavailableError):
    """The outbox cannot be written."""


class RedisUnavailableError(UnavailableError):
    """Redis is down, late or refusing writes."""


class PositionMovedError(ServiceError):
    """The outbox is not committed as far as an append thought: others did it, or SQL went back."""


class LedgerWentBackError(ServiceError):
    """SQL lacks what it had committed: it failed over to an older state."""


class PoisonRecordError(ServiceError):
    """The ledger can never take this record as it is; it says nothing about its neighbours."""
