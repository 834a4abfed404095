"""Redaction: an example in which nobody's personal data is left, and which still fits together."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from agentloop.base.errors import ConfigError
from agentloop.base.records import Example, Json
from agentloop.harvest.redaction.escapes import Edit, JsonText, is_json, read
from agentloop.harvest.redaction.finding import Detector, Finding, apart
from agentloop.harvest.redaction.patterns import Patterns
from agentloop.harvest.redaction.pseudonyms import Pseudonyms
from agentloop.harvest.redaction.walking import Use, changed

ROUNDS = 8
"""How often a row is looked at again after something was replaced: a pseudonym is shorter or longer
than what it stands for, so another number may now stand beside the word that gives it away."""
LONGEST_LABELLED = 128
"""Characters of a value that its key may tell something about; a longer one is a text."""


E = TypeVar("E", bound=Example)


class Redacted(NamedTuple, Generic[E]):
    """An example after redaction."""

    example: E
    """The very example that came in, when nothing was found in it."""
    kinds: dict[str, int]
    """Kind -> how many places were replaced."""


class Redactor:
    """Replaces personal data and secrets in examples by pseudonyms.

    A value has one pseudonym wherever it stands in a row, in whatever form, so tool arguments still
    join with what users and tools said. Pseudonyms keep the shape of what they replace and are
    nobody's. Of a JSON text (arguments of tools, results) every other byte stays as it was.
    """

    def __init__(self, detectors: Sequence[Detector] = (), *, keep: Collection[str] = ()) -> None:
        """
        Args:
            detectors: who looks for personal data; `Patterns` alone when none is given. Where the
                findings of two overlap, those of the first count.
            keep: values that may stay, in any case: a team's own address (`help@shop.com`), or with
                an `@` in front all addresses of a domain (`@shop.com`).
        """
        self._detectors: tuple[Detector, ...] = tuple(detectors) or (Patterns(),)
        self._keep = frozenset(value.lower() for value in keep)
        self._shared = lru_cache(maxsize=512)(self._find)

    @classmethod
    def of(
        cls, said: "bool | str | Mapping[str, Any] | Redactor | None", *, keep: Collection[str] = ()
    ) -> "Redactor | None":
        """The redactor that somebody asked for: true, `pii` for names and places too (the extra
        `pii`), what a recipe says, or a redactor; None for false.

        Raises:
            ConfigError: nothing of this name, or the extra `pii` is not installed.
        """
        if not said:
            return None
        if isinstance(said, Redactor):
            return said
        if isinstance(said, Mapping):
            pii = "presidio" in str(said.get("detector"))
            return cls.of("pii" if pii else True, keep=said.get("keep", ()))
        if said is True:
            return cls(keep=keep)
        if said == "pii":
            from agentloop.harvest.redaction.presidio import Presidio

            return cls((Patterns(), Presidio()), keep=keep)
        raise ConfigError(f"redact is true, false, 'pii' or a Redactor, not {said!r}")

    @property
    def says(self) -> Json:
        """Who looks, and in which version: what stands on each row, and in the recipe."""
        return {
            "detector": "+".join(one.name for one in self._detectors),
            "version": "+".join(one.version for one in self._detectors),
        }

    @property
    def recipe(self) -> Json:
        """`says`, and what may stay: `Redactor.of` makes an equal redactor of it."""
        return {**self.says, "keep": sorted(self._keep)} if self._keep else self.says

    def redact(self, example: E) -> Redacted[E]:
        """The example with pseudonyms in place of what was found. Redacted again, it is the same.

        Nothing found: the example itself, not a byte of it written again.
        """
        row = _Row(self._find, self._shared)
        changed(example, row.look)
        if not row.found:
            return Redacted(example, {})
        row.pseudonyms = Pseudonyms(row.texts)
        for _ in range(ROUNDS):
            row.learn()
            before, example = example, changed(example, row.replace)
            row.found.clear()
            if example is before:
                break
            changed(example, row.look)
            if not row.found:
                break
        return Redacted(example, dict(sorted(row.counts.items())))

    def kinds(self, text: str) -> list[str]:
        """The kinds of what would be replaced in a text, each once, in the order they stand there.

        >>> Redactor(keep=["@shop.com"]).kinds("help@shop.com asks ann@work.org, +44 20 7183 8750")
        ['email', 'phone']
        """
        return list(dict.fromkeys(finding.kind for finding in self._find(text)))

    def all(self, examples: Iterable[E]) -> tuple[list[E], list[Json]]:
        """The examples, each redacted on its own, and of each what `rows.meta.jsonl` says: who
        looked, and how many places of each kind were replaced."""
        redacted = [self.redact(example) for example in examples]
        notes: list[Json] = [{"redactions": {**self.says, "kinds": r.kinds}} for r in redacted]
        return [r.example for r in redacted], notes

    def _find(self, text: str) -> tuple[Finding, ...]:
        found = (finding for one in self._detectors for finding in one.find(text))
        kept = (f for f in found if not (self._keep and self._stays(text[f.start : f.end])))
        return tuple(apart(kept))

    def _stays(self, value: str) -> bool:
        value = value.lower()
        return value in self._keep or value[value.find("@") :] in self._keep


class _Row:
    """One row while it is redacted: what was found in which of its texts."""

    def __init__(self, find: Any, shared: Any) -> None:
        self._find_in, self._find_shared = find, shared
        self._seen: dict[tuple[str, str], tuple[Finding, ...]] = {}
        self.texts: list[str] = []
        self.found: list[tuple[str, str]] = []
        """Kind and value, in the order in which they stand in the row."""
        self.pseudonyms = Pseudonyms(())
        self.counts: Counter[str] = Counter()

    def look(self, text: str, /, *, label: str = "", use: Use = Use.KEPT) -> str:
        said = read(text)
        self.texts.append(said)
        for finding in self._findings(said, label, use):
            self.found.append((finding.kind, said[finding.start : finding.end]))
        return text

    def learn(self) -> None:
        """Give every value that was found its pseudonym."""
        for kind, value in self.found:
            self.pseudonyms.of(kind, value)

    def replace(self, text: str, /, *, label: str = "", use: Use = Use.KEPT) -> str:
        said = read(text)
        known = [Finding(*place) for place in self.pseudonyms.known(said)]
        findings = apart([*self._findings(said, label, use), *known])
        if not findings:
            return text
        edits = []
        for start, end, kind in findings:
            new = self.pseudonyms.of(kind, said[start:end])
            if new != said[start:end]:
                edits.append(Edit(start, end, new, kind))
        json = JsonText(text) if is_json(text) else None
        fitting = json.fitting(edits) if json else edits
        if use is not Use.DRAFT:
            self.counts.update(edit.kind for edit in fitting)
        if not fitting:
            return text
        return json.edited(fitting) if json else _edited(text, fitting)

    def _findings(self, said: str, label: str, use: Use) -> tuple[Finding, ...]:
        if use is not Use.KEPT:
            return tuple(self._find_shared(said))
        if (said, label) not in self._seen:
            before = f'"{label}": "' if label and len(said) <= LONGEST_LABELLED else ""
            at = len(before)
            self._seen[said, label] = tuple(
                Finding(start - at, end - at, kind)
                for start, end, kind in self._find_in(before + said)
                if start >= at
            )
        return self._seen[said, label]


def _edited(text: str, edits: list[Edit]) -> str:
    pieces, at = [], 0
    for edit in edits:
        pieces += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*pieces, text[at:]])
