"""A recipe: every knob of a harvest."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records.example import Turns
from agentloop.base.records.record import Json, Record, Score
from agentloop.base.records.row import Method
from agentloop.base.records.rules import SERVICES, RowRules

WRITTEN = (Method.SFT, Method.DPO, Method.KTO)
"""The methods whose rows teach what somebody wrote."""

ONLY = {
    "bad": WRITTEN,
    "turns": (Method.SFT,),
    "mask_errors": (Method.SFT,),
    "producers": WRITTEN,
    "learner": WRITTEN,
    "allow_producers": WRITTEN,
    "pairs": (Method.DPO,),
    "length_ratio": (Method.DPO,),
    "tool_pairs": (Method.DPO,),
    "outcome": (Method.RFT,),
    "band": (Method.RFT,),
}
"""Knob -> the methods that have it; all others are knobs of every method."""

WHAT = ("method", "agents")
"""What is harvested; the other fields are knobs."""


class Recipe(Record):
    """Every knob of a harvest. One store and one recipe give one dataset, byte for byte."""

    method: Method
    agents: tuple[str, ...]
    """Whose calls are learned."""
    where: str | None = None
    """Which traces: an expression such as `outcome.reward >= 1 and not tag.test`."""
    good: Score = 0.8
    """The lowest score that is imitated, or preferred, or passes, in [0, 1]."""
    bad: Score = 0.2
    """The highest score that is a bad example, in [0, 1]."""
    turns: Turns = Turns.ALL
    """What of a path is learned: `all` its good turns, its `last` turn, or the `final` answer."""
    mask_errors: bool = False
    """Whether turns are masked too whose tool said in its own words that the call failed (`Error:
    …`, `{"error": …}`), and not only those that the runtime marks as failed."""
    pairs: int = Field(default=2, ge=1)
    """At most so many pairs of one context, so that one that was much tried does not outweigh many
    others; corrections are beside them."""
    length_ratio: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    """How many times as long as the other one answer of a pair may be, in characters; None: any."""
    tool_pairs: bool = True
    """Whether calls of tools are compared."""
    outcome: str | None = None
    """The outcome that says how a run ended; None: the one that carries a reference."""
    band: tuple[Score, Score] = (0.2, 0.8)
    """The pass rates, both included, at which there is something to learn: a model that always
    passes or never passes has no better answer of its own to learn from."""
    producers: tuple[str, ...] = ()
    """Whose words alone are learned: models (or `person:ID`) by name, without the date of a
    snapshot, or by a pattern such as `gpt-4.1*`; none: everybody's."""
    learner: str | None = None
    """The model that is to learn. Rows by a closed model of another family are then refused."""
    allow_producers: tuple[str, ...] = ()
    """Producers that it may learn from all the same, as for `producers`."""
    valid_share: Score = 0.1
    """Of the users (sessions, tasks) whose rows validate, in [0, 1]."""
    provider: str | None = None
    """The service that the rows are for; what it does not take is refused. One of `SERVICES`."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many rows."""
    near: float = Field(default=0.9, ge=0, le=1, allow_inf_nan=False)
    """How alike two rows are that count as one, as the share of word shingles they have in common,
    in [0, 1]; 0 leaves out equal ones alone."""
    against: Json | None = None
    """A test set that no row may be in: the hash and the number of its rows."""
    split_by: Literal["user", "conversation"] = "user"
    """Who is on one side of the split only: a user (else the session, the task, the run), or a
    conversation (a session, else the run), where users are few or talk of unlike things."""
    tokenizer: str | None = None
    """Whose tokens are counted: a model of OpenAI's, or a folder's name and hash."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The tokens that a provider reads of a row; a longer one is refused."""
    window: bool = False
    """Whether a row that is too long begins at a later turn instead."""
    balance: PositiveInt | Annotated[str, Field(pattern=r"^[1-9][0-9]*x$")] | None = None
    """The rows of one class to train on: so many, or `3x` the median class."""
    redact: bool | Json = True
    """Whether personal data and secrets become pseudonyms; who looks, and what may stay."""

    @classmethod
    def asked(
        cls, method: Method | str, agents: Iterable[str], knobs: Mapping[str, Any], **usual: Any
    ) -> "Recipe":
        """The recipe that somebody asked for; a knob that is None is as usual.

        Raises:
            ConfigError: there is no such knob, this method does not have it, or its value is none.
        """
        method = Method(method)
        given = {name: value for name, value in knobs.items() if value is not None}
        for name in given:
            if name not in cls.model_fields or name in WHAT:
                there = ", ".join(sorted(knobs_of(method)))
                raise ConfigError(f"a harvest has no knob {name!r}; {method} has {there}")
            if method not in ONLY.get(name, (method,)):
                others = " and ".join(ONLY[name])
                raise ConfigError(f"{name!r} is a knob of {others}, and says nothing to {method}")
        fields = {**usual, **given, "method": method, "agents": tuple(agents)}
        try:
            made = cls.of(fields)
        except RecordError as error:
            raise ConfigError(f"harvest {method}: {error}") from error
        if method in (Method.DPO, Method.KTO) and made.bad >= made.good:
            raise ConfigError(
                f"bad ({made.bad}) must lie below good ({made.good}), or no answer is better"
            )
        if made.tokenizer is None and (made.max_tokens or made.window):
            raise ConfigError("max_tokens and window need a tokenizer, as 'gpt-4.1' or a folder")
        if made.window and made.max_tokens is None:
            raise ConfigError("window needs max_tokens: what does not fit begins at a later turn")
        if made.rules is not None and method not in made.rules.methods:
            known = ", ".join(made.rules.methods)
            raise ConfigError(f"{made.provider} does not offer {method}; it offers {known}")
        return made

    @field_validator("provider")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in SERVICES:
            raise ValueError(f"whose rules for rows are known: {', '.join(SERVICES)}; not {name!r}")
        return name

    @property
    def rules(self) -> RowRules | None:
        """What the service that the rows are for wants of them; None: it is not said for whom."""
        return SERVICES[self.provider] if self.provider else None

    @property
    def knobs(self) -> Json:
        """What a manifest says of the recipe: the knobs that its method has, all of them."""
        return self.model_dump(mode="json", include=set(knobs_of(self.method)))


def knobs_of(method: Method) -> list[str]:
    """The names of the knobs that a method has."""
    there = [name for name in Recipe.model_fields if name not in WHAT]
    return [name for name in there if method in ONLY.get(name, (method,))]
