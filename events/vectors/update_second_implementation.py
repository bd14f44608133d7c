#!/usr/bin/env python3
"""Recomputes vectors/update.json from PROTOCOL.md (4.10, 6.5, 7.4), without any of our code."""

import hashlib
import json
import pathlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
M64 = (1 << 64) - 1


def u(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def text(value: str) -> bytes:
    return u(len(value.encode()), 1) + value.encode()


def offer_body(offer: dict, artifact: bytes) -> bytes:
    scope = offer["scope"]
    if "lots" in scope:
        lots = [bytes.fromhex(lot) for lot in scope["lots"]]
        assert lots == sorted(set(lots)) and 1 <= len(lots) <= 16
        scope_bytes = u(1, 1) + u(len(lots), 1) + b"".join(lots)
    else:
        scope_bytes = u(2, 1) + text(scope["sku"])
    return (
        u(1, 1)
        + bytes.fromhex(offer["rollout"])
        + u(offer["firmware"], 4)
        + u(offer["floor"], 4)
        + u(offer["not_after"], 8)
        + u(len(artifact), 8)
        + hashlib.sha384(artifact).digest()
        + scope_bytes
        + text(offer["kind"])
        + u(len(offer["urls"]), 1)
        + b"".join(text(url) for url in offer["urls"])
    )


def check_signature(public: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> None:
    r, s = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
    assert s <= ORDER // 2, "low-S only"
    public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA384()))


def mix(v: int) -> int:
    v = (v + 0x9E3779B97F4A7C15) & M64
    v = ((v ^ v >> 30) * 0xBF58476D1CE4E5B9) & M64
    v = ((v ^ v >> 27) * 0x94D049BB133111EB) & M64
    return v ^ v >> 31


def part(rollout: bytes, subject: bytes) -> int:
    mixed = 0
    for chunk in (rollout[:8], rollout[8:], subject[:8], subject[8:]):
        mixed = mix(mixed ^ int.from_bytes(chunk, "little"))
    return mixed % 1000


def main() -> None:
    vectors = json.loads((pathlib.Path(__file__).parent / "update.json").read_text())
    private = ec.derive_private_key(int(vectors["update_key"], 16), ec.SECP384R1())
    point = bytes.fromhex(vectors["update_public_key"])
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    assert private.public_key().public_numbers() == public.public_numbers()
    artifact = bytes.fromhex(vectors["artifact"])

    for offer in vectors["offers"]:
        signed = bytes.fromhex(offer["signed"])
        body = offer_body(offer, artifact)
        assert signed[:-96] == body
        check_signature(public, b"muster v1 update offer\0" + body, signed[-96:])
        try:
            check_signature(public, body, signed[-96:])
            raise AssertionError("the label does not count")
        except InvalidSignature:
            pass

    for name, subject in (("request_of_device", "device"), ("request_of_record", "record")):
        told = vectors[name]
        lot = bytes.fromhex(told["lot"])
        speaker = bytes.fromhex(told["device"]) if subject == "device" else lot + bytes(12)
        header = u(1, 1) + u(11, 1) + bytes(2) + speaker + bytes(20)
        message = header + lot + bytes.fromhex(told[subject]) + u(told["firmware"], 4)
        assert len(message) == 64 and message.hex() == told["message"]

    answer = vectors["answer"]
    assert (u(1, 1) + u(12, 1) + u(answer["ask_after"], 4)).hex() + answer["offer"] == answer["message"]

    for told in vectors["parts"]:
        assert part(bytes.fromhex(told["rollout"]), bytes.fromhex(told["subject"])) == told["part"]
    print("update.json: all values agree")


if __name__ == "__main__":
    main()
