-- What tells that something is gone where nobody says so: listings that were walked whole, and when each of their items was
-- last shown.

CREATE TABLE threads (
  id    INTEGER PRIMARY KEY,
  job   INTEGER NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  key   BLOB NOT NULL,                 -- digest of the endpoint and the parameters that tell it from others
  own   INTEGER NOT NULL,              -- 1: the job's own listing, 0: of a follow-up
  of    INTEGER,                       -- the item that it belongs to, such as the reply that others answer
  total INTEGER,                       -- entries, as the site last said
  fell  INTEGER,                       -- the run in which the site said fewer than before
  UNIQUE (job, key)
) STRICT;
CREATE INDEX threads_of ON threads(of) WHERE of IS NOT NULL;

CREATE TABLE census (
  thread INTEGER NOT NULL REFERENCES threads(id) ON DELETE CASCADE,
  item   INTEGER NOT NULL REFERENCES items(id),
  run    INTEGER NOT NULL,             -- the last that was shown it
  missed INTEGER NOT NULL DEFAULT 0,   -- whole walks in a row that did not show it
  last   INTEGER,                      -- the run of the last of them
  PRIMARY KEY (thread, item)
) STRICT, WITHOUT ROWID;
