"""Who is calling: signed tokens of agents, supervisors and administrators.

One algorithm (EdDSA), keys only from the configured JWKS file, audience, issuer and expiry required.
"""

from pathlib import Path
from typing import Literal

import jwt
import msgspec
from jwt.algorithms import OKPAlgorithm

Role = Literal["agent", "supervisor", "admin"]
TOKEN_BYTES_MAX = 4_096
REMEMBERED_MAX = 20_000
"""Verified tokens that are remembered; beyond it all are forgotten and verified again."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose token is in order."""

    subject: str
    role: Role
    expires_at_s: int


class TokenVerifier:
    """Verifies tokens against a JWKS file, read again when a key id is unknown."""

    def __init__(self, *, jwks_file: str, issuer: str, audience: str) -> None:
        self._path = Path(jwks_file)
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, object] = {}
        self._stamp: tuple[int, int] = (0, 0)
        self._verified: dict[str, Principal] = {}

    def verify(self, token: str, *, now_s: int) -> Principal | None:
        """The caller, or None when the token is not ours, not in order or expired."""
        known = self._verified.get(token)
        if known is not None:
            return known if known.expires_at_s > now_s else None
        if len(token) > TOKEN_BYTES_MAX:
            return None
        principal = self._decode(token)
        if principal is not None:
            if len(self._verified) >= REMEMBERED_MAX:
                self._verified.clear()
            self._verified[token] = principal
        return principal

    def _decode(self, token: str) -> Principal | None:
        try:
            key = self._key(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,  # type: ignore[arg-type]
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
            return msgspec.convert(
                {"subject": claims["sub"], "role": claims.get("role"), "expires_at_s": int(claims["exp"])},
                Principal,
            )
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError):
            return None

    def _key(self, kid: str) -> object | None:
        if kid not in self._keys:
            self._read_keys()
        return self._keys.get(kid)

    def _read_keys(self) -> None:
        found = self._path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        keys = msgspec.json.decode(self._path.read_bytes())["keys"]
        self._keys = {key["kid"]: OKPAlgorithm.from_jwk(key) for key in keys if key.get("kty") == "OKP"}
