-- Turn the table of decisions into 16 hash partitions by key, so that each can be vacuumed, reindexed or moved by itself.
-- Run it in one transaction (psql -1 -f) with the worker stopped, or while SQL has a quiet hour: writers wait for it, choices
-- in the outbox, and rewards there too (202). It copies the table and needs its size in free space.
-- docs/growing.md says when that is worth it, and how long it takes.
LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE;
ALTER TABLE decisions RENAME TO decisions_whole;
ALTER TABLE decisions_whole RENAME CONSTRAINT pk_decisions TO pk_decisions_whole;
ALTER INDEX ix_decisions_experiment_decided_at_ms_key RENAME TO ix_decisions_whole_experiment;
ALTER INDEX ix_decisions_decided_at_ms_key RENAME TO ix_decisions_whole_decided_at;
ALTER INDEX ix_decisions_unconfirmed RENAME TO ix_decisions_whole_unconfirmed;

CREATE TABLE decisions (LIKE decisions_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY HASH (key);
DO $$
BEGIN
  FOR n IN 0..15 LOOP
    EXECUTE format('CREATE TABLE decisions_%s PARTITION OF decisions FOR VALUES WITH (MODULUS 16, REMAINDER %s)', n, n);
  END LOOP;
END $$;
INSERT INTO decisions SELECT * FROM decisions_whole;

ALTER TABLE decisions ADD CONSTRAINT pk_decisions PRIMARY KEY (key);
CREATE INDEX ix_decisions_experiment_decided_at_ms_key ON decisions (experiment, decided_at_ms, key);
CREATE INDEX ix_decisions_decided_at_ms_key ON decisions (decided_at_ms, key);
CREATE INDEX ix_decisions_unconfirmed ON decisions (decided_at_ms, key) WHERE source IN (1, 3);
DROP TABLE decisions_whole;
ANALYZE decisions;
