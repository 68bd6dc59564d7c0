"""What the service takes of a machine: processor time, memory, and bytes of each store."""
