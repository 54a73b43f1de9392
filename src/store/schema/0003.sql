-- Which items belong to which jobs: what `view JOB` shows.

CREATE TABLE members (
  job    INTEGER NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  item   INTEGER NOT NULL REFERENCES items(id),
  joined INTEGER NOT NULL,             -- when it was first shown, or shown again after it had left
  run    INTEGER,                      -- the last whose listing showed it; NULL: only followed, so no walk can tell that it left
  left   INTEGER,                      -- when a complete walk did not show it any more
  PRIMARY KEY (job, item)
) STRICT, WITHOUT ROWID;

-- Whether the end of this run's walk proves that what it did not show has left.
ALTER TABLE runs ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;
