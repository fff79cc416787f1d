-- What an installer needs: images that are discs, blank disks, disks of 4 KiB blocks, links that start the disc.

-- disk: its versions are disks, with overlays over them. iso: discs, served as CD-ROMs.
ALTER TABLE images ADD COLUMN kind text NOT NULL DEFAULT 'disk' CHECK (kind IN ('disk', 'iso'));

-- Of an import that has no file: how large a blank disk to make.
ALTER TABLE tasks ADD COLUMN blank_bytes bigint CHECK (blank_bytes > 0);

ALTER TABLE link_disks ADD COLUMN logical_block_bytes integer NOT NULL DEFAULT 512
    CHECK (logical_block_bytes IN (512, 4096));

-- The client starts the link's first CD-ROM, with LUN 0 attached, in place of LUN 0.
ALTER TABLE links ADD COLUMN install boolean NOT NULL DEFAULT false;
