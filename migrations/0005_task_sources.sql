-- Where an import's files come from, when they are not one request's body:
--   {"files": [{"name", "size_bytes"}], "sha256": {name: hex}}   an upload in pieces; the first file is imported
--   {"server_path": "/abs/file", "parents": ["/abs/file"]}        files of the target's own machine
ALTER TABLE tasks ADD COLUMN source jsonb;
