"""The commands of the README and of the guides do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.platforms import RunningPlatform

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- tested -->\n```sh\n(.*?)```", re.DOTALL)


def run(block: str, platform: RunningPlatform, *, folder: Path = ROOT) -> str:
    """A block as a newcomer would run it, on a platform that happens to live elsewhere."""
    script = (
        block.replace(".venv/bin/porchlight", f"{sys.executable} -m porchlight")
        .replace("http://127.0.0.1:8081", platform.running.intake[0])
        .replace("http://127.0.0.1:8083", platform.running.presence[0])
        .replace("http://127.0.0.1:8084", platform.running.reporting[0])
    )
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
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


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / "docs" / page).read_text())


def test_every_block_of_the_integration_guide_runs(platform: RunningPlatform, tmp_path: Path) -> None:
    _, _, followed = [run(block, platform, folder=tmp_path) for block in blocks("integration-guide.md")]

    assert '"state":"' in followed and (tmp_path / "contact-id").read_text().strip() in followed


def test_every_block_of_the_desktop_guide_runs(platform: RunningPlatform, tmp_path: Path) -> None:
    _, waited, gone = [run(block, platform, folder=tmp_path) for block in blocks("agent-desktop-guide.md")]

    assert waited.strip() in ("200", "304") and '"offers"' in (tmp_path / "inbox").read_text()
    assert gone.strip() in ("200", "204")


def test_every_block_of_the_first_contact_runs(platform: RunningPlatform, tmp_path: Path) -> None:
    *_, inbox, posted, answered, happened = [
        run(block, platform, folder=tmp_path) for block in blocks("first-contact.md")
    ]

    assert '"session_no":1,' in inbox and posted == ""
    assert answered.count('"outcome":"done"') == 2
    assert "contact.queued" in happened and "contact.completed" in happened


def test_no_block_is_marked_and_not_run() -> None:
    marked = {page.name for page in (ROOT / "docs").glob("*.md") if BLOCK.search(page.read_text())}
    assert marked == {"first-contact.md", "integration-guide.md", "agent-desktop-guide.md"}
