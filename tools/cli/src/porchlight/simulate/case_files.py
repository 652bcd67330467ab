"""Files of queueing cases: JSON in, cases of known families, or what is wrong with them."""

import json
from pathlib import Path
from typing import Any

from porchlight.installation import Trouble
from porchlight_simulator.validation.exact_cases import UnknownCase
from porchlight_simulator.validation.families import trials_of
from porchlight_simulator.validation.judge import case_id


def read_cases(path: Path) -> list[dict[str, Any]]:
    """The file's cases, each of a known family. `Trouble` names what is wrong."""
    try:
        found = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as why:
        raise Trouble(f"cannot read {path}: {why}") from why
    cases = found.get("cases") if isinstance(found, dict) else None
    if not isinstance(cases, list) or not cases:
        raise Trouble(f"{path}: there must be a list `cases` with at least one case")
    for number, case in enumerate(cases):
        try:
            trials_of(case)
        except (UnknownCase, TypeError, AttributeError, ZeroDivisionError) as why:
            raise Trouble(f"{path}: cases[{number}] ({case_id(case)}): {why}") from why
    return cases
