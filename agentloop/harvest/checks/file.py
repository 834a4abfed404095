"""A training file, row by row and as a whole."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentloop.base.records import Complaint, Fault, Method, RowRules, complaint, faults
from agentloop.base.records.complaint import TRAINING, VALIDATION, too_few, unfit, wrong_method
from agentloop.base.records.message import canonical, digest
from agentloop.base.records.rules import unruly
from agentloop.base.store.seen import Seen, Sight
from agentloop.harvest.checks.doubts import doubts
from agentloop.harvest.checks.findings import Finding, Findings, Level, Report
from agentloop.harvest.checks.personal import Look, Personal
from agentloop.harvest.checks.prompts import prompts
from agentloop.harvest.checks.reading import Line, lines
from agentloop.harvest.checks.whole import Whole

FORMED = frozenset(
    {
        *("extra_key", "ends_without_assistant", "ends_without_user", "nothing_to_learn"),
        *("equal_outputs", "unanswered_tool_call", "tool_without_call", "bad_weight"),
        *("consecutive_assistants", "key_not_taken", "too_many_images"),
        *("tool_calls_in_pair", "tool_turns_in_pair"),
    }
)
"""Faults that leave a row's messages whole enough to look for doubts."""


def check(
    file: Path,
    method: Method,
    *,
    rules: RowRules | None = None,
    valid: Path | None = None,
    personal: Personal | None = None,
) -> Report:
    """Everything that is wrong with a training file.

    Memory is the same however long the files are: it holds a line and the findings that are kept.
    What must be remembered of each row, 16 bytes a piece, is in a temporary file.

    Args:
        rules: of the service that the file is for; without, what most of them want.
        valid: the validation file: checked too, and no prompt may be in both.
        personal: tells the kinds of personal data in a text (`harvest.kinds`); without, it is not
            looked for.

    Raises:
        RecordError: a file cannot be opened.
    """
    findings = Findings()
    look = Look(personal) if personal is not None else None
    with Seen() as seen:
        if valid is not None:
            beside = Side(valid, VALIDATION, method, rules, look, findings, seen)
            for line in lines(valid):
                beside.look(line)
            beside.end()
        side = Side(file, TRAINING, method, rules, look, findings, seen, against=valid)
        for line in lines(file):
            side.look(line)
        side.end()
    whole = side.whole
    return findings.report(rows=whole.rows, answers=whole.answers, declined=whole.declined)


def wrong(row: Any, method: Method, rules: RowRules | None) -> list[Fault]:
    """What a service would refuse about a row, and what makes it unfit to learn from."""
    if isinstance(row, Mapping) and (other := wrong_method(row, method)):
        return [other]
    found = faults(row, method)
    if not found and rules is not None:
        found = list(unruly(row, method, rules))
    return found


