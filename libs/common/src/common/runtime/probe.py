"""Asks a readiness address, for a container's health check: `python -m common.runtime.probe URL`. Prints what is wrong."""

import sys
import urllib.error
import urllib.request

TIMEOUT_S = 3.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""What asks ourselves never goes by a proxy of the environment."""


def probe(url: str) -> str:
    """What is wrong; empty when the answer is 200."""
    try:
        with DIRECT.open(url, timeout=TIMEOUT_S) as answer:
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as why:
        return f"status {why.code}: {why.read(2_000).decode(errors='replace')}"
    except OSError as why:
        return f"no answer: {why}"


if __name__ == "__main__":
    trouble = probe(sys.argv[1])
    print(trouble or "ready")
    raise SystemExit(1 if trouble else 0)
