"""What is promised to callers, as numbers: the only place where they stand."""

CHOOSE_P99_MS = 10.0  # Objective for one choice, server side.
TEMPLATE_BUDGET_MS = 2_000  # What an e-mail template waits before it gives the mail up.
# A choice that Redis did not answer within this is answered from memory (source: fallback).
CHOOSE_REDIS_DEADLINE_MS = 100
# A choice that has waited so long for its turn is answered without asking Redis at all.
CHOOSE_WAIT_MS = 150
# With a full disk under the outbox, SQL has so long to take a choice before that is refused.
CHOOSE_SQL_DEADLINE_MS = 1_000
# With Redis or SQL gone, hung or slow, a choice for a known experiment is answered within this.
CHOOSE_FAULT_MS = 250
# Of what is let in under overload, calls of 200 units included, 99 % are answered within this.
OVERLOAD_P99_MS = 500.0
OVERLOAD_RECOVERY_SECONDS_MAX = 10.0  # From the end of an overload to answers as before.
FAULT_RECOVERY_SECONDS_MAX = 5.0  # From the end of a fault to choices answered by the policy.
REWARD_P99_MS = 100.0
# A reward that SQL did not take within this goes to the outbox and is answered 202 queued.
REWARD_SQL_DEADLINE_MS = 2_000
LEDGER_LAG_SECONDS_MAX = 60.0  # From the answer to the row in the ledger.
ALLOCATION_INTERVAL_MS = 200  # An allocation is recomputed at most so often.
ALLOCATION_REFRESH_MS = 60_000  # And at least so often, because evidence ages.
CHANGE_POLL_MS = 100  # How often an API process looks for newer allocations.
RECOVERY_SECONDS_MAX = 60.0  # From the end of a fault to equal evidence and memory.
