"""The words of the service as immutable records and pure functions: no I/O, no clock, no dice."""
