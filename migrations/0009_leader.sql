-- Which of the managers on this database leads, that is, works on target and pxe. The lead is the
-- advisory lock (7105, 3) of one session; this row tells the others that whoever has it is alive: the
-- leader raises `beat` every second while others wait, and one whose beat stands still is ended.
-- `term` is drawn with each lead: an earlier term's leader finds out that it leads no more.
CREATE TABLE leadership (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    term        bigint NOT NULL DEFAULT 0,
    beat        bigint NOT NULL DEFAULT 0,
    holder      text NOT NULL DEFAULT '',  -- machine and process, for people
    renewed_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO leadership DEFAULT VALUES;
