"""Bandit mathematics: from evidence to propensities, without I/O, clock or dice."""
