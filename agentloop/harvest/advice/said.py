"""What people put right and remarked, with the prompts under which it was said."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from agentloop.base.records import Call, Judged, Message
from agentloop.base.records.message import canonical, digest, renumber
from agentloop.harvest.advice.figures import FEW_RUNS
from agentloop.harvest.advice.repeats import LATEST, Change, Comment, Repeat, repeats

LETTERS = 4_000
"""Of a text that is kept, at most."""


class Said:
    """What people put right and remarked, with the prompts under which it was said."""

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}
        self._served: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._changes: list[tuple[str, bool, Change]] = []
        self._remarks: list[tuple[str, bool, Comment]] = []

    def take(self, one: Judged, calls: Sequence[Call], *, went_badly: bool) -> bool:
        """The next trace; the newest comes first, and with it the prompts of today. Whether this
        one ran under them."""
        if not calls:
            return False
        current: dict[str, bool] = {}
        for call in calls:
            prompt = _prompt(call)
            newest = self._newest.setdefault(call.agent, prompt)
            current[call.agent] = _plain(newest) == _plain(prompt)
        self._served.update(agent for agent, same in current.items() if same)
        for call in calls:
            opinion = one.correction(call.id)
            if opinion is None or opinion.correction is None or call.output is None:
                continue
            asked = " ".join(m.text for m in call.context if m.role == "user")
            # To have put one request right ten times in the same way is to have said it once.
            same = digest(asked.encode(errors="surrogatepass"), _bytes(opinion.correction))
            if same in self._seen or len(self._changes) >= LATEST:
                continue
            self._seen.add(same)
            change = Change(call.output, opinion.correction, asked[-LETTERS:])
            self._changes.append((call.agent, current[call.agent], change))
        last = calls[-1]
        remarks = [o.comment for o in one.opinions if o.comment is not None]
        if remarks and (went_badly or one.score is None) and len(self._remarks) < LATEST:
            run = " ".join(m.text for m in last.path if m.role in ("user", "assistant"))
            said = Comment(" ".join(remarks)[:LETTERS], run[-LETTERS:])
            self._remarks.append((last.agent, current[last.agent], said))
        return all(current.values())

    @property
    def repeats(self) -> tuple[Repeat, ...]:
        """Of what was said under the prompts of today, where these have served long enough."""
        return repeats(
            [change for agent, current, change in self._changes if self._counts(agent, current)],
            [remark for agent, current, remark in self._remarks if self._counts(agent, current)],
            prompts=tuple(self._newest.values()),
        )

    def _counts(self, agent: str, current: bool) -> bool:
        return current or self._served[agent] < FEW_RUNS


def _prompt(call: Call) -> str:
    return " ".join(m.text for m in call.context if m.role in ("system", "developer"))


@lru_cache(maxsize=64)
def _plain(prompt: str) -> str:
    """A prompt without its numbers: today's date makes no other prompt of it."""
    return re.sub(r"\d+", "0", prompt)


def _bytes(message: Message) -> bytes:
    """What a message says, whatever the ids of its calls."""
    (bare,), _ = renumber([message])
    return canonical(bare.to_dict())
