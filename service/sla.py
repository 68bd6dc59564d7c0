"""What is promised to callers, as numbers: the only place where they stand."""

CHOOSE_P99_MS = 10.0  # Objective for one choice, server side.
TEMPLATE_BUDGET_MS = 2_000  # What an e-mail template waits before it gives the mail up.
# A choice that Redis did not answer within this is answered from memory (source: fallback).
CHOOSE_REDIS_DEADLINE_MS = 100
REWARD_P99_MS = 100.0
# A reward that SQL did not take within this goes to the outbox and is answered 202 queued.
REWARD_SQL_DEADLINE_MS = 2_000
LEDGER_LAG_SECONDS_MAX = 60.0  # From the answer to the row in the ledger.
ALLOCATION_INTERVAL_MS = 200  # An allocation is recomputed at most so often.
ALLOCATION_REFRESH_MS = 60_000  # And at least so often, because evidence ages.
CHANGE_POLL_MS = 100  # How often an API process looks for newer allocations.
RECOVERY_SECONDS_MAX = 60.0  # From the end of a fault to equal evidence and memory.
