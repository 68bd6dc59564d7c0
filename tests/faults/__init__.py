"""The fault laboratory: break a whole service, keep count, compare with the ledger.

`make faults` runs every scenario and writes `docs/reliability.md`; `make test` runs those marked
`is_quick`. A stack (`stack.py`) is real servers with fault proxies (`proxy.py`) between them and
the service's processes, told by their pids (`parts.py`); `load.py` drives it over HTTP and lists
what was acknowledged; `verdict.py` compares that with the ledger; `scenario.py` is one row.

To add a row: (1) write a context manager in a `rows_*.py` that breaks `lab.stack` before its
`yield` and mends it after; (2) add a `Scenario` with its name to that file's `ROWS` (a new file
is added to `table.py`). A row that has its own needs of servers says so in its `Layout`; one that
has more to look at than the books gives a `check`, which calls `lab.expect`.
"""
