"""Checks envelope.json with another implementation, written from PROTOCOL.md alone: every message is made again from
its inputs and opened again from its bytes. HPKE is PyPI `pyhpke`, the rest PyPI `cryptography`.
Run:  pip install cryptography pyhpke==0.6.5 && python3 envelope_second_implementation.py
"""
import hashlib
import hmac
import json
import pathlib
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

ALL = json.loads((pathlib.Path(__file__).parent / "envelope.json").read_text())
HPKE = CipherSuite.new(KEMId.DHKEM_P384_HKDF_SHA384, KDFId.HKDF_SHA384, AEADId.AES256_GCM)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973

# The tables of part 3.
VERSION = 1
HELLO, TICKET, ACTIVATION, ACTIVATION_ANSWER, RESUME, RESUME_ANSWER, HEARTBEAT, VERDICT, TAMPER, REFUSAL = range(1, 11)
SUITES = {"aes-256-gcm": 1, "chacha20-poly1305": 2}
AEADS = {"aes-256-gcm": AESGCM, "chacha20-poly1305": ChaCha20Poly1305}
COMPONENTS = {"soc-serial": 1, "emmc-cid": 2, "mac-address": 3}
LEGITIMACY = {"legitimate": 2, "restricted": 4}
STATUS = {"committed": 1, "retried": 2}
OPERATIONS = {"restrict": 3}
TAMPER_REASONS = {"COMPONENT_MISMATCH": 2}
REASONS = {
    "MALFORMED": 1, "NOT_AUTHENTIC": 2, "REPLAYED": 3, "TICKET_REFUSED": 4, "CODE_REFUSED": 5, "RATE_EXCEEDED": 6,
    "DOWNGRADE": 7, "REPLY_SUBJECT": 8, "OVERSIZED": 9, "UNAVAILABLE": 10, "EPOCH_STALE": 11, "NOT_LICENSED": 12,
}


# Part 1: primitives and ids.

def unhex(text):
    return bytes.fromhex(text)


def u16(number):
    return struct.pack("<H", number)


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def sha384(message):
    return hashlib.sha384(message).digest()


def mac(key, message):
    return hmac.new(key, message, hashlib.sha384).digest()


def hkdf(salt, secret, info, length):
    prk, out, block, counter = mac(salt or bytes(48), secret), b"", b"", 1
    while len(out) < length:
        block = mac(prk, block + info + bytes([counter]))
        out, counter = out + block, counter + 1
    return out[:length]


def id_bytes(text, prefix, length):
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    assert text.startswith(prefix)
    bits = "".join(f"{alphabet.index(symbol):05b}" for symbol in text[len(prefix):])
    assert set(bits[length * 8:]) <= {"0"} and len(bits) - length * 8 < 5
    return int(bits[: length * 8], 2).to_bytes(length, "big")


def private_key(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP384R1())


def point(key):
    n = key.public_numbers()
    return b"\x04" + n.x.to_bytes(48, "big") + n.y.to_bytes(48, "big")


def check_signature(encoded_key, message, signature):
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    assert len(signature) == 96 and s <= ORDER // 2, "low-S only"
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), encoded_key)
    key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA384()))


# What the terminal and the cluster are.

CLUSTER = id_bytes(ALL["cluster"]["cluster"], "clu_", 16)
CLUSTER_KEY = ALL["cluster"]["public"]["cluster_key"]
DEVICE = id_bytes(ALL["device"]["device_id"], "dev_", 16)
DEVICE_PUBLIC = unhex(ALL["device"]["public_key"])
PRE_SHARED = unhex(ALL["device"]["pre_shared_key"])


def check_identity():
    """2.1: everything follows from the seed."""
    seed = unhex(ALL["device"]["seed"])
    follow = lambda label, length: hkdf(b"muster v1 device seed", seed, label, length)
    assert follow(b"muster v1 pre-shared key", 48) == PRE_SHARED
    derived = HPKE.kem.derive_key_pair(follow(b"muster v1 device key", 48))
    assert derived.public_key.to_public_bytes() == DEVICE_PUBLIC
    assert point(private_key(unhex(ALL["device"]["private_key"])).public_key()) == DEVICE_PUBLIC
    assert sha384(DEVICE_PUBLIC)[:16] == DEVICE
    cluster_key = private_key(unhex(ALL["cluster"]["cluster_private_key"]))
    assert point(cluster_key.public_key()).hex() == CLUSTER_KEY["key"]
    assert ALL["cluster"]["public"]["cluster"] == ALL["cluster"]["cluster"]


