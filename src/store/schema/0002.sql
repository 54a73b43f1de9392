-- Upkeep of the archive: the sealed record log.
-- `items.place` is an offset in the whole log: sealed segments in order, then records/current.jsonl.

CREATE TABLE segments (
  base     INTEGER PRIMARY KEY,        -- bytes of lines before it
  bytes    INTEGER NOT NULL,           -- of its lines
  sha256   BLOB NOT NULL UNIQUE,       -- its name
  last_seq INTEGER NOT NULL            -- the number of its last line
) STRICT;
