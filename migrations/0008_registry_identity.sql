-- Which target this registry's disks are on, and how the two know each other again. The target
-- remembers id and mark; the mark is drawn anew each time a manager begins to lead with it, so a
-- copy of an earlier state is told from the registry itself. `match` is what the target said last:
-- nothing is pushed to it unless that was `own`.
CREATE TABLE registry_identity (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id               uuid NOT NULL DEFAULT gen_random_uuid(),
    mark             uuid NOT NULL DEFAULT gen_random_uuid(),
    previous_mark    uuid,
    target_id        uuid,
    match            text NOT NULL DEFAULT 'unknown'
                     CHECK (match IN ('unknown', 'own', 'other', 'older', 'elsewhere')),
    adopt_requested  boolean NOT NULL DEFAULT false
);
INSERT INTO registry_identity DEFAULT VALUES;
CREATE TRIGGER registry_identity_tell AFTER UPDATE ON registry_identity
    FOR EACH STATEMENT EXECUTE FUNCTION tell('registry');

-- Links that were deleted here and may still be at the target. Only what is named here is removed
-- there: a link that the registry does not have and never deleted is left alone.
CREATE TABLE link_removals (
    link_id     uuid PRIMARY KEY,
    to_trash    boolean NOT NULL DEFAULT true,  -- a lease is gone with its time
    removed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION note_link_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = goldlink AS $$
BEGIN
    INSERT INTO link_removals (link_id, to_trash) VALUES (OLD.id, OLD.lease_expires_at IS NULL)
        ON CONFLICT (link_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER links_removal AFTER DELETE ON links FOR EACH ROW EXECUTE FUNCTION note_link_removal();
