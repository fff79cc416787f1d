"""Microsoft's iSCSI initiator (iScsiPrt) as seen from the wire: its login keys and their answers.

The keys and values are those that Windows 10, 11 and Server send; the right column says what
RFC 7143 lets a target answer. What a target of one connection and ErrorRecoveryLevel 0 must answer is
exact, the rest a range.
"""

import hashlib
import os

from harness import exchange, iscsi, processes, target_case as target
from harness.exchange import require
from harness.fields import Rule

MIB = 1 << 20
ISID = bytes.fromhex("400001370000")
INITIATOR = "iqn.1991-05.com.microsoft:pc-001.school.example"

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3


def exactly(value):
    return Rule(repr(value), lambda answer: answer == value)


def at_most(number, least=0):
    return Rule(f"{least} to {number}", lambda answer: answer.isdecimal() and least <= int(answer) <= number)


def declares(least, most):
    return Rule(f"{least} to {most}, declared", lambda answer: answer.isdecimal() and least <= int(answer) <= most)


STAGE_2 = (
    # key, Windows' offer, the answer (RFC 7143 section)
    ("HeaderDigest", "None,CRC32C", exactly("None")),                 # 13.1: the first that the target can
    ("DataDigest", "None,CRC32C", exactly("None")),
    ("MaxRecvDataSegmentLength", "65536", declares(8192, 0xFFFFFF)),  # 13.12: each side declares its own
    ("DefaultTime2Wait", "0", exactly("0")),                          # 13.15: the larger
    ("DefaultTime2Retain", "60", at_most(60)),                        # 13.16: the smaller
    ("ErrorRecoveryLevel", "2", exactly("0")),                        # 13.20: the smaller
    ("InitialR2T", "No", exactly("No")),                              # 13.10: OR
    ("ImmediateData", "Yes", exactly("Yes")),                         # 13.11: AND
    ("MaxBurstLength", "262144", at_most(262144, 65536)),             # 13.13: the smaller
    ("FirstBurstLength", "65536", at_most(65536, 512)),               # 13.14: the smaller
    ("MaxConnections", "32", at_most(32, 1)),                         # 13.2: the smaller
    ("MaxOutstandingR2T", "16", at_most(16, 1)),                      # 13.17: the smaller
)
# 13.2, 13.10 to 13.14, 13.17: irrelevant in a discovery session.
NORMAL_SESSIONS_ONLY = ("InitialR2T", "ImmediateData", "MaxBurstLength", "FirstBurstLength", "MaxConnections",
                        "MaxOutstandingR2T")


def offers():
    return {key: offer for key, offer, _ in STAGE_2}


def wrong_answers(answers, discovery=False):
    """Offered keys not answered or answered wrongly, and answers to what was not offered."""
    found = [f"{key} was not offered" for key in answers if key not in offers()]
    for key, offer, rule in STAGE_2:
        if key not in answers:
            found.append(f"{key} is not answered")
        elif discovery and key in NORMAL_SESSIONS_ONLY:
            if answers[key] not in ("Irrelevant",):
                found.append(f"{key}={answers[key]} in a discovery session, not Irrelevant")
        elif not rule.holds(answers[key]):
            found.append(f"{key}={offer} is answered {answers[key]}, not {rule}")
    return found


