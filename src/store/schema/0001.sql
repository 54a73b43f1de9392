-- larder's database. Everything here but `runs` and walk positions can be made again from the archive.
-- Times are Unix milliseconds. States and classes are words. Applied once, in one transaction, never edited after release.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,              -- archive: its id; log_bytes, log_seq: what of the record log is committed
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
  id      INTEGER PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE,
  site    TEXT NOT NULL,
  listing TEXT NOT NULL,
  params  TEXT NOT NULL,               -- canonical JSON
  walk    TEXT NOT NULL,               -- digest of site, listing, params, `where`, `with`: another one walks again
  paused  TEXT,                        -- why it waits: auth, blocked, limit, …
  message TEXT,                        -- what the site said then
  until   INTEGER
) STRICT;

CREATE TABLE runs (
  id      INTEGER PRIMARY KEY,
  job     INTEGER NOT NULL REFERENCES jobs(id),
  walk    TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended   INTEGER,
  result  TEXT,                        -- done, failed, stopped
  total   INTEGER,                     -- entries of the listing, where the site says
  pages_done INTEGER NOT NULL DEFAULT 0, pages_waiting INTEGER NOT NULL DEFAULT 0, pages_failed INTEGER NOT NULL DEFAULT 0,
  seen INTEGER NOT NULL DEFAULT 0, fresh INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0,
  unchanged INTEGER NOT NULL DEFAULT 0, filtered INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0,
  items_failed INTEGER NOT NULL DEFAULT 0,
  stored INTEGER NOT NULL DEFAULT 0, deduplicated INTEGER NOT NULL DEFAULT 0, known INTEGER NOT NULL DEFAULT 0,
  files_waiting INTEGER NOT NULL DEFAULT 0, files_failed INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX runs_of_job ON runs(job, id);

-- The queue. A row is one page or one file; an `entry` is what no filter could read, kept with its raw JSON.
CREATE TABLE tasks (
  id       INTEGER PRIMARY KEY,
  job      INTEGER NOT NULL REFERENCES jobs(id),
  run      INTEGER NOT NULL REFERENCES runs(id),
  kind     TEXT NOT NULL CHECK (kind IN ('page', 'file', 'entry')),
  key      TEXT NOT NULL,              -- page: digest of the request; file: its md5, else item/role/index; entry: its digest
  host     TEXT NOT NULL,
  state    TEXT NOT NULL CHECK (state IN ('ready', 'leased', 'waiting', 'done', 'failed')),
  due      INTEGER NOT NULL DEFAULT 0,
  token    INTEGER,                    -- of the lease
  lease    INTEGER,                    -- until when
  tries    INTEGER NOT NULL DEFAULT 0,
  rounds   INTEGER NOT NULL DEFAULT 0, -- runs that gave it up
  item     INTEGER,                    -- what a file or follow-up belongs to
  role     TEXT, idx INTEGER,          -- of a file
  payload  TEXT,                       -- page: endpoint, parameters, position; entry: raw JSON
  url      TEXT,                       -- for people; without secrets
  class    TEXT, message TEXT, first_at INTEGER, last_at INTEGER,
  UNIQUE (job, kind, key)
) STRICT;
CREATE INDEX tasks_open ON tasks(host, kind, job, due) WHERE state IN ('ready', 'waiting');
CREATE INDEX tasks_leased ON tasks(lease) WHERE state = 'leased';
CREATE INDEX tasks_failed ON tasks(job, class) WHERE state = 'failed';
CREATE INDEX tasks_failed_item ON tasks(item) WHERE state = 'failed';
CREATE INDEX tasks_follow ON tasks(item) WHERE kind = 'page' AND item IS NOT NULL;

CREATE TABLE items (
  id     INTEGER PRIMARY KEY,
  site   TEXT NOT NULL,
  kind   TEXT NOT NULL,
  ident  TEXT NOT NULL,
  run    INTEGER NOT NULL,             -- the last one that saw it
  rev    INTEGER NOT NULL DEFAULT 0,   -- 0: not yet in the log
  digest BLOB,
  place  INTEGER,                      -- offset of its newest line in records/current.jsonl
  gone   TEXT,
  draft  TEXT,                         -- the normal form until its last file is stored
  UNIQUE (site, kind, ident)
) STRICT;

CREATE TABLE files (
  item   INTEGER NOT NULL REFERENCES items(id),
  role   TEXT NOT NULL,
  idx    INTEGER NOT NULL,
  state  TEXT NOT NULL CHECK (state IN ('waiting', 'held', 'missing')),
  url    TEXT,
  md5    BLOB,                         -- as the site says
  object BLOB,
  class  TEXT,                         -- why it is missing
  etag   TEXT, modified TEXT,
  PRIMARY KEY (item, role, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_waiting ON files(md5) WHERE state = 'waiting' AND md5 IS NOT NULL;
CREATE INDEX files_missing ON files(md5) WHERE state = 'missing' AND md5 IS NOT NULL;

CREATE TABLE objects (
  sha256 BLOB PRIMARY KEY,
  bytes  INTEGER NOT NULL,
  media  TEXT,
  md5    BLOB,                         -- where a site named one and it was right
  added  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX objects_md5 ON objects(md5) WHERE md5 IS NOT NULL;

-- One row: what `status` says of the whole archive, without counting it.
CREATE TABLE totals (
  objects INTEGER NOT NULL, bytes INTEGER NOT NULL, items INTEGER NOT NULL, records INTEGER NOT NULL
) STRICT;
INSERT INTO totals VALUES (0, 0, 0, 0);

CREATE TABLE hosts (
  host      TEXT PRIMARY KEY,
  until     INTEGER, reason TEXT,      -- a hold that outlives the process
  requests  INTEGER NOT NULL DEFAULT 0, throttled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What other processes ask of the one that holds the lock.
CREATE TABLE requests (
  id    INTEGER PRIMARY KEY,
  verb  TEXT NOT NULL,
  job   TEXT,
  class TEXT,
  at    INTEGER NOT NULL
) STRICT;