# Part 3: headers.

def up_header(kind, suite=0, device=DEVICE, epoch=0, sequence=0, acked=0, seen=0):
    return bytes([VERSION, kind, suite, 0]) + device + u32(epoch) + u32(sequence) + u32(acked) + u64(seen)


def down_header(kind, index, nonce):
    return bytes([VERSION, kind]) + u64(index) + nonce


# Part 4: messages.

def check_ticket():
    part = ALL["ticket"]
    assert unhex(part["hello"]) == up_header(HELLO)
    ticket = u32(part["generation"]) + unhex(part["random"]) + u64(part["applied"]) + u64(part["stamp"])
    ticket += mac(unhex(ALL["cluster"]["ticket_key"]), b"muster v1 ticket" + ticket)[:16]
    assert ticket == unhex(part["ticket"]) and len(ticket) == 52
    assert unhex(part["answer"]) == bytes([VERSION, TICKET]) + ticket


def activation_body(fields):
    code = fields["code"]
    body = b"\x01" + code.replace("-", "")[:20].encode() if code else bytes(21)
    body += id_bytes(fields["record"], "rec_", 16) + unhex(fields["random"]) + id_bytes(fields["boot"], "boo_", 16)
    body += u32(fields["boot_count"]) + u32(fields["firmware"]) + u32(fields["epoch_claimed"])
    body += bytes([len(fields["components"])])
    return body + b"".join(bytes([COMPONENTS[c["kind"]]]) + unhex(c["digest"]) for c in fields["components"])


def check_activation(part):
    """Seals it again with the same ephemeral key, then opens it as the cluster would. Returns (message, exporter)."""
    aad = up_header(ACTIVATION, suite=part["offered"]) + u32(CLUSTER_KEY["id"])
    info = b"muster v1 activation" + CLUSTER
    body = activation_body(part["body_fields"])
    assert (aad, info, body) == tuple(unhex(part[name]) for name in ("associated_data", "info", "body"))

    receiver = private_key(unhex(ALL["cluster"]["cluster_private_key"]))
    receiver_public = KEMKey.from_pyca_cryptography_key(receiver.public_key())
    ephemeral = HPKE.kem.derive_key_pair(unhex(part["ephemeral_ikm"]))
    enc, sender = HPKE.create_sender_context(receiver_public, info=info, psk=PRE_SHARED, psk_id=DEVICE, eks=ephemeral)
    ciphertext, exporter = sender.seal(body, aad), sender.export(b"muster v1 exporter", 48)
    assert enc.hex() == part["encapsulated_key"] and ciphertext.hex() == part["ciphertext"]
    assert exporter.hex() == part["exporter"]

    message = unhex(part["message"])
    assert len(message) == 435 + 9 * len(part["body_fields"]["components"])
    transcript, signature, ticket, tag = message[:-180], message[-180:-84], message[-84:-32], message[-32:]
    assert transcript == aad + enc + ciphertext and ticket == unhex(part["ticket"])
    check_signature(DEVICE_PUBLIC, b"muster v1 activation signature\0" + transcript, signature)
    gate_key = hkdf(DEVICE, PRE_SHARED, b"muster v1 activation gate", 48)
    assert gate_key.hex() == part["gate_key"] and mac(gate_key, message[:-32])[:32] == tag
    assert (signature.hex(), tag.hex()) == (part["signature"], part["mac"])

    renewed = message[:-84] + unhex(part["renewed_ticket"])
    assert renewed + mac(gate_key, renewed)[:32] == unhex(part["renewed_message"])

    context = HPKE.create_recipient_context(
        message[44:141], KEMKey.from_pyca_cryptography_key(receiver), info=info, psk=PRE_SHARED, psk_id=DEVICE
    )
    assert context.open(message[141:-180], message[:44]) == body
    return message, exporter