class Side:
    """One file of a split while it is read."""

    def __init__(
        self,
        file: Path,
        param: str,
        method: Method,
        rules: RowRules | None,
        look: Look | None,
        findings: Findings,
        seen: Seen,
        *,
        against: Path | None = None,
    ) -> None:
        self.whole = Whole(method)
        self._file, self._param, self._method = file, param, method
        self._rules, self._look = rules, look
        self._findings, self._seen = findings, seen
        self._against = against

    def look(self, line: Line) -> None:
        """Find what is wrong with a line."""
        self.whole.rows += 1
        if line.fault is not None:
            self._add(Level.ERROR, line.number, line.fault, self._theirs(line.complaint))
            return
        try:
            found = [(Level.ERROR, fault) for fault in wrong(line.row, self._method, self._rules)]
            if isinstance(line.row, dict):
                self.whole.keys_of(line.row, line.number, line.example)
            if {fault.code for _, fault in found} <= FORMED:
                found += [(Level.WARNING, fault) for fault in self._doubts(line)]
                self.whole.taught(line.row, line.number)
            found += [(Level.WARNING, fault) for fault in again(line, self._seen, self._param)]
        except RecursionError:
            said = Fault("invalid_json", "the line is nested too deeply")
            self._add(Level.ERROR, line.number, said, None)
            return
        for level, fault in found:
            theirs = None
            if level is Level.ERROR:
                theirs = self._theirs(
                    complaint(fault, line.example, param=self._param, file=self._file.name)
                )
            self._add(level, line.number, fault, theirs)

    def _theirs(self, said: Complaint | None) -> Complaint | None:
        """What a service would say: of KTO none says anything."""
        return None if self._method is Method.KTO else said

    def end(self) -> None:
        """Find what is wrong with the file as a whole."""
        for fault, line, example in self.whole.mixed():
            # The fields of RFT are free, but a grader may miss one; TRL's files are read by column.
            if self._method in (Method.RFT, Method.KTO):
                self._add(Level.WARNING, line, fault, None)
            else:
                said = complaint(fault, example, param=self._param)
                self._add(Level.ERROR, line, fault, said)
        for fault in self.whole.doubts():
            self._add(Level.WARNING, None, fault, None)
        for level, fault, theirs in self._amount():
            self._add(level, None, fault, theirs)

    def _amount(self) -> Iterator[tuple[Level, Fault, Complaint | None]]:
        """Too few rows, too many, too long a file, or a method that is not offered."""
        rules, rows, training = self._rules, self.whole.rows, self._param == TRAINING
        alone = not training or (rules is None and self._method is Method.KTO)
        fewest = 1 if alone else (rules or RowRules()).fewest_rows
        if rows < fewest:
            said = f"the file has {rows} example(s), but must have at least {fewest}"
            theirs = self._theirs(too_few(rows, fewest, param=self._param))
            yield Level.ERROR, Fault("invalid_n_examples", said), theirs
        if rules is None:
            return
        if rules.most_rows is not None and rows > rules.most_rows:
            said = f"the file has {rows} rows, {rules.most_rows} are taken; split it"
            yield Level.ERROR, Fault("too_many_rows", said), unfit(said, self._param)
        size = self._file.stat().st_size
        if rules.most_bytes is not None and size > rules.most_bytes:
            said = f"the file has {size} bytes, {rules.most_bytes} are taken; split it"
            yield Level.ERROR, Fault("file_too_large", said), unfit(said, self._param)
        if training and self._method not in rules.methods:
            known = ", ".join(rules.methods)
            said = f"the service does not offer {self._method.value}; it offers {known}"
            yield Level.ERROR, Fault("method_not_offered", said), unfit(said, self._param)

    def _doubts(self, line: Line) -> Iterator[Fault]:
        yield from doubts(
            line.row,
            self._method,
            size=len(line.text),
            rules=self._rules,
            look=self._look,
        )
        if self._method is Method.DPO:
            yield from _turned(line, self._seen, self._param)
        if self._param == VALIDATION:
            note(line, self._method, self._seen)
        elif self._against is not None and (
            fault := leak(line, self._method, self._seen, self._against)
        ):
            yield fault

    def _add(self, level: Level, line: int | None, fault: Fault, theirs: Complaint | None) -> None:
        self._findings.add(Finding(level, line, *fault, self._file, theirs))


# ---------------------------------------------------------------------- what was seen before


def again(line: Line, seen: Seen, side: str) -> Iterator[Fault]:
    """A row that was in this file before, whatever the order of its keys."""
    key = f"{side} {digest(canonical(line.row))}"
    before = seen.first(key, Sight(line.number, "")).line
    if before != line.number:
        yield Fault("duplicate", f"the same row as line {before}; it would count twice")


def note(line: Line, method: Method, seen: Seen) -> None:
    """Remember what a row of the validation file asks."""
    asked = prompts(line.row, method)
    for turn in asked.turns:
        seen.first(f"turn {turn}", Sight(line.number, ""))
    if asked.last is not None:
        seen.first(f"last {asked.last}", Sight(line.number, ""))


def leak(line: Line, method: Method, seen: Seen, valid: Path) -> Fault | None:
    """A row whose last prompt the validation file asks too, or that asks the last prompt of one
    of its rows on its way. First prompts alone do not count: many talks begin with a greeting."""
    asked = prompts(line.row, method)
    names = [f"last {turn}" for turn in asked.turns]
    if asked.last is not None:
        names.append(f"turn {asked.last}")
    for name in names:
        if (there := seen.find(name)) is not None:
            return Fault(
                "leak",
                f"{valid.name}:{there.line} asks the same; what was trained on measures nothing, "
                "so keep it on one side",
            )
    return None


def _turned(line: Line, seen: Seen, side: str) -> Iterator[Fault]:
    """A preference that another row holds the other way round."""
    row = line.row
    given, better, worse = (
        canonical(row[key]) for key in ("input", "preferred_output", "non_preferred_output")
    )
    if there := seen.find(f"{side} pair {digest(given, worse, better)}"):
        yield Fault(
            "opposite_pair",
            f"line {there.line} prefers the other output; the two cancel out, so drop one",
        )
    seen.first(f"{side} pair {digest(given, better, worse)}", Sight(line.number, ""))
