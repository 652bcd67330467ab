"""Whose token counts, and for how long: times, life, and the keys of a file that changes under us."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.runtime import keys
from common.runtime.auth import LEEWAY_S, Principal, Refused, TokenVerifier
from common.runtime.failures import Retryable

NOW_S = 1_790_000_000
LIFE_MAX_S = 86_400


def jwk(key: Ed25519PrivateKey | X25519PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x, **more}


class Desk:
    """A verifier with a file of keys, an issuer, and a stopwatch that stands still unless it is moved."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "jwks.json"
        self.key = Ed25519PrivateKey.generate()
        self.stopwatch_s = 100.0
        monkeypatch.setattr(keys, "monotonic_s", lambda: self.stopwatch_s)
        self.write([jwk(self.key, "ours")])
        self.verifier = TokenVerifier(
            jwks_file=str(self.file), issuer="porchlight", audience="porchlight", life_max_s=LIFE_MAX_S
        )

    def write(self, listed: list[Any]) -> None:
        self.file.write_text(json.dumps({"keys": listed}))

    def token(self, *, key: Ed25519PrivateKey | None = None, kid: str = "ours", **changes: Any) -> str:
        claims = {"sub": "ann", "role": "agent", "iss": "porchlight", "aud": "porchlight"}
        claims |= {"iat": NOW_S, "exp": NOW_S + 600} | changes
        return jwt.encode(claims, key or self.key, algorithm="EdDSA", headers={"kid": kid})

    def reason(self, token: str, *, later_s: int = 0) -> str:
        """Why it is refused; empty when it is taken."""
        found = self.verifier.verify(token, now_s=NOW_S + later_s)
        return found.reason if isinstance(found, Refused) else ""

    def wait(self, s: float) -> None:
        self.stopwatch_s += s


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_an_issuer_whose_clock_is_a_little_ahead_is_forgiven(desk: Desk, claim: str) -> None:
    assert desk.reason(desk.token(**{claim: NOW_S + LEEWAY_S})) == ""
    assert desk.reason(desk.token(**{claim: NOW_S + LEEWAY_S + 1})) == "not_yet"


def test_a_token_ends_with_its_forgiveness_also_when_it_is_remembered(desk: Desk) -> None:
    token = desk.token()

    assert desk.reason(token, later_s=599 + LEEWAY_S) == ""
    assert desk.reason(token, later_s=600 + LEEWAY_S) == "expired"
    assert desk.reason(desk.token(iat=NOW_S - 700, exp=NOW_S - LEEWAY_S)) == "expired"


def test_a_token_for_longer_than_a_day_is_refused(desk: Desk) -> None:
    assert desk.reason(desk.token(exp=NOW_S + LIFE_MAX_S)) == ""
    assert desk.reason(desk.token(exp=NOW_S + LIFE_MAX_S + 1)) == "life_too_long"
    assert desk.reason(desk.token(exp=10**30)) == "life_too_long"
    assert desk.reason(desk.token(iat=NOW_S - 10**9)) == "life_too_long"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"nbf": [1]},
        {"iat": None},
        {"role": "owner"},
        {"role": None},
        {"sub": ""},
        {"sub": "a\x00b"},
        {"sub": "a\ud800b"},
        {"sub": "a" * 256},
        {"iss": "elsewhere"},
        {"aud": "elsewhere"},
    ],
)
def test_claims_that_do_not_fit_are_refused(desk: Desk, changes: dict[str, Any]) -> None:
    token = desk.token()
    payload = jwt.decode(token, options={"verify_signature": False}) | changes
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=")
    signed = token.encode().split(b".")[0] + b"." + body
    signature = base64.urlsafe_b64encode(desk.key.sign(signed)).rstrip(b"=")

    assert desk.reason((signed + b"." + signature).decode()) == "claims"


def test_a_header_that_is_nested_without_end_is_no_token(desk: Desk) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 2_900).decode().rstrip("=")

    assert desk.reason(f"{deep}.e30.AAAA") == "malformed"


def test_a_key_that_left_the_file_ends_its_tokens_new_and_remembered(desk: Desk) -> None:
    second = Ed25519PrivateKey.generate()
    desk.write([jwk(desk.key, "ours"), jwk(second, "second")])
    seen, ours = desk.token(key=second, kid="second"), desk.token()
    assert (desk.reason(seen), desk.reason(ours)) == ("", "")

    desk.write([jwk(desk.key, "ours")])
    desk.wait(keys.LOOK_EVERY_S)

    assert desk.reason(seen) == "unknown_key"
    assert desk.reason(desk.token(key=second, kid="second", sub="bob")) == "unknown_key"
    assert desk.reason(ours) == ""


