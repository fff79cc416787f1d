"""Parameter data checked bit by bit by a table that reads like the standard's.

A row is (name, byte, highest bit, width in bits, expectation): `("LBPU", 5, 7, 1, 1)` is bit 7 of
byte 5; fields wider than a byte begin at bit 7 and go on in the next bytes. An expectation is a
number or a rule of the functions below. Bits that no row names are reserved and must be zero.
"""


class Rule:
    def __init__(self, text, holds):
        self.text, self.holds = text, holds

    def __repr__(self):
        return self.text


ANY = Rule("any", lambda value: True)


def between(least, most):
    return Rule(f"{least} to {most}", lambda value: least <= value <= most)


def one_of(*values):
    return Rule(f"one of {values}", lambda value: value in values)


def text(width):
    """Left-aligned printable ASCII of `width` bytes, padded with spaces (SPC-4 4.4.1), not blank."""
    def holds(value):
        raw = value.to_bytes(width, "big")
        return all(0x20 <= byte < 0x7F for byte in raw) and raw.strip() != b"" and raw[:1] != b" "
    return Rule(f"{width} characters of text", holds)


def extract(data, byte, high, width):
    count = (7 - high + width + 7) // 8
    whole = int.from_bytes(data[byte:byte + count], "big")
    return whole >> (8 * count - (7 - high) - width) & ((1 << width) - 1)


def mask_of(byte, high, width, size):
    """The field as set bits of a number as long as the data."""
    return ((1 << width) - 1) << (8 * (size - byte) - (7 - high) - width)


def problems(data, rows, **values):
    """What is wrong, a line each; `values` gives expectations by name over the table's."""
    found, named = [], 0
    for name, byte, high, width, expectation in rows:
        last = byte + (7 - high + width + 7) // 8
        if last > len(data):
            found.append(f"{name}: byte {last - 1} is not there, {len(data)} bytes came")
            continue
        named |= mask_of(byte, high, width, len(data))
        value = extract(data, byte, high, width)
        expectation = values.get(name, expectation)
        right = expectation.holds(value) if isinstance(expectation, Rule) else value == expectation
        if not right:
            found.append(f"{name} (byte {byte} bit {high}): {value:#x}, not {expectation}")
    reserved = int.from_bytes(data, "big") & ~named
    if reserved:
        found.append(f"reserved bits are set: {reserved.to_bytes(len(data), 'big').hex()}")
    return found
