"""Checks of a training file: what servers refuse, and what they let pass and should not."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from agentloop.base.errors import RecordError
from agentloop.base.records import Fault, Method, faults
from agentloop.base.records.message import canonical, digest

FEWEST = 10
"""Rows that a provider wants at least."""


class Finding(NamedTuple):
    """One thing wrong with a file, or doubtful about it."""

    level: str
    """`error`: a provider would refuse the file; `warning`: it would learn something odd."""
    line: int | None
    """From 1; None: the file as a whole."""
    code: str
    message: str


class Report(NamedTuple):
    """What a check found."""

    rows: int
    """Lines that are rows, good or bad; empty lines are none."""
    findings: tuple[Finding, ...]

    @property
    def fit(self) -> bool:
        """Whether a provider would take the file."""
        return not any(finding.level == "error" for finding in self.findings)


def check(file: Path, method: Method) -> Report:
    """Everything that is wrong with a training file. Memory holds a line, and a hash per row.

    Raises:
        RecordError: the file cannot be opened.
    """
    found: list[Finding] = []
    seen: dict[str, int] = {}
    keys: Counter[frozenset[str]] = Counter()
    rows = 0
    for line, row in _read(file):
        if isinstance(row, Fault):
            found.append(Finding("error", line, row.code, row.message))
            rows += 1
            continue
        rows += 1
        found += [Finding("error", line, f.code, f.message) for f in faults(row, method)]
        if isinstance(row, dict):
            if method is not Method.RFT:
                keys[frozenset(row)] += 1
            found += [Finding("warning", line, *w) for w in _doubts(row, method)]
        try:
            key = digest(canonical(row))
        except RecursionError:
            found.append(Finding("error", line, "invalid_json", "the line is nested too deeply"))
            continue
        if key in seen:
            said = f"the same row as line {seen[key]}; it would count twice"
            found.append(Finding("warning", line, "duplicate", said))
        seen.setdefault(key, line)
    if rows < FEWEST:
        said = f"the file has {rows} example(s), but must have at least {FEWEST}"
        found.append(Finding("error", None, "invalid_n_examples", said))
    if len(keys) > 1:
        common, odd = keys.most_common(2)[0][0], keys.most_common(2)[1][0]
        said = f"rows differ in their keys by {', '.join(sorted(common ^ odd))}; use one set"
        found.append(Finding("error", None, "mixed_keys", said))
    return Report(rows, tuple(found))


def _read(file: Path) -> Iterator[tuple[int, Any]]:
    """Line number and row, or the fault that made it unreadable."""
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parsed(line, number)
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error


def _parsed(line: bytes, number: int) -> Any:
    if number == 1 and line.startswith(b"\xef\xbb\xbf"):
        return Fault("byte_order_mark", "the file begins with a byte order mark; save it without")
    try:
        return json.loads(line)
    except UnicodeDecodeError:
        return Fault("not_utf8", "the line is not UTF-8")
    except (ValueError, RecursionError) as error:
        return Fault("invalid_json", f"the line is no JSON: {error}")


def _doubts(row: dict[str, Any], method: Method) -> Iterator[Fault]:
    if method is not Method.SFT or not isinstance(row.get("messages"), list):
        return
    roles = [m.get("role") for m in row["messages"] if isinstance(m, dict)]
    if any(a == b == "assistant" for a, b in pairwise(roles)):
        yield Fault("consecutive_assistants", "two assistant messages follow each other")
    if "system" not in roles and "developer" not in roles:
        yield Fault("no_system", "there is no system message; in production there may be one")
