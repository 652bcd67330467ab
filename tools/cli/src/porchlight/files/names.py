"""Ids of our own from names that people gave: plain ASCII, the same for the same name, never one id for two names."""

import re
import unicodedata
from hashlib import sha256

PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,42}")
LOOKS_MADE = re.compile(r"(.*-)?[0-9a-f]{12}")
"""What an id looks like that was made here: a name that looks so is given one, too, or it could be somebody else's."""
READABLE_MAX = 30


def same_name(name: str) -> str:
    """What two spellings of one name have in common: upper and lower case, composed accents and outer blanks do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


def id_of(name: str) -> str:
    """The id: the name in lower case where that is one, else what is readable of it and a part of its hash."""
    key = same_name(name)
    if PLAIN.fullmatch(key) and not LOOKS_MADE.fullmatch(key):
        return key
    letters = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")[:READABLE_MAX].strip("-")
    digest = sha256(key.encode()).hexdigest()[:12]
    return f"{readable}-{digest}" if readable else digest
