"""Checks factory.json with another implementation (PyPI `cryptography`), written from the layouts in
src/identity and src/license alone: keys from the seed, component digests, OTP records, certificate, declaration,
manifest, activation code, license token. Run:  pip install cryptography && python3 factory_second_implementation.py
"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ALL = json.loads((pathlib.Path(__file__).parent / "factory.json").read_text())
DEVICE, LOT, OTP = ALL["device"], ALL["lot"], ALL["otp_record"]
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
KINDS = {"soc-serial": 1, "emmc-cid": 2, "mac-address": 3}


def mac(key, message):
    return hmac.new(key, message, hashlib.sha384).digest()


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = mac(prk, block + info + bytes([counter]))
        out, counter = out + block, counter + 1
    return out[:length]


def hkdf(salt, secret, info, length):
    return expand(mac(salt, secret), info, length)


def labeled_extract(suite, salt, label, secret):
    return mac(salt or bytes(48), b"HPKE-v1" + suite + label + secret)


def labeled_expand(suite, prk, label, info, length):
    return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite + label + info, length)


KEM = b"KEM\x00\x11"
HPKE = b"HPKE\x00\x11\x00\x02\x00\x02"


def private(scalar):
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP384R1())


def point(key):
    n = key.public_key().public_numbers()
    return b"\x04" + n.x.to_bytes(48, "big") + n.y.to_bytes(48, "big")


def public(encoded):
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), encoded)


def derive_key_pair(seed):
    prk = labeled_extract(KEM, b"", b"dkp_prk", seed)
    return private(labeled_expand(KEM, prk, b"candidate", b"\x00", 48))


def hpke_open(key, sealed, info, aad):
    enc, ciphertext = sealed[:97], sealed[97:]
    shared = key.exchange(ec.ECDH(), public(enc))
    prk = labeled_extract(KEM, b"", b"eae_prk", shared)
    secret = labeled_expand(KEM, prk, b"shared_secret", enc + point(key), 48)
    context = b"\x00" + labeled_extract(HPKE, b"", b"psk_id_hash", b"")
    context += labeled_extract(HPKE, b"", b"info_hash", info)
    prk = labeled_extract(HPKE, secret, b"secret", b"")
    aead_key = labeled_expand(HPKE, prk, b"key", context, 32)
    nonce = labeled_expand(HPKE, prk, b"base_nonce", context, 12)
    return AESGCM(aead_key).decrypt(nonce, ciphertext, aad)


def check_signature(encoded_key, message, signature):
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    assert s <= ORDER // 2, "low-S only"
    der = utils.encode_dss_signature(r, s)
    public(encoded_key).verify(der, message, ec.ECDSA(hashes.SHA384()))


def unhex(part, name):
    return bytes.fromhex(part[name])


def components():
    return [struct.pack("<BH", KINDS[c["kind"]], len(c["value"])) + c["value"].encode() for c in DEVICE["components"]]


def check_device():
    seed = unhex(DEVICE, "seed")
    follows = lambda label, length: hkdf(b"muster v1 device seed", seed, label, length)
    key = derive_key_pair(follows(b"muster v1 device key", 48))
    assert key.private_numbers().private_value == int(DEVICE["private_key"], 16)
    assert point(key) == unhex(DEVICE, "public_key")
    assert follows(b"muster v1 pre-shared key", 48) == unhex(DEVICE, "pre_shared_key")
    component_key = follows(b"muster v1 component key", 32)
    for component, expected in zip(components(), DEVICE["components"]):
        assert mac(component_key, component)[:8] == unhex(expected, "digest")
    nats = ed25519.Ed25519PrivateKey.from_private_bytes(follows(b"muster v1 nats nkey", 32))
    assert nats.public_key().public_bytes_raw() == unhex(DEVICE, "nats_public")


def check_lot():
    factory = unhex(LOT, "factory_public_key")
    assert point(private(unhex(LOT, "factory_private_key"))) == factory
    certificate, declaration = unhex(LOT, "station_certificate"), unhex(LOT, "declaration")
    assert len(certificate) == 210
    station = point(private(unhex(LOT, "station_private_key")))
    assert certificate[5:102] == station
    assert struct.unpack("<IQ", certificate[102:114]) == (LOT["quota"], LOT["until"])
    check_signature(factory, b"muster v1 station certificate" + certificate[:114], certificate[114:])
    check_signature(factory, b"muster v1 lot declaration" + declaration[:-96], declaration[-96:])
    tamper_key = hkdf(b"muster v1 lot secret", unhex(LOT, "lot_secret"), b"muster v1 tamper key" + certificate[1:5], 32)
    assert tamper_key == unhex(LOT, "tamper_key")
    assert declaration[5:21] == hashlib.sha384(b"muster v1 lot declaration" + tamper_key).digest()[:16]
    return station, tamper_key


def check_record(record, station, fuses):
    assert len(record) == 240
    check_signature(station, b"muster v1 otp record" + record[:144], record[144:])
    assert struct.unpack("<I", record[12:16]) == (OTP["unit"],) and record[16:32] == unhex(OTP, "salt")
    secrets = [unhex(LOT, "lot_secret")] + fuses
    material = b"".join(struct.pack("<H", len(s)) + s for s in secrets) + b"".join(components()[:2])
    key = hkdf(record[16:32], material, b"muster v1 otp record", 32)
    plain = AESGCM(key).decrypt(bytes(12), record[32:144], record[:32])
    digests = b"".join(unhex(c, "digest") for c in DEVICE["components"])
    assert plain == unhex(DEVICE, "seed") + digests.ljust(64, b"\x00")
    return hashlib.sha384(record).digest()[:16]


def check_manifest(station, tamper_key, record_digest):
    part = ALL["manifest"]
    manifest, key = unhex(part, "manifest"), private(unhex(part, "import_private_key"))
    check_signature(station, b"muster v1 manifest" + manifest[:-96], manifest[-96:])
    cluster, rest = manifest[1:17], manifest[17:-96]

    def counted():
        nonlocal rest
        length = struct.unpack("<H", rest[:2])[0]
        taken, rest = rest[2 : 2 + length], rest[2 + length :]
        return taken

    assert counted() == unhex(LOT, "declaration")
    certificate, rest = rest[:210], rest[210:]
    assert certificate == unhex(LOT, "station_certificate")
    lot, sealed = certificate[1:5], counted()
    assert hpke_open(key, sealed[4:], b"muster v1 manifest tamper key" + cluster, lot) == tamper_key
    count, rest = struct.unpack("<I", rest[:4])[0], rest[4:]
    entry = counted()
    assert count == 1 and rest == b"" and struct.unpack("<II", entry[:8]) == (OTP["unit"], part["import_key_id"])
    aad = lot + hashlib.sha384(station).digest()[:4] + entry[:4]
    plain = hpke_open(key, entry[8:], b"muster v1 manifest entry" + cluster, aad)
    digests = b"".join(bytes([KINDS[c["kind"]]]) + unhex(c, "digest") for c in DEVICE["components"])
    expected = b"\x01" + unhex(DEVICE, "public_key") + unhex(DEVICE, "pre_shared_key") + unhex(DEVICE, "nats_public")
    assert plain == expected + record_digest + struct.pack("<Q", part["burned_at"]) + b"\x03" + digests


def check_code():
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    part, power, check = ALL["activation_code"], 1, 0
    product = lambda a, b: sum_of(a << i for i in range(5) if b >> i & 1)
    for symbol in part["symbols"]:
        power = product(power, 2)
        check ^= product(power, alphabet.index(symbol))
    assert part["text"].replace("-", "") == part["symbols"] + alphabet[check]


def sum_of(terms):
    total = 0
    for term in terms:
        total ^= term
    for bit in range(9, 4, -1):
        if total >> bit & 1:
            total ^= 0b100101 << (bit - 5)
    return total


def check_token():
    part = ALL["license_token"]
    decode = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    signed, signature = part["token"].rsplit(".", 1)
    key = point(private(unhex(part, "license_private_key")))
    check_signature(key, signed.encode(), decode(signature))
    header, claims = (json.loads(decode(piece)) for piece in signed.split("."))
    assert header == {"alg": "ES384", "typ": "JWT"} and claims["sub"] == DEVICE["device_id"]
    device = unhex(DEVICE, "public_key")
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    jwk = {"crv": "P-384", "kty": "EC", "x": encode(device[1:49]), "y": encode(device[49:])}
    thumbprint = encode(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())
    assert claims["cnf"] == {"jkt": thumbprint} and part["device_key_thumbprint"] == thumbprint


def check_proof():
    part, token = ALL["license_proof"], ALL["license_token"]["token"].encode()
    app = part["app"].encode()
    said = b"muster v1 license proof\0" + bytes([len(app)]) + app + unhex(part, "nonce")
    said += struct.pack("<Q", part["at"]) + hashlib.sha384(token).digest()
    check_signature(unhex(DEVICE, "public_key"), said, unhex(part, "proof"))


def main():
    check_device()
    station, tamper_key = check_lot()
    digest = check_record(unhex(OTP["full"], "record"), station, [])
    check_record(unhex(OTP["seed"], "record"), station, [unhex(OTP["seed"], "fuse_secret")])
    try:
        check_record(unhex(OTP["seed"], "record"), station, [])
        raise SystemExit("the record of the seed profile opened without its fuses")
    except InvalidTag:
        pass
    check_manifest(station, tamper_key, digest)
    check_code()
    check_token()
    check_proof()
    print("factory.json holds")


main()
