"""Every link between our pages leads somewhere, and so does every section that is named."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.S | re.M)
PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
]


def anchor(heading: str) -> str:
    bare = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text())
    return {anchor(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}


def broken(page: Path) -> list[str]:
    found = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, section = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.exists() or (section and section not in anchors(place)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_every_document_is_reachable_from_the_index() -> None:
    docs = ROOT / "docs"
    seen: set[Path] = set()
    left = [docs / "index.md"]
    while left:
        page = left.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            targets = [target.partition("#")[0] for target in LINK.findall(FENCE.sub("", page.read_text()))]
            left += [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    assert {page for page in docs.rglob("*.md") if page.name != "template.md"} <= seen


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](gone.md) [d](https://example.org)\n")
    assert broken(page) == ["#two", "gone.md"]
