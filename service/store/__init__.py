"""What remembers: Redis, SQL, the outbox and the embedded servers, behind the ports."""
