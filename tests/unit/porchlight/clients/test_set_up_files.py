"""Set-up files as people write them: read, or refused with the line or the field and what to write instead."""

from pathlib import Path
from typing import Any

import pytest

from porchlight.clients.setup_files import SetUp, read, vet_all, whole
from porchlight.installation import Trouble


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "skills: [billing]"),
        ("UP.YAML", "skills: [billing]"),
        ("a.YML", "skills: [billing]"),
        ("a.json", '{"skills": ["billing"]}'),
        ("bom.yaml", b"\xef\xbb\xbfskills: [billing]\r\n"),
        ("a.toml", 'skills = ["billing"]'),
        ("A.TOML", 'skills = ["billing"]'),
        ("bom.toml", b'\xef\xbb\xbfskills = ["billing"]\r\n'),
        ("empty-sections.yaml", "skills: [billing]\nqueues:\nagents: {}\n"),
    ],
)
def test_endings_and_byte_order_marks_do_not_matter(tmp_path: Path, name: str, text: str | bytes) -> None:
    assert whole(read(written(tmp_path, name, text))) == SetUp(skills=["billing"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("skills: billing", r"skills must be a list, like \[billing\]"),
        ("skills: [Billing]", "skills.0.: 'Billing' is no id"),
        ("skills: [no]", "line 1: skills.0.: no is read as false: put it in quotes"),
        ("queues:\n  q: {pool: on}", "line 2: queues.q.pool: on is read as true: put it in quotes"),
        ("queues:\n  no: {pool: p}", "line 2: no is read as false: put it in quotes"),
        ("queues:\n  1: {pool: p}", "line 2: '1' is read as a number, not as a name: put it in quotes"),
        ("queues:\n  ~: {pool: p}", "line 2: '~' is read as nothing, not as a name: put it in quotes"),
        ("queues:\n  q: {pool: p}\n  q: {pool: r}", "line 3: 'q' stands there twice"),
        ("queues:\n  q:\n    pool: p\n    pool: r", "line 4: 'pool' stands there twice"),
        (
            "queues:\n  q:\n    policy: {hours: {overrides: [{date: 2026-12-24}]}}",
            "line 3: queues.q.policy.hours.overrides.0..date: 2026-12-24 is read as a date",
        ),
        (
            "queues:\n  q:\n    policy: {hours: {weekly: [{start: 10:30}]}}",
            "line 3: queues.q.policy.hours.weekly.0..start: 10:30 is read as a number of sixt",
        ),
        ("queues:\n  q: {pool: p, priority: 010}", "line 2: queues.q.priority: 010 is read as a number of eights"),
        ("queues:\n  q: {pool: p, priority: .inf}", "line 2: queues.q.priority: .inf is not a finite number"),
        ("queues:\n  q: {pool: p, priority: 1.0e+999}", "line 2: queues.q.priority: 1.0e.999 is not a finite number"),
        ("queues: [q]", "queues must be a table"),
        ("queues: text", "queues must be a table"),
        ("queues:\n  q:", "queues.q.pool: Field required"),
        ("queues:\n  q: text", "queues.q: "),
        ("queues:\n  Q: {pool: p}", "queues.Q: 'Q' is no id"),
        ("queues:\n  q: {pool: p, wrapup_ms: 5}", "queues.q.wrapup_ms: Extra inputs"),
        ("queues:\n  q: {pool: p, priority: 1.5}", "queues.q.priority: "),
        ("queues:\n  q: {pool: p, policy: {lenght_max: 3}}", "queues.q.policy: .*lenght_max"),
        ("queues:\n  q: {pool: p, policy: {offers: {parallel: x}}}", "queues.q.policy.offers.parallel: Expected"),
        ("agents:\n  a: {pool: p, skills: {b: 101}}", "agents.a.skills.b: "),
        ("agents:\n  a/b: {pool: p}", "agents.a/b: 'a/b' is no agent's id"),
        ("agents:\n  a: {pool: p, levels: 3}", "agents.a.levels: Extra inputs"),
        ("other: {}", "unknown table other"),
        ("", "there must be tables"),
        ("- a", "there must be tables"),
        ("queues: &a\n  q: *a", "line 2: an anchor that has itself inside|line 1: an anchor"),
        ("skills: [a\nqueues: {}", "line 2: "),
        ("a: 1\n---\nb: 2", "line 2: "),
        ("? [a, b]\n: c", "line 1: a name must be a word"),
        ("skills: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
    ],
)
def test_what_yaml_would_make_something_else_of_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Trouble, match=says):
        read(written(tmp_path, "a.yaml", text))


def test_anchors_that_multiply_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    with pytest.raises(Trouble, match="more than 500,000 things"):
        read(written(tmp_path, "a.yaml", "\n".join(lines)))


def test_an_anchor_may_be_used(tmp_path: Path) -> None:
    text = "queues:\n  a: &a {pool: p, priority: 3}\n  b: {<<: *a, wrap_up_ms: 5}\n  c: *a\n"

    found = whole(read(written(tmp_path, "a.yaml", text)))

    assert [(one["priority"], one["wrap_up_ms"]) for one in found.queues.values()] == [(3, 0), (3, 5), (3, 0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[queues.q.policy.hours]\noverrides = [{ date = 2026-12-24 }]", r"queues.q.policy.hours.overrides\[0\].date"),
        ("[queues.q]\nstart = 08:30:00", "queues.q.start: 08:30:00 is read as a date or a time: put it in quotes"),
        ("[queues.q]\npriority = inf", "queues.q.priority: inf is not a finite number"),
        ("[queues.q]\n[queues.q]", "cannot read"),
    ],
)
def test_what_toml_would_make_something_else_of_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Trouble, match=says):
        read(written(tmp_path, "a.toml", text))


def test_every_fault_is_named_at_once() -> None:
    wanted: dict[str, Any] = {"queues": {"a": {"pool": "p", "x": 1}, "b": {}}, "agents": {"c": {"pool": "P"}}}

    with pytest.raises(Trouble) as why:
        whole(wanted)

    assert [line.partition(":")[0] for line in str(why.value).splitlines()] == [
        "queues.a.x",
        "queues.b.pool",
        "agents.c.pool",
    ]


def test_what_a_file_refers_to_may_be_in_the_file_and_must_be_somewhere() -> None:
    overflow = {"overflow": [{"when": {"closed": True}, "queue": "b"}]}
    wanted: dict[str, Any] = {
        "skills": ["one"],
        "queues": {"a": {"pool": "p", "requirements": [{"skill": "one"}], "policy": overflow}, "b": {"pool": "p"}},
        "agents": {"ann": {"pool": "p", "skills": {"one": 5, "two": 5}}},
    }
    vet_all(whole(wanted), {"two"}, {})

    with pytest.raises(Trouble, match=r"agents.ann.skills: there is no skill two"):
        vet_all(whole(wanted), set(), {})
    with pytest.raises(Trouble, match=r"queues.a.policy.overflow.0..queue: there is no queue b"):
        vet_all(whole({**wanted, "queues": {"a": wanted["queues"]["a"]}}), {"two"}, {})
    with pytest.raises(Trouble, match=r"queues.b.pool: is fixed, the queue lies in other"):
        vet_all(whole(wanted), {"two"}, {"b": {"pool": "other"}})
