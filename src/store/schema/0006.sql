-- Upkeep of the archive: the sealed record log, what is damaged, what was checked when, what may be removed.
-- `items.place` is an offset in the whole log: sealed segments in order, then records/current.jsonl.

CREATE TABLE segments (
  base     INTEGER PRIMARY KEY,        -- bytes of lines before it
  bytes    INTEGER NOT NULL,           -- of its lines
  sha256   BLOB NOT NULL UNIQUE,       -- its name
  last_seq INTEGER NOT NULL            -- the number of its last line
) STRICT;

-- Objects that are not whole on the disk, whatever `objects` says: nothing is deduplicated onto them, walks want them anew.
CREATE TABLE damage (
  sha256  BLOB PRIMARY KEY,
  kind    TEXT NOT NULL CHECK (kind IN ('missing', 'corrupt')),
  found   INTEGER NOT NULL,
  tried   INTEGER,                     -- when it was last asked for in vain
  url     TEXT, class TEXT, message TEXT
) STRICT, WITHOUT ROWID;

-- When every object of a folder below objects/ was last hashed.
CREATE TABLE checks (
  shard INTEGER PRIMARY KEY,
  at    INTEGER NOT NULL
) STRICT;

-- Objects that nothing refers to. They are removed a day later, unless something refers to them by then.
CREATE TABLE tombstones (
  sha256   BLOB PRIMARY KEY,
  since    INTEGER NOT NULL,
  deleting INTEGER NOT NULL DEFAULT 0  -- 1: the file is being removed, or is gone already
) STRICT, WITHOUT ROWID;