class Windows(exchange.CheckedInitiator):
    cid = 1

    def __init__(self, portal, name=INITIATOR, isid=ISID):
        super().__init__(portal, name, isid)
        self.answers = []  # of the login, in order

    def step(self, csg, nsg, transit, keys):
        answer = self.login_exchange(csg, nsg, transit, keys)
        self.answers.append(answer)
        status = int.from_bytes(answer.bhs[36:38], "big")
        if status:
            raise iscsi.LoginFailed(status)
        return answer

    def stage_1(self, iqn, auth_method="None", discovery=False):
        keys = {"InitiatorName": self.name, "SessionType": "Discovery" if discovery else "Normal"}
        if iqn:
            keys["TargetName"] = iqn
        keys["AuthMethod"] = auth_method
        return self.step(SECURITY, OPERATIONAL, auth_method == "None", keys)

    def prove(self, username, secret, mutual=None):
        """CHAP (RFC 7143 12.1.3); `mutual`: (name, secret) that the target must prove."""
        offer = self.step(SECURITY, OPERATIONAL, False, {"CHAP_A": "5"}).text()
        require(offer.get("CHAP_A") == "5", f"CHAP_A={offer.get('CHAP_A')}")
        challenge = bytes.fromhex(offer["CHAP_C"].removeprefix("0x"))
        keys = {"CHAP_N": username, "CHAP_R": "0x" + chap_response(offer["CHAP_I"], secret, challenge)}
        ours = os.urandom(16)
        if mutual:
            keys |= {"CHAP_I": "7", "CHAP_C": "0x" + ours.hex()}
        answer = self.step(SECURITY, OPERATIONAL, True, keys)
        if mutual:
            name, mutual_secret = mutual
            wanted = {"CHAP_N": name, "CHAP_R": "0x" + chap_response("7", mutual_secret, ours)}
            proof = {key: value.lower() if key == "CHAP_R" else value for key, value in answer.text().items()}
            require(proof == wanted, f"the target proves {proof}, not {wanted}")
        else:
            require(answer.text() == {}, f"keys nobody asked for: {answer.text()}")

    def stage_2(self, discovery=False):
        self.offered = offers()
        answer = self.step(OPERATIONAL, FULL_FEATURE, True, self.offered)
        wrong = wrong_answers(answer.text(), discovery)
        require(not wrong, "\n".join(wrong))
        return answer

    def log_in(self, iqn, username=None, secret=None, mutual=None):
        self.stage_1(iqn, "CHAP" if username else "None")
        if username:
            self.prove(username, secret, mutual)
        self.stage_2()
        return self

    def send_targets_all(self):
        request = iscsi.make_pdu(iscsi.TEXT, 0x80, False, iscsi.encode_keys({"SendTargets": "All"}))
        request.put32(16, self.tag()).put32(20, iscsi.NO_TAG).put32(24, self.cmd_sn).put32(28, self.exp_stat_sn)
        self.cmd_sn += 1
        self.send(request)
        answer = self.receive()
        require(answer.itt == request.itt, "11.11: Initiator Task Tag")
        return answer

    def pass_attentions(self):
        """TEST UNIT READY until no attention is left; returns what was told."""
        told = []
        while (reply := self.exchange(bytes(6))).status == 2:
            require(reply.condition[0] == 6 and len(told) < 8, f"TEST UNIT READY: {reply}")
            told.append(reply.condition)
        require(reply.status == 0, f"TEST UNIT READY: status {reply.status:#x}")
        return told


def chap_response(identifier, secret, challenge):
    return hashlib.md5(bytes([int(identifier)]) + secret.encode() + challenge).hexdigest()


class Case(processes.TestCase):
    """A target with one link of 8 MiB, 2 MiB of it zero and so never stored."""

    policy = "discard"

    def setUp(self):
        super().setUp()
        self.target = target.Target(self).start()
        self.image = os.urandom(2 * MIB) + bytes(2 * MIB) + os.urandom(4 * MIB)
        self.version = self.target.import_image(self.image)
        self.link = self.target.put_link("pc-001", self.version, self.policy)

    def connect(self, **options):
        initiator = Windows(self.target.portal, **options)
        self.addCleanup(initiator.close)
        return initiator

    def log_in(self, link=None, username="user", secret=target.SECRET, attentions=True, **options):
        initiator = self.connect(**options).log_in((link or self.link)["iqn"], username, secret)
        if attentions:
            initiator.pass_attentions()
        return initiator

    def good(self, reply, length=None):
        """Asserts GOOD, and the length of the data where it matters; returns the data."""
        self.assertEqual((reply.status, reply.condition), (0, ()), "not GOOD")
        if length is not None:
            self.assertEqual(len(reply.data), length)
        return reply.data

    def refused(self, reply, key, asc, ascq):
        self.assertEqual((reply.status, reply.condition), (2, (key, asc, ascq)))
