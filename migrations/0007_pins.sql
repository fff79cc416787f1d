-- A pinned channel's version stays in locked memory on its target.
ALTER TABLE channels ADD COLUMN pinned boolean NOT NULL DEFAULT false;
CREATE TRIGGER channels_tell AFTER INSERT OR UPDATE OR DELETE ON channels
    FOR EACH STATEMENT EXECUTE FUNCTION tell('registry');
