-- What look-ups need: which pages an item is not whole without, and what was said of it when they were last asked.

-- page: without it the item that it completes is not whole
ALTER TABLE tasks ADD COLUMN needed INTEGER NOT NULL DEFAULT 0;
-- why the walk saw less than the listing holds: the site shows no more
ALTER TABLE runs ADD COLUMN wall TEXT;
-- throttling replies in a row
ALTER TABLE hosts ADD COLUMN streak INTEGER NOT NULL DEFAULT 0;

-- Digests of what listings said of an item that look-ups complete. While a listing says the same of a whole item, it is
-- not looked up again.
CREATE TABLE said (
  item     INTEGER NOT NULL REFERENCES items(id),
  endpoint TEXT NOT NULL,
  digest   BLOB NOT NULL,
  PRIMARY KEY (item, endpoint)
) STRICT, WITHOUT ROWID;
