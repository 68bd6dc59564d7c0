"""The worker beside the API processes: drain, allocate, restore, snapshot, audit."""
