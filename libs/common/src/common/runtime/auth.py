"""Who is calling: signed tokens of agents, supervisors and administrators.

One algorithm (EdDSA); keys only from the configured JWKS file (see `keys`); issuer, audience, subject, times and role are
required. Our clock decides about times, with `LEEWAY_S` of forgiveness for the issuer's.
"""

from math import isfinite
from typing import Annotated, Literal

import jwt
import msgspec

from common.runtime.keys import KeySet

Role = Literal["agent", "supervisor", "admin"]
Reason = Literal["malformed", "unknown_key", "signature", "claims", "expired", "not_yet", "life_too_long"]
"""Why a token is refused; a label of a metric, so the list is closed."""

TOKEN_BYTES_MAX = 4_096
REMEMBERED_MAX = 20_000
"""Verified tokens that are remembered; beyond it all are forgotten and verified again."""
LEEWAY_S = 30
"""How far the issuer's clock may be from ours, for the beginning and the end of a token's life."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose token is in order until `expires_at_s`, forgiveness included."""

    subject: str
    role: Role
    expires_at_s: float


class Refused(msgspec.Struct, frozen=True):
    """The token is not ours, not in order, or not in time."""

    reason: Reason


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    role: Role
    iat: float
    exp: float
    nbf: float = 0.0


class TokenVerifier:
    """Verifies tokens with the keys of a file. A key that leaves the file ends every token that it signed.

    `life_max_s`: a token that was made to live longer than this is refused, so that nobody holds one for years.
    """

    def __init__(self, *, jwks_file: str, issuer: str, audience: str, life_max_s: int) -> None:
        self.keys = KeySet(jwks_file)
        self._issuer = issuer
        self._audience = audience
        self._life_max_s = life_max_s
        self._verified: dict[str, Principal] = {}
        self._verified_with = 0

    def verify(self, token: str, *, now_s: int) -> Principal | Refused:
        """The caller, or why the token is refused. Raises `Retryable` while there are no keys to judge by."""
        if len(token) > TOKEN_BYTES_MAX:
            return Refused("malformed")
        self.keys.current()
        self._forget_if_keys_changed()
        known = self._verified.get(token)
        if known is not None:
            return known if now_s < known.expires_at_s else Refused("expired")
        found = self._decode(token, now_s)
        self._forget_if_keys_changed()
        if isinstance(found, Principal):
            if len(self._verified) >= REMEMBERED_MAX:
                self._verified.clear()
            self._verified[token] = found
        return found

    def _forget_if_keys_changed(self) -> None:
        """What was verified with a key that is gone is forgotten."""
        if self._verified_with != self.keys.version:
            self._verified.clear()
            self._verified_with = self.keys.version

    def _decode(self, token: str, now_s: int) -> Principal | Refused:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = self.keys.find(kid) if isinstance(kid, str) else None
            if key is None:
                return Refused("unknown_key")
            payload = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp", "iat", "sub", "aud", "iss"],
                    "verify_exp": False,  # times are judged below, by our own clock
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            claims = msgspec.convert(payload, _Claims)
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            return Refused("signature")
        except (
            jwt.MissingRequiredClaimError,
            jwt.InvalidIssuerError,
            jwt.InvalidAudienceError,
            msgspec.ValidationError,
        ):
            return Refused("claims")
        except (jwt.PyJWTError, ValueError, RecursionError):
            return Refused("malformed")
        return self._in_time(claims, now_s)

    def _in_time(self, claims: _Claims, now_s: int) -> Principal | Refused:
        if not all(isfinite(at_s) for at_s in (claims.iat, claims.exp, claims.nbf)) or not claims.sub.isprintable():
            return Refused("claims")
        if max(claims.iat, claims.nbf) > now_s + LEEWAY_S:
            return Refused("not_yet")
        if claims.exp - claims.iat > self._life_max_s:
            return Refused("life_too_long")
        if now_s >= claims.exp + LEEWAY_S:
            return Refused("expired")
        return Principal(subject=claims.sub, role=claims.role, expires_at_s=claims.exp + LEEWAY_S)
