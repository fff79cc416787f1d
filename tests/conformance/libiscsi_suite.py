"""Runs libiscsi's test suite, iscsi-test-cu, and reads what it prints.

Its exit code says nothing and its XML leaves skips out, so this reads the verbose text: per test a line
`Test: Name ...`, notes in brackets, then `passed` or `FAILED` with the assertions that failed.
"""

import collections
import dataclasses
import re
import subprocess

PROGRAM = "iscsi-test-cu"
FAMILY = "ALL"
TIMEOUT_SECONDS = 900

SUITE = re.compile(r"^Suite: (\S+)$")
TEST = re.compile(r"^  Test: (\S+) \.\.\.(.*)$")
OUTCOME = re.compile(r"^(passed|FAILED)(?=\s|$)")
NOTE = re.compile(r"\[(SKIPPED|FAILED)\]\s*(.*)")
ASSERTION = re.compile(r"^    \d+\. (.*)$")

PASSED, FAILED, SKIPPED, MISSING = "passed", "failed", "skipped", "missing"


@dataclasses.dataclass
class Outcome:
    state: str
    notes: list


class SuiteError(Exception):
    """The suite could not be run to its end."""


def listed_tests():
    """Names, "Suite.Test", of all tests the program has."""
    text = subprocess.run([PROGRAM, "--list"], capture_output=True, text=True, timeout=30, check=True).stdout
    names = (line.strip().split(".") for line in text.splitlines())
    return [".".join(parts[1:]) for parts in names if parts[0] == FAMILY and len(parts) == 3]


def parse(text):
    """Outcomes by "Suite.Test", in the order they ran."""
    outcomes = collections.OrderedDict()
    suite = name = None
    notes, result = [], None

    def close():
        if name is None:
            return
        skipped = any(kind == "SKIPPED" for kind, _ in notes)
        state = MISSING if result is None else FAILED if result == "FAILED" else SKIPPED if skipped else PASSED
        outcomes[f"{suite}.{name}"] = Outcome(state, [text for _, text in notes])

    for line in text.splitlines():
        if match := SUITE.match(line):
            close()
            suite, name = match[1], None
        elif match := TEST.match(line):
            close()
            name, notes, result = match[1], [], None
            line = match[2]
        elif line.startswith("Run Summary:"):
            close()
            name = None
        if name is None:
            continue
        if match := OUTCOME.match(line.strip()):
            result = match[1]
        if match := NOTE.search(line):
            notes.append((match[1], match[2].strip()))
        elif match := ASSERTION.match(line):
            notes.append(("ASSERTION", match[1].strip()))
    close()
    return outcomes


def run(url, second_url=None, family=FAMILY):
    """Runs the tests against a LUN, whose data is lost. Returns outcomes and the text."""
    command = ["stdbuf", "-o0", PROGRAM, "--dataloss", "--allow-sanitize", "--verbose", f"--test={family}", url]
    if second_url:
        command.append(second_url)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_SECONDS,
                              check=False)
    except subprocess.TimeoutExpired as late:
        end = (late.output or b"").decode(errors="replace")[-2000:]
        raise SuiteError(f"{PROGRAM} did not end within {TIMEOUT_SECONDS} s; its last words:\n{end}") from None
    text = done.stdout.decode(errors="replace")
    if "Run Summary:" not in text:
        raise SuiteError(f"{PROGRAM} ended early with {done.returncode}; its last words:\n{text[-2000:]}")
    return parse(text), text


@dataclasses.dataclass
class Expectation:
    state: str
    reason: str


def read_expectations(path):
    """The tests that do not pass: lines `failed|skipped  Suite.Test  reason`; # starts a comment."""
    expected = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        parts = line.split(None, 2)
        if len(parts) != 3 or parts[0] not in (FAILED, SKIPPED):
            raise SuiteError(f"{path}:{number}: not `failed|skipped Suite.Test reason`: {line}")
        if parts[1] in expected:
            raise SuiteError(f"{path}:{number}: {parts[1]} stands here twice")
        expected[parts[1]] = Expectation(parts[0], parts[2])
    return expected


def differences(outcomes, expected, listed):
    """What is not exactly as expected, a line each."""
    found = []
    for name in listed:
        want = expected[name].state if name in expected else PASSED
        got = outcomes.get(name, Outcome(MISSING, []))
        if got.state != want:
            notes = "".join(f"\n      {note}" for note in got.notes[:6])
            found.append(f"{name}: expected {want}, got {got.state}{notes}")
    known = set(listed)
    found += [f"{name}: ran, but the program does not list it" for name in outcomes if name not in known]
    found += [f"{name}: in the list of expectations, but there is no such test" for name in expected if name not in known]
    return found


def totals(outcomes):
    count = collections.Counter(outcome.state for outcome in outcomes.values())
    return f"{count[PASSED]} passed, {count[FAILED]} failed, {count[SKIPPED]} skipped"
