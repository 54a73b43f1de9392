-- Walks of single days: a job with a range of days walks each of them, and remembers those that are whole.

CREATE TABLE days (
  walk BLOB NOT NULL,                  -- digest of what decides the walk of a day, without the ends of its range
  day  TEXT NOT NULL,                  -- 2024-01-31; over everywhere on earth when its walk began, and walked to its end
  PRIMARY KEY (walk, day)
) STRICT, WITHOUT ROWID;

-- From here on `md5` of files and objects is whichever hash a site names its files by: 16, 20 or 32 bytes.

ALTER TABLE runs ADD COLUMN full INTEGER NOT NULL DEFAULT 0;  -- 1: days that are remembered are walked too
ALTER TABLE items ADD COLUMN day TEXT; -- the day whose walk saw it last in its run: one item may be in many days
