"""Writes hpke_second_implementation.json: our HPKE suite as another implementation (PyPI `pyhpke`) computes it.

No published vector covers DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM in PSK mode, so two implementations
must agree instead. Run:  pip install pyhpke==0.6.5 && python3 hpke_second_implementation.py
With `--open FILE` it goes the other way: it opens what `cargo nextest run -p events hpke` sealed and wrote there.
"""
import json
import pathlib
import sys

from pyhpke import AEADId, CipherSuite, KDFId, KEMId

HERE = pathlib.Path(__file__).parent
SUITE = CipherSuite.new(KEMId.DHKEM_P384_HKDF_SHA384, KDFId.HKDF_SHA384, AEADId.AES256_GCM)


def write_sealed():
    cases = []
    for number in range(4):
        receiver = SUITE.kem.derive_key_pair(bytes([number + 1]) * 48)
        ephemeral = SUITE.kem.derive_key_pair(bytes([number + 101]) * 48)
        psk = bytes(range(number, number + 48))
        psk_id = b"muster psk id %d" % number
        info = b"muster hpke cross-test %d" % number
        aad = b"header" * number
        plain = b"what only the cluster may read " * (number * 7)
        enc, context = SUITE.create_sender_context(
            receiver.public_key, info=info, psk=psk, psk_id=psk_id, eks=ephemeral
        )
        cases.append({
            "receiver_seed": (bytes([number + 1]) * 48).hex(),
            "receiver_secret": receiver.private_key.to_private_bytes()[-48:].hex(),
            "receiver_public": receiver.public_key.to_public_bytes().hex(),
            "psk": psk.hex(),
            "psk_id": psk_id.hex(),
            "info": info.hex(),
            "aad": aad.hex(),
            "plain": plain.hex(),
            "enc": enc.hex(),
            "sealed": context.seal(plain, aad).hex(),
            "exporter_context": b"exporter".hex(),
            "exported": context.export(b"exporter", 48).hex(),
        })
    path = HERE / "hpke_second_implementation.json"
    path.write_text(json.dumps({"suite": "0x0011/0x0002/0x0002, mode psk", "cases": cases}, indent=1) + "\n")
    print(f"wrote {len(cases)} cases to {path.name}")


def open_sealed(file):
    cases = json.loads(pathlib.Path(file).read_text())["cases"]
    assert cases, "no cases"
    for case in cases:
        case = {name: bytes.fromhex(value) for name, value in case.items()}
        from pyhpke import KEMKey
        from cryptography.hazmat.primitives.asymmetric import ec
        secret = ec.derive_private_key(int.from_bytes(case["receiver_secret"], "big"), ec.SECP384R1())
        context = SUITE.create_recipient_context(
            case["enc"], KEMKey.from_pyca_cryptography_key(secret), info=case["info"], psk=case["psk"],
            psk_id=case["psk_id"],
        )
        assert context.open(case["sealed"], case["aad"]) == case["plain"]
        assert context.export(case["exporter_context"], 48) == case["exported"]
    print(f"opened {len(cases)} cases")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--open"]:
        open_sealed(sys.argv[2])
    else:
        write_sealed()
