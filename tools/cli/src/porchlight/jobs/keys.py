"""Tokens and API keys of an embedded platform: the JWKS file, its private key, `porchlight token` and `keys create`."""

import base64
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.runtime.auth import Role
from common.runtime.database import open_pool
from intake.adapters.keys import PostgresKeys
from intake.domain import SCOPES
from porchlight.installation import Home, write_atomically

ISSUER = AUDIENCE = "porchlight"
TOKEN_LIFE_S = 12 * 3600


def make_keys(home: Home) -> None:
    """The signing key and its public half as a JWKS file, unless they are there."""
    private_path, public_path = home.folder / "secrets" / "token-key.pem", home.folder / "jwks.json"
    if private_path.exists() and public_path.exists():
        return
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    write_atomically(private_path, pem)
    jwks = {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": x[:8], "x": x}]}
    write_atomically(public_path, msgspec.json.encode(jwks).decode())


def issue_token(home: Home, *, subject: str, role: Role, life_s: int = TOKEN_LIFE_S) -> str:
    """A signed token, as an identity provider would issue one."""
    kid = msgspec.json.decode((home.folder / "jwks.json").read_bytes())["keys"][0]["kid"]
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": subject,
        "role": role,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + life_s,
    }
    pem = (home.folder / "secrets" / "token-key.pem").read_text()
    return jwt.encode(claims, pem, algorithm="EdDSA", headers={"kid": kid})


def note_issued(home: Home, *, actor: str, subject: str, role: Role) -> None:
    """A line in `logs/issued-tokens.jsonl` says who had a token made for whom; never the token."""
    home.logs.mkdir(parents=True, exist_ok=True)
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "actor": actor, "subject": subject, "role": role}
    with (home.logs / "issued-tokens.jsonl").open("ab") as log:
        log.write(msgspec.json.encode(line) + b"\n")


@asynccontextmanager
async def api_keys(home: Home, *, owner_dsn: str) -> AsyncIterator[PostgresKeys]:
    """The API keys of a platform, by its database: no service has to run."""
    pool = await open_pool(owner_dsn, name="porchlight-keys", size=1)
    try:
        yield PostgresKeys(pool, pepper=home.secret("key-pepper"))
    finally:
        await pool.close()


async def create_api_key(
    home: Home,
    *,
    client: str,
    owner_dsn: str,
    scopes: Sequence[str] = SCOPES,
    expires_at: datetime | None = None,
    actor: str = "porchlight",
) -> str:
    """A new API key for a channel integration. It is shown once: only its hash is kept."""
    async with api_keys(home, owner_dsn=owner_dsn) as keys:
        key, _ = await keys.make(client=client, scopes=scopes, expires_at=expires_at, actor=actor)
    return key
