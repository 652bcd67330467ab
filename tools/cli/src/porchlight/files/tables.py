"""Tables as spreadsheets write them: tab separated text, read into rows, or refused with the cause and the way out."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from porchlight.installation import Trouble

FILE_BYTES_MAX = 500_000_000
"""A larger file is refused instead of filling the memory."""
SAVE_AS = "save it as tab separated text in UTF-8"
SEPARATORS = {";": "semicolons", ",": "commas", "|": "bars"}


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. `Trouble` names the encoding that it has instead."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Trouble(f"{path} is larger than {FILE_BYTES_MAX:,} bytes: split it")
        raw = path.read_bytes()
    except OSError as why:
        raise Trouble(f"cannot read {path}: {why.strerror or why}") from why
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:4]:
        raise Trouble(f"{path} is written in UTF-16, not in UTF-8: save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = raw.count(b"\n", 0, why.start) + 1
        raise Trouble(
            f"{path}, line {line} is not UTF-8 (byte 0x{raw[why.start]:02x}), perhaps Windows-1252: save it as UTF-8"
        ) from why


def rows(path: Path, columns: Sequence[str], *, rows_max: int, help_at: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line number, fields by column. Blank lines are no rows; fields may be quoted.

    `help_at`: the page that explains the columns. `Trouble` names the line and what is wrong there.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t", strict=True)
    header: list[str] | None = None
    count = 0
    try:
        for raw in reader:
            fields = [field.strip() for field in raw]
            if not any(fields):
                continue
            if header is None:
                header = fields
                _check_header(path, header, columns, help_at)
                continue
            count += 1
            if count > rows_max:
                raise Trouble(f"{path} has more than {rows_max} lines: split it by month")
            if len(fields) != len(columns):
                raise Trouble(f"{path}, line {reader.line_num} has {len(fields)} fields, not {len(columns)}")
            yield reader.line_num, dict(zip(columns, fields, strict=True))
    except csv.Error as why:
        raise Trouble(f"{path}, line {reader.line_num}: {why}: is a quotation mark left open?") from why
    if header is None:
        raise Trouble(f"{path} is empty; the format is in {help_at}")


def _check_header(path: Path, header: list[str], columns: Sequence[str], help_at: str) -> None:
    if header == list(columns):
        return
    where = f"{path}, line 1 does not name the {len(columns)} columns"
    for mark, name in SEPARATORS.items():
        if len(header) == 1 and mark in header[0]:
            raise Trouble(f"{where}: they are separated by {name} ({mark}), not by tabs: {SAVE_AS}")
    if len(header) == 1 and len(header[0].split()) >= len(columns):
        raise Trouble(f"{where}: they are separated by spaces, not by tabs: {SAVE_AS}")
    for number, wanted in enumerate(columns, start=1):
        found = header[number - 1] if number <= len(header) else ""
        if found != wanted:
            raise Trouble(f"{where}: column {number} is {found!r}, not {wanted!r}; the format is in {help_at}")
    raise Trouble(f"{where}: there are {len(header)}, the last is {header[-1]!r}; the format is in {help_at}")
