-- What a version was made of: a link's disk is committed or saved over the version it ran on, an
-- image is cloned or grown.

-- NULL: it came from outside (an import, a blank disk), or what it was made of is deleted.
ALTER TABLE versions ADD COLUMN parent_version_id bigint REFERENCES versions ON DELETE SET NULL;
CREATE INDEX versions_parent ON versions (parent_version_id);
-- Whose disk it was when it was made, for people: "PC-001". Empty when no link made it.
ALTER TABLE versions ADD COLUMN made_by text NOT NULL DEFAULT '';
-- The link that was saved and still holds what it was saved with: a later commit of it is no conflict.
ALTER TABLE versions ADD COLUMN saved_from uuid;

ALTER TABLE tasks DROP CONSTRAINT tasks_kind_check;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind_check
    CHECK (kind IN ('import', 'verify', 'commit', 'export', 'save', 'grow', 'rebase'));