def answer_body(fields):
    if "reason" in fields:
        return bytes([2, REASONS[fields["reason"]]])
    token = (fields["license_token"] or "").encode()
    body = b"\x01" + u32(fields["epoch"]) + unhex(fields["server_nonce"]) + bytes([SUITES[fields["suite"]]])
    body += u32(fields["generation"]) + u64(fields["stamp"]) + u32(fields["interval_millis"])
    body += bytes([LEGITIMACY[fields["legitimacy"]]]) + u32(fields["lease"])
    return body + u16(len(token)) + token


def check_answers(part, kind, key, request):
    for name in ("granted", "refused"):
        answer = part[name]
        nonce, body = unhex(answer["nonce"]), answer_body(answer["body_fields"])
        assert body == unhex(answer["body"])
        header = down_header(kind, answer["index"], nonce)
        aad = header + sha384(request)
        assert header + AESGCM(key).encrypt(nonce, body, aad) == unhex(answer["message"])
        try:
            AESGCM(key).decrypt(nonce, unhex(answer["message"])[22:], header + sha384(request + b"x"))
            raise SystemExit("an answer opened for another request")
        except InvalidTag:
            pass


def binding(epoch):
    suite = SUITES[epoch["suite"]]
    return bytes([VERSION, epoch["offered"], suite]) + DEVICE + u32(epoch["epoch"])


def check_activated(part, answers, epoch):
    """Activation, its answers, and the first secret of the epoch that it was granted."""
    message, exporter = check_activation(part)
    key = hkdf(b"", exporter, b"muster v1 activation answer", 32)
    assert key.hex() == answers["key"]
    check_answers(answers, ACTIVATION_ANSWER, key, message)
    grant = answers["granted"]["body_fields"]
    assert (grant["epoch"], grant["suite"], grant["server_nonce"]) == (
        epoch["epoch"], epoch["suite"], epoch["server_nonce"],
    )
    secret = hkdf(unhex(epoch["server_nonce"]), exporter, b"muster v1 resumption" + binding(epoch), 48)
    assert secret.hex() == epoch["resumption_secret"]
    check_epoch(epoch)
    return secret


def check_resume(secret):
    part, epoch = ALL["resume"], ALL["epochs"]["resumed"]
    client_nonce, from_epoch = unhex(part["client_nonce"]), u32(part["from_epoch"])
    derive = lambda label: hkdf(client_nonce, secret, label + DEVICE + from_epoch, 32)
    key, answer_key = derive(b"muster v1 resume"), derive(b"muster v1 resume answer")
    assert (key.hex(), answer_key.hex()) == (part["key"], part["answer_key"])
    aad = up_header(RESUME, suite=part["offered"], epoch=part["from_epoch"]) + client_nonce + unhex(part["ticket"])
    body = id_bytes(part["boot"], "boo_", 16) + u32(part["boot_count"]) + u32(part["firmware"])
    assert body == unhex(part["body"])
    message = aad + AESGCM(key).encrypt(bytes(12), body, aad)
    assert message == unhex(part["message"]) and len(message) == 148
    check_answers(part, RESUME_ANSWER, answer_key, message)
    salt = client_nonce + unhex(epoch["server_nonce"])
    assert hkdf(salt, secret, b"muster v1 ratchet" + binding(epoch), 48).hex() == epoch["resumption_secret"]
    check_epoch(epoch)


def directive_id(fields):
    return u32(fields["generation"]) + u64(fields["index"]) + u16(fields["ordinal"])


def check_epoch(epoch):
    """Session keys, a heartbeat and its verdict."""
    secret, suite, aead = unhex(epoch["resumption_secret"]), SUITES[epoch["suite"]], AEADS[epoch["suite"]]
    info = DEVICE + u32(epoch["epoch"]) + bytes([suite])
    up = hkdf(b"", secret, b"muster v1 session up" + info, 32)
    down = hkdf(b"", secret, b"muster v1 session down" + info, 32)
    assert (up.hex(), down.hex()) == (epoch["up"], epoch["down"])
    request = check_heartbeat(epoch, epoch["heartbeat"], suite, aead(up))
    check_heartbeat(epoch, epoch["heartbeat_with_spool"], suite, aead(up))
    check_verdict(epoch["verdict"], aead(down), request)


