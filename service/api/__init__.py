"""The front door: HTTP in, use cases called, HTTP out."""
