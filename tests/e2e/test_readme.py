"""The commands of the README do what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.platforms import RunningPlatform

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)


def run(block: str, platform: RunningPlatform) -> str:
    """A block as a newcomer would run it, on a platform that happens to live elsewhere."""
    script = (
        block.replace(".venv/bin/porchlight", f"{sys.executable} -m porchlight")
        .replace("http://127.0.0.1:8081", platform.running.intake[0])
        .replace("http://127.0.0.1:8083", platform.running.presence[0])
    )
    done = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, "PORCHLIGHT_HOME": str(platform.home.folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_of_the_readme_runs_and_a_contact_is_offered(platform: RunningPlatform) -> None:
    tried, posted, polled = [run(block, platform) for block in BLOCK.findall((ROOT / "README.md").read_text())]

    assert "contact.queued → offer.made → offer.accepted → contact.completed" in " ".join(tried.split())
    assert '"state":"accepted"' in posted
    assert '"routing_state"' in polled
