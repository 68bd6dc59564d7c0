"""Load, speed and whole-system demonstrations; they talk to the service as a marketing system."""
