-- 1: nothing told how long the file is, neither its reply nor its listing nor a hash: it may have been cut.
ALTER TABLE files ADD COLUMN unverified INTEGER NOT NULL DEFAULT 0;