def check_heartbeat(epoch, part, suite, aead):
    fields, spooled = part["body_fields"], part["spooled"]
    header = up_header(
        HEARTBEAT, suite=suite, epoch=epoch["epoch"], sequence=part["sequence"], acked=part["acked"], seen=part["seen"]
    )
    body = u32(fields["number"]) + u32(fields["uptime_seconds"]) + u32(fields["firmware"])
    body += bytes([fields["condition"]]) + directive_id(fields["obeyed"])
    if spooled:
        body += bytes([2, len(spooled)])
    for one in spooled:
        body += u32(one["boot_count"]) + u32(one["number"]) + u32(one["uptime_seconds"]) + u32(one["firmware"])
        body += u64(one["made"]) + bytes([one["condition"]])
    assert body == unhex(part["body"])
    message = header + aead.encrypt(bytes(8) + u32(part["sequence"]), body, header)
    size = 85 + 25 * len(spooled) if spooled else 83
    assert message == unhex(part["message"]) and len(message) == size
    assert struct.unpack("<I", sha384(message)[:4]) == (part["content_digest"],)
    return message


def check_verdict(part, aead, request):
    nonce, directive = unhex(part["nonce"]), part["directive"]
    body = bytes([STATUS[part["status"]], LEGITIMACY[part["legitimacy"]]]) + u64(part["stamp"])
    body += u32(part["interval_millis"]) + u32(part["lease"])
    if directive:
        body += directive_id(directive["id"]) + bytes([OPERATIONS[directive["kind"]]]) + u64(directive["expires"])
    else:
        body += bytes(23)
    assert body == unhex(part["body"])
    header = down_header(VERDICT, part["index"], nonce)
    message = header + aead.encrypt(nonce, body, header + sha384(request))
    assert message == unhex(part["message"]) and len(message) == 79


def check_refusals():
    assert {part["reason"] for part in ALL["refusals"]} == set(REASONS)
    for part in ALL["refusals"]:
        expected = bytes([VERSION, REFUSAL, REASONS[part["reason"]]]) + u32(part["retry_after_millis"])
        assert unhex(part["message"]) == expected


def check_tamper():
    part = ALL["tamper"]
    lot = id_bytes(part["lot"], "lot_", 4)
    key = hkdf(b"muster v1 lot secret", unhex(part["lot_secret"]), b"muster v1 tamper key" + lot, 32)
    assert key.hex() == part["tamper_key"]
    message = up_header(TAMPER, device=lot + bytes(12)) + id_bytes(part["record"], "rec_", 16)
    message += bytes([TAMPER_REASONS[part["reason"]]]) + u16(part["mismatched"]) + unhex(part["random"])
    message += mac(key, b"muster v1 tamper report" + message)[:32]
    assert message == unhex(part["message"]) and len(message) == 107


def check_nodes():
    """7.4: what only nodes compute."""
    part = ALL["code"]
    symbols = part["code"].replace("-", "")[:20].encode()
    digest = mac(unhex(part["code_key"]), b"muster v1 activation code" + symbols)[:16]
    assert digest == id_bytes(part["digest"], "cod_", 16)
    for part in ALL["wrapped"]:
        key = hkdf(unhex(part["salt"]), unhex(part["key_encryption_key"]), b"muster v1 wrap", 32)
        aad = CLUSTER + bytes([part["purpose"]]) + u32(part["epoch"]) + unhex(part["subject"])
        assert AESGCM(key).encrypt(bytes(12), unhex(part["secret"]), aad).hex() == part["sealed"]


def main():
    check_identity()
    check_ticket()
    epochs = ALL["epochs"]
    secret = check_activated(ALL["activation"], ALL["activation_answer"], epochs["activated"])
    check_activated(ALL["rekey"], ALL["rekey_answer"], epochs["rekeyed"])
    check_resume(secret)
    check_refusals()
    check_tamper()
    check_nodes()
    print("envelope.json holds")


main()
