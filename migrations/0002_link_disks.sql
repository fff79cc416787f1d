-- Links of several disks. A commit is of one of them: NULL for a task that is no commit, or one that
-- was queued before disks were told apart (the link then has one disk of policy super).
ALTER TABLE tasks ADD COLUMN lun integer CHECK (lun BETWEEN 0 AND 255);
