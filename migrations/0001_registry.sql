-- The registry: what images, clients and links there are. The target and pxe are made to match it.
--
-- Every change of what they must serve takes the next number of registry.revision. That row's lock
-- puts such changes in one order, so a reader that sees revision n sees every change up to n.
-- What was only observed (a link's state, a task's progress) does not move the revision.
-- Channel goldlink of NOTIFY tells what changed: registry, links, tasks, events.

CREATE FUNCTION iso(moment timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;

CREATE TABLE registry (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision  bigint NOT NULL DEFAULT 1
);
INSERT INTO registry DEFAULT VALUES;

CREATE TABLE settings (
    only_row              boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    unknown_policy        text NOT NULL DEFAULT 'register' CHECK (unknown_policy IN ('register', 'ask', 'local')),
    menu_timeout_seconds  integer NOT NULL DEFAULT 10 CHECK (menu_timeout_seconds BETWEEN 1 AND 300),
    http_base             text CHECK (http_base ~ '^http://[^/]+$'),
    naming_pattern        text NOT NULL DEFAULT 'PC-{n:03}' CHECK (naming_pattern ~ '\{n(:0[1-9])?\}')
);
INSERT INTO settings DEFAULT VALUES;

CREATE FUNCTION next_revision() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = goldlink AS
$$ UPDATE registry SET revision = revision + 1 RETURNING revision $$;

CREATE FUNCTION take_revision() RETURNS trigger LANGUAGE plpgsql SET search_path = goldlink AS
$$ BEGIN PERFORM next_revision(); RETURN NULL; END $$;

CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('goldlink', TG_ARGV[0]); RETURN NULL; END $$;

CREATE TRIGGER registry_tell AFTER UPDATE ON registry FOR EACH STATEMENT EXECUTE FUNCTION tell('registry');
CREATE TRIGGER settings_revision AFTER UPDATE ON settings FOR EACH STATEMENT EXECUTE FUNCTION take_revision();

-- Who may call the REST API. The token itself is never stored, only its SHA-256.
CREATE TABLE tokens (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
    role          text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer', 'ci')),
    sha256        text NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    last_used_at  timestamptz
);

CREATE TABLE idempotency_keys (
    token_id      uuid NOT NULL REFERENCES tokens ON DELETE CASCADE,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    fingerprint   text NOT NULL,   -- SHA-256 of method, path, query and body
    status        integer,         -- NULL while the first request is still at work
    body          text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token_id, key)
);

