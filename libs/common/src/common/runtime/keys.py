"""The keys that sign tokens: a JWKS file that is looked at again and again, judged key by key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
import msgspec
import structlog
from jwt.algorithms import OKPAlgorithm

from common.runtime import metrics
from common.runtime.clock import monotonic_s
from common.runtime.failures import Retryable

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
"""How old our view of the file may be: a key that left it counts no longer after that."""
KEPT_MAX_S = 60.0
"""How long the last good keys count while the file cannot be read; then no token can be judged and we are not ready."""
FILE_BYTES_MAX = 262_144
KEYS_MAX = 64
"""Keys of one file; a file with more is not taken at all."""


class KeySet:
    """The usable keys of a JWKS file. `version` counts the sets that were taken over, so that others notice a change.

    An odd key is skipped, said once, and keeps no other key from working. A file that is missing, empty or half written
    leaves the last good keys in place for `KEPT_MAX_S`. A set without a key is a set: it withdraws all.
    """

    def __init__(self, jwks_file: str) -> None:
        self.version = 0
        self._path = Path(jwks_file)
        self._keys: dict[str, Any] = {}
        self._content: bytes | None = None
        self._looked_at_s: float | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._good_at_s: float | None = None
        self._why = ""

    def current(self) -> dict[str, Any]:
        """The keys by their ids. Raises `Retryable` when the file has been unreadable for too long."""
        now_s = monotonic_s()
        if self._looked_at_s is None or now_s - self._looked_at_s >= LOOK_EVERY_S:
            self._look(now_s)
        if self._good_at_s is None or now_s - self._good_at_s > KEPT_MAX_S:
            raise Retryable(f"no keys to judge tokens by: {self._why}")
        return self._keys

    def find(self, kid: str) -> Any | None:
        """The key of that id. One that came a moment ago counts at once: for an unknown id the file is looked at anew, but
        only if its stamp differs from the last look's, so no request makes us read what we have read."""
        keys = self.current()
        if kid not in keys and self._stamp_now() != self._stamp:
            self._look(monotonic_s())
            keys = self.current()
        return keys.get(kid)

    def trouble(self) -> str:
        """Why tokens cannot be judged; empty when they can. Readiness asks, so the file is looked at without requests, too."""
        try:
            return "" if self.current() else f"{self._path} has no usable key: no token is valid"
        except Retryable as why:
            return str(why)

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _look(self, now_s: float) -> None:
        self._looked_at_s, self._stamp = now_s, self._stamp_now()
        try:
            content = _content_of(self._path)
            if content != self._content:
                keys, odd = parse(content)
                self._take(content, keys, odd)
        except (OSError, ValueError) as why:
            if not self._why:
                log.error("token_keys_unreadable", file=str(self._path), why=str(why), kept_max_s=KEPT_MAX_S)
            self._why = f"{self._path}: {why}"
            metrics.token_keys_unreadable.set(1)
            return
        self._why = ""
        self._good_at_s = now_s
        metrics.token_keys_unreadable.set(0)

    def _take(self, content: bytes, keys: dict[str, Any], odd: Sequence[str]) -> None:
        self._content, self._keys = content, keys
        self.version += 1
        metrics.token_keys.labels("usable").set(len(keys))
        metrics.token_keys.labels("odd").set(len(odd))
        log.info("token_keys_read", keys=sorted(keys))
        for why in odd:
            log.warning("token_key_skipped", why=why)


def parse(content: bytes) -> tuple[dict[str, Any], list[str]]:
    """The usable keys by id, and what is wrong with each of the others. Raises `ValueError` when it is no key set."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise ValueError('no JSON Web Key Set: an object with a list "keys" is expected')
    if len(listed) > KEYS_MAX:
        raise ValueError(f"{len(listed)} keys; at most {KEYS_MAX} are taken")
    keys: dict[str, Any] = {}
    odd: list[str] = []
    for number, entry in enumerate(listed):
        why = _oddity(entry, keys)
        if not why:
            try:
                keys[entry["kid"]] = OKPAlgorithm.from_jwk(entry)
                continue
            except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
                why = f"unusable: {error}"
        odd.append(f"key {number}: {why}")
    return keys, odd


def _oddity(entry: Any, known: dict[str, Any]) -> str:
    """What keeps an entry from being tried as a key; names, no key material."""
    if not isinstance(entry, dict):
        return "not an object"
    if entry.get("kty") != "OKP" or entry.get("crv") not in ("Ed25519", "Ed448"):
        return "not a key for EdDSA"
    if entry.get("use", "sig") != "sig" or entry.get("alg", "EdDSA") != "EdDSA":
        return "not meant for signatures by EdDSA"
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid:
        return "without an id (kid)"
    return "an id (kid) that an earlier key has" if kid in known else ""


def _content_of(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"more than {FILE_BYTES_MAX} bytes")
    return content
