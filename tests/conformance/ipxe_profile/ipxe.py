"""iPXE's initiator as seen from the wire.

The strings are those in Debian 12's build and of its captures (newer builds send the same). It sets T in every
login request, its CID is 0, it offers CHAP_A=5 alone, answers no ping and logs out never.
"""

import hashlib
import os

from harness import exchange, iscsi
from harness.exchange import require

ENTERPRISE = "40002723"  # its ISIDs: type 01b, Etherboot's number 10019, then 16 random bits
OFFERS = {
    "HeaderDigest": "None", "DataDigest": "None", "MaxConnections": "1", "InitialR2T": "Yes", "ImmediateData": "No",
    "MaxRecvDataSegmentLength": "8192", "MaxBurstLength": "262144", "FirstBurstLength": "65536",
    "DefaultTime2Wait": "0", "DefaultTime2Retain": "0", "MaxOutstandingR2T": "1", "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes", "ErrorRecoveryLevel": "0",
}
# It takes what it offered for agreed and reads no answer, so each must be what it offered (our own
# MaxRecvDataSegmentLength, which it does not read either, at least what it sends: 8192).
ANSWERS = {key: offer for key, offer in OFFERS.items() if key != "MaxRecvDataSegmentLength"}


class Ipxe(exchange.CheckedInitiator):
    """`auth`: what it offers: "None" without user name, "CHAP,None" with, "CHAP" if the target must prove itself."""

    def __init__(self, portal, name):
        super().__init__(portal, name, bytes.fromhex(ENTERPRISE) + os.urandom(2))
        self.pings = 0

    def step(self, csg, nsg, keys):
        answer = self.login_exchange(csg, nsg, True, keys)
        status = int.from_bytes(answer.bhs[36:38], "big")
        if status:
            failed = iscsi.LoginFailed(status)
            failed.address = answer.text().get("TargetAddress")
            raise failed
        return answer

    def log_in(self, iqn, username=None, secret=None, mutual=None):
        auth = "CHAP" if mutual else "CHAP,None" if username else "None"
        answer = self.step(0, 1, {"InitiatorName": self.name, "TargetName": iqn, "SessionType": "Normal",
                                  "AuthMethod": auth})
        self.first = answer.text()
        if self.first.get("AuthMethod") == "CHAP":
            offer = self.step(0, 1, {"CHAP_A": "5"}).text()
            require(offer.get("CHAP_A") == "5" and offer["CHAP_I"].isdecimal(), f"CHAP offer {offer}")
            require(offer["CHAP_C"].startswith("0x"), "iPXE reads hexadecimal challenges alone")
            challenge = bytes.fromhex(offer["CHAP_C"][2:])
            keys = {"CHAP_N": username, "CHAP_R": "0x" + response(offer["CHAP_I"], secret, challenge)}
            ours = os.urandom(17)
            if mutual:
                keys |= {"CHAP_I": "3", "CHAP_C": "0x" + ours.hex()}
            answer = self.step(0, 1, keys)
            if mutual:
                wanted = {"CHAP_N": mutual[0], "CHAP_R": "0x" + response("3", mutual[1], ours)}
                require(answer.text() == wanted, f"the target proves {answer.text()}")
        require(answer.flags & 0x83 == 0x81, f"no transit to the operational stage: {answer.flags:#04x}")
        self.offered = dict(OFFERS)
        answers = self.step(1, 3, OFFERS).text()
        require(set(answers) == set(OFFERS), f"answered {sorted(answers)}")
        wrong = {key: answers[key] for key, value in ANSWERS.items() if answers[key] != value}
        require(not wrong, f"answered otherwise than iPXE takes for agreed: {wrong}")
        require(int(answers["MaxRecvDataSegmentLength"]) >= 8192, "its Data-Out PDUs have up to 8192 bytes")
        self.keys["MaxRecvDataSegmentLength"] = "8192"  # it never sends more, whatever the target takes
        return self

    def on_ping(self, ping):
        self.pings += 1  # and no answer

    def until_ping(self):
        """Waits for the next ping of the target, and does not answer it."""
        pdu = self.receive()
        require(pdu.opcode == iscsi.NOP_IN and pdu.itt == iscsi.NO_TAG and pdu.u32(20) != iscsi.NO_TAG,
                f"no ping: {pdu.bhs.hex()}")
        self.on_ping(pdu)


def response(identifier, secret, challenge):
    return hashlib.md5(bytes([int(identifier)]) + secret.encode() + challenge).hexdigest()