CREATE TABLE images (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    note          text NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    next_version  integer NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX images_name ON images (lower(name));

CREATE TABLE versions (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id      bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    number        integer NOT NULL CHECK (number > 0),
    state         text NOT NULL DEFAULT 'importing' CHECK (state IN ('importing', 'ready', 'failed')),
    digest        text CHECK (digest ~ '^[0-9a-f]{64}$'),
    size_bytes    bigint NOT NULL DEFAULT 0 CHECK (size_bytes >= 0),
    stored_bytes  bigint NOT NULL DEFAULT 0 CHECK (stored_bytes >= 0),
    note          text NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (image_id, number),
    UNIQUE (image_id, id),
    CHECK (state <> 'ready' OR digest IS NOT NULL)
);
CREATE INDEX versions_digest ON versions (digest);

CREATE TABLE channels (
    image_id      bigint NOT NULL REFERENCES images ON DELETE CASCADE,
    name          text NOT NULL CHECK (name ~ '^[a-z][a-z0-9._-]{0,62}$'),
    version_id    bigint NOT NULL,
    moved_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (image_id, name),
    FOREIGN KEY (image_id, version_id) REFERENCES versions (image_id, id)
);

-- Versions dropped from the registry whose data the target has still to give back.
CREATE TABLE version_deletions (
    digest        text PRIMARY KEY,
    since         timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE groups (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    image_id        bigint REFERENCES images,
    channel         text,
    version_number  integer,
    policy          text NOT NULL DEFAULT 'discard' CHECK (policy IN ('discard', 'keep', 'super')),
    naming_pattern  text NOT NULL DEFAULT 'PC-{n:03}' CHECK (naming_pattern ~ '\{n(:0[1-9])?\}'),
    revision        bigint NOT NULL DEFAULT next_revision(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((image_id IS NULL AND channel IS NULL AND version_number IS NULL)
        OR (image_id IS NOT NULL AND (channel IS NULL) <> (version_number IS NULL)))
);
CREATE UNIQUE INDEX groups_name ON groups (lower(name));

CREATE TABLE clients (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    group_id      bigint REFERENCES groups,
    state         text NOT NULL DEFAULT 'approved' CHECK (state IN ('approved', 'pending')),
    note          text NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    revision      bigint NOT NULL DEFAULT next_revision(),
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX clients_name ON clients (lower(name));
CREATE INDEX clients_group ON clients (group_id);
-- Each row: a DELETE that finds none changes nothing.
CREATE TRIGGER clients_gone AFTER DELETE ON clients FOR EACH ROW EXECUTE FUNCTION take_revision();

CREATE TABLE client_macs (
    mac           macaddr PRIMARY KEY,
    client_id     uuid NOT NULL REFERENCES clients ON DELETE CASCADE,
    position      integer NOT NULL DEFAULT 0
);
CREATE INDEX client_macs_client ON client_macs (client_id);

-- A link binds a client or a lease to its disks.
CREATE TABLE links (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id         uuid UNIQUE REFERENCES clients,
    lease_expires_at  timestamptz,
    iqn               text NOT NULL UNIQUE CHECK (iqn ~ '^iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.-]+:[a-z0-9.:-]+$'
                                              AND length(iqn) <= 223),
    username          text NOT NULL CHECK (length(username) BETWEEN 1 AND 64),
    secret            text NOT NULL CHECK (length(secret) BETWEEN 12 AND 16),
    revision          bigint NOT NULL DEFAULT next_revision(),
    state             text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'ready', 'failed')),
    problem           text,
    applied_revision  bigint NOT NULL DEFAULT 0,   -- what the target was last seen to serve
    created_by        uuid REFERENCES tokens ON DELETE SET NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    CHECK ((client_id IS NULL) <> (lease_expires_at IS NULL))
);
CREATE INDEX links_lease ON links (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE TRIGGER links_gone AFTER DELETE ON links FOR EACH ROW EXECUTE FUNCTION take_revision();
CREATE TRIGGER links_tell AFTER UPDATE OF state, problem ON links
    FOR EACH STATEMENT EXECUTE FUNCTION tell('links');

-- channel set: the disk follows it. version_id: what the link's next generation runs on.
CREATE TABLE link_disks (
    link_id       uuid NOT NULL REFERENCES links ON DELETE CASCADE,
    lun           integer NOT NULL CHECK (lun BETWEEN 0 AND 255),
    image_id      bigint NOT NULL REFERENCES images,
    channel       text,
    version_id    bigint NOT NULL,
    policy        text NOT NULL CHECK (policy IN ('discard', 'keep', 'super')),
    quota_bytes   bigint CHECK (quota_bytes > 0),
    PRIMARY KEY (link_id, lun),
    FOREIGN KEY (image_id, version_id) REFERENCES versions (image_id, id)
);
CREATE INDEX link_disks_version ON link_disks (version_id);
CREATE INDEX link_disks_image ON link_disks (image_id);

CREATE FUNCTION link_disk_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = goldlink AS $$
BEGIN
    UPDATE links SET revision = next_revision(), state = 'pending', problem = NULL WHERE id = NEW.link_id;
    RETURN NULL;
END $$;
CREATE TRIGGER link_disks_revision AFTER UPDATE ON link_disks
    FOR EACH ROW EXECUTE FUNCTION link_disk_changed();

-- Long work. The id is also the target's id of the import, so that starting it twice is one import.
CREATE TABLE tasks (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind              text NOT NULL CHECK (kind IN ('import', 'verify', 'commit', 'export')),
    state             text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    -- upload: a REST request is streaming the file. start: the target has still to be told.
    -- poll: the target works on it. end: nothing more to do.
    phase             text NOT NULL CHECK (phase IN ('upload', 'start', 'poll', 'end')),
    version_id        bigint REFERENCES versions ON DELETE SET NULL,
    link_id           uuid REFERENCES links ON DELETE SET NULL,
    channel           text,          -- the channel to move when the version is ready
    upload            text,          -- the spooled file's name at the target
    format            text NOT NULL DEFAULT '',
    digest            text,          -- what verify reads
    subject           text NOT NULL, -- "win11@7", for people
    done_bytes        bigint NOT NULL DEFAULT 0,
    total_bytes       bigint NOT NULL DEFAULT 0,
    message           text NOT NULL DEFAULT '',
    error             text,
    result            jsonb,
    cancel_requested  boolean NOT NULL DEFAULT false,
    created_by        uuid REFERENCES tokens ON DELETE SET NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    finished_at       timestamptz,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((phase = 'end') = (finished_at IS NOT NULL))
);
CREATE INDEX tasks_active ON tasks (created_at) WHERE phase <> 'end';
CREATE INDEX tasks_listed ON tasks (created_at DESC, id DESC);
CREATE TRIGGER tasks_tell AFTER INSERT OR UPDATE ON tasks FOR EACH STATEMENT EXECUTE FUNCTION tell('tasks');

-- History for people and consoles; client names are as they were then.
CREATE TABLE events (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time          timestamptz NOT NULL DEFAULT now(),
    kind          text NOT NULL,
    client        text,
    link_id       uuid,
    boot_id       uuid,
    data          jsonb NOT NULL DEFAULT '{}'
);
CREATE TRIGGER events_tell AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION tell('events');

-- Ids become visible in their order: who reads on from the last id it saw misses none.
CREATE FUNCTION add_event(event_time timestamptz, event_kind text, event_client text, event_link uuid,
                          event_boot uuid, event_data jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = goldlink AS $$
DECLARE
    new_id bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(7105, 2);
    INSERT INTO events (time, kind, client, link_id, boot_id, data)
        VALUES (coalesce(event_time, now()), event_kind, event_client, event_link, event_boot, event_data)
        RETURNING id INTO new_id;
    RETURN new_id;
END $$;

-- How far each daemon's own event log has been read.
CREATE TABLE event_sources (
    name          text PRIMARY KEY,
    next_seq      bigint NOT NULL DEFAULT 0
);

CREATE TABLE boots (
    id            uuid PRIMARY KEY,
    client_id     uuid NOT NULL REFERENCES clients ON DELETE CASCADE,
    link_id       uuid,
    generation    bigint,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    firmware      text,
    address       text,
    state         text NOT NULL DEFAULT 'booting' CHECK (state IN ('booting', 'running', 'ended', 'failed')),
    problem       text
);
CREATE INDEX boots_client ON boots (client_id, started_at DESC);
CREATE INDEX boots_open ON boots (started_at) WHERE ended_at IS NULL;

CREATE TABLE boot_stages (
    boot_id       uuid NOT NULL REFERENCES boots ON DELETE CASCADE,
    stage         text NOT NULL CHECK (stage IN ('dhcp', 'nbp', 'ipxe', 'script', 'login', 'os_login',
                                                 'first_write', 'end')),
    at            timestamptz NOT NULL,
    detail        text,
    PRIMARY KEY (boot_id, stage)
);