def test_a_key_that_came_counts_at_once_and_ends_nothing(desk: Desk) -> None:
    ours = desk.token()
    assert desk.reason(ours) == ""
    second = Ed25519PrivateKey.generate()

    desk.write([jwk(desk.key, "ours"), jwk(second, "second")])

    assert desk.reason(desk.token(key=second, kid="second")) == ""
    assert desk.reason(ours) == ""


def test_another_key_under_the_same_id_ends_the_tokens_of_the_first(desk: Desk) -> None:
    seen = desk.token()
    assert desk.reason(seen) == ""

    desk.write([jwk(Ed25519PrivateKey.generate(), "ours")])
    desk.wait(keys.LOOK_EVERY_S)

    assert desk.reason(seen) == "signature"


def test_an_empty_set_withdraws_every_key_and_says_so(desk: Desk) -> None:
    seen = desk.token()
    assert desk.reason(seen) == ""

    desk.write([])
    desk.wait(keys.LOOK_EVERY_S)

    assert desk.reason(seen) == "unknown_key"
    assert "no usable key" in desk.verifier.keys.trouble()


def test_odd_keys_keep_no_other_key_from_working(desk: Desk) -> None:
    odd = [
        7,
        None,
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        jwk(X25519PrivateKey.generate(), "x", crv="X25519"),
        jwk(desk.key, "ours-of-another-use", use="enc"),
        jwk(desk.key, "other-alg", alg="ES256"),
        jwk(desk.key, "short", x="AAAA"),
        jwk(desk.key, "no-x", x=None),
        {name: value for name, value in jwk(desk.key, "").items() if name != "kid"},
        {**jwk(desk.key, ""), "kid": 7},
        jwk(Ed25519PrivateKey.generate(), "ours"),
    ]
    content = json.dumps({"keys": [jwk(desk.key, "ours"), *odd]}).encode()

    usable, why = keys.parse(content)
    desk.file.write_bytes(content)

    assert (list(usable), len(why)) == (["ours"], len(odd))
    assert desk.reason(desk.token()) == ""


@pytest.mark.parametrize(
    "content", [None, b"", b'{"keys": [{"kty": "OK', b"[]", b'{"keys": 7}', b"\xff", b"[" * 200_000]
)
def test_a_file_that_is_not_whole_keeps_the_last_good_keys_for_a_bounded_time(
    desk: Desk, content: bytes | None
) -> None:
    good = desk.file.read_bytes()
    assert desk.reason(desk.token()) == ""

    desk.file.unlink()
    if content is not None:
        desk.file.write_bytes(content)
    desk.wait(keys.LOOK_EVERY_S)
    assert desk.reason(desk.token(sub="new")) == "" and desk.verifier.keys.trouble() == ""

    desk.wait(keys.KEPT_MAX_S)
    with pytest.raises(Retryable):
        desk.verifier.verify(desk.token(sub="late"), now_s=NOW_S)
    assert str(desk.file) in desk.verifier.keys.trouble()

    desk.file.write_bytes(good)
    desk.wait(keys.LOOK_EVERY_S)
    assert desk.reason(desk.token()) == "" and desk.verifier.keys.trouble() == ""


def test_without_any_key_from_the_start_nobody_is_judged_and_we_are_not_ready(tmp_path: Path) -> None:
    verifier = TokenVerifier(jwks_file=str(tmp_path / "none"), issuer="i", audience="a", life_max_s=60)

    with pytest.raises(Retryable):
        verifier.verify("a.b.c", now_s=NOW_S)
    assert "none" in verifier.keys.trouble()


def test_unknown_key_ids_never_make_us_read_the_file_oftener(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read = keys._content_of
    monkeypatch.setattr(keys, "_content_of", lambda path: reads.append(path) or read(path))

    for number in range(50):
        assert desk.reason(desk.token(kid=f"unknown-{number}")) == "unknown_key"

    assert len(reads) == 1


def test_who_is_known_is_known_by_name_and_role(desk: Desk) -> None:
    found = desk.verifier.verify(desk.token(sub="auth0|5f7c8ec7", role="admin"), now_s=NOW_S)

    assert isinstance(found, Principal)
    assert (found.subject, found.role) == ("auth0|5f7c8ec7", "admin")
