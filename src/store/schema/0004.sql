-- Jobs that `larder add` keeps. Unlike the rest of the database they are nowhere else.

CREATE TABLE added (
  name       TEXT PRIMARY KEY,
  definition TEXT NOT NULL,            -- the keys of a job file, as TOML
  addresses  TEXT NOT NULL,            -- JSON list of what each web address stood for, to know it again
  at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE requests ADD COLUMN payload TEXT;  -- of `add`: the row above, as JSON
