-- How often larder died while it was at work on a task: at three it is given up, and from two on it is tried alone.
ALTER TABLE tasks ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tasks_suspect ON tasks(job, host, kind) WHERE crashes >= 2;

-- Tasks that are tried again by themselves, for `failures`.
CREATE INDEX tasks_retried ON tasks(job) WHERE state = 'waiting' AND class IS NOT NULL;
