"""A production multi-armed-bandit service for promotion e-mail."""
