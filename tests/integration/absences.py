"""What may happen to a part of a server's state, and how a row of up_absences.py says what must come of it."""

import json
import os
import shutil
import struct
import subprocess

RECORDS_AT = 4096  # in a journal


# ---- What happens to a file or folder; `row` knows where its copies are and how it is cut


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def put(source, path):
    """`source` in the place of whatever is there, with owners and modes."""
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", source, path], check=True)


_first = {}  # what the files that are lent held


def lend(source, path, owner):
    """As put(), but files below a folder named `owner` are the very same ones, with what they held at first: a
    discard disk is not served from copies."""
    put(source, path)
    files = [source] if source.is_file() else source.rglob("*")
    for file in [file for file in files if file.is_file() and owner in file.parts]:
        held = _first.setdefault(file, file.read_bytes())
        with open(file, "r+b") as same:
            same.write(held)
            same.truncate()
        copied = path / file.relative_to(source)
        copied.unlink()
        os.link(file, copied)


def missing(path, _):
    remove(path)


def empty(path, _):
    if path.is_dir():
        for inside in path.iterdir():
            remove(inside)
    else:
        os.truncate(path, 0)


def cut(path, row):
    os.truncate(path, row.thing.cut_at or path.stat().st_size // 2)


def garbled(path, row):
    with open(path, "r+b") as file:
        file.seek(row.thing.garble_at)
        old = file.read(row.thing.garble_bytes)
        file.seek(row.thing.garble_at)
        file.write(bytes(byte ^ 0x5A for byte in old))


def older(path, row):
    put(row.earlier(), path)


def newer(path, row):
    row.thing.newer(path)


def foreign(path, row):
    put(row.foreign(), path)


# ---- What a newer program would have written


def json_of_format_99(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


def line_of_version_99(path):
    words = path.read_text().split()
    path.write_text(" ".join([*words[:-1], "99"]) + "\n")


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def manifest_of_format_99(path):
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(struct.pack("<I", 99))


def journal_of_format_99(path):
    with open(path, "r+b") as file:
        header = bytearray(file.read(RECORDS_AT))
        header[8:12] = struct.pack("<I", 99)
        header[-4:] = struct.pack("<I", crc32c(header[:-4]))
        file.seek(0)
        file.write(header)


# ---- The tables' rows


class Thing:
    """A file or folder and, of each damage, what must come of it. `path` is below the state folder and may name
    links and versions: overlays/{keep}."""

    def __init__(self, path, outcomes, cut_at=None, garble_at=0, garble_bytes=1 << 20,
                 newer=json_of_format_99):
        self.path, self.outcomes = path, outcomes
        self.cut_at, self.garble_at, self.garble_bytes, self.newer = cut_at, garble_at, garble_bytes, newer


class Outcome:
    """`says`: words that status, links or log must have. Links that are not named in `links` are whole."""

    def __init__(self, *says, refused=False, way=None, first=None, **links):
        self.says, self.refused, self.links = says, refused, links
        self.way = way      # how it is mended, where not by putting back what was there
        self.first = first  # what is done, and looked at, before clients read


class Row:
    def __init__(self, thing, damage, ours, theirs):
        self.thing, self.damage, self.ours, self.theirs = thing, damage, ours, theirs
        self.outcome = thing.outcomes[damage]

    def path(self, state, record=None):
        return state / self.thing.path.format(**(record or self.ours).names)

    def earlier(self):
        return self.path(self.ours.earlier)

    def foreign(self):
        return self.path(self.theirs.state, self.theirs)


EVERY = int(os.environ.get("GOLDLINK_EVERY_ROW", "1"))  # 3: a third of the rows


def add_rows(case, things):
    """A test method of `case` for each row, named for it: test_links_json_older."""
    for number, thing in enumerate(things):
        for damage in [*thing.outcomes][number % EVERY::EVERY]:
            def test(self, thing=thing, damage=damage):
                self.check_row(thing, damage)
            name = "".join(c if c.isalnum() else "_" for c in thing.path.strip("/"))
            test.__doc__ = f"{thing.path} {damage.__name__}"
            setattr(case, f"test_{name}_{damage.__name__}", test)
