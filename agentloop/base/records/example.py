"""What there is to learn: a demonstration, a preference, a task with a reward, or a refusal."""

from enum import StrEnum

from agentloop.base.records.message import Message
from agentloop.base.records.record import Json, Record


class Example(Record):
    """What the three kinds share: a context, the tools at hand, and where it came from."""

    context: tuple[Message, ...]
    tools: tuple[Json, ...] = ()
    parallel_tool_calls: bool | None = None
    unit: str
    """What must not be torn apart by a split: the user, else the session, else the task, else the
    trace."""
    conversation: str | None = None
    """What a split by conversations must not tear apart: the session, else the trace."""
    traces: tuple[str, ...]
    calls: tuple[str, ...]
    opinions: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()


class SFTExample(Example):
    """A path worth imitating: `context` and the answers in it, ending with `output`."""

    output: Message
    weights: tuple[int, ...] = ()
    """1 to learn, 0 to mask, for each assistant message of the context, in order."""


class DPOExample(Example):
    """Two answers to one context, one better than the other."""

    preferred: Message
    rejected: Message
    margin: float
    """How far the verdicts of the two lie apart, in (0, 1]."""
    source: str
    """`correction`, `regeneration` or `trial`: how the two came to be."""


class RFTExample(Example):
    """A context that ends with the user, and what a grader needs to judge an answer to it."""

    fields: Json
    """Everything beside messages and tools; a grader sees it as `{{item.NAME}}`."""
    rollouts: int
    pass_rate: float


class Refusal(StrEnum):
    """Why there is no row. The sentence says what to do about it."""

    NOT_JUDGED = "not_judged"
    NOT_GOOD = "not_good"
    FILTERED = "filtered"
    HELD_OUT = "held_out"
    NO_CONSENT = "no_consent"
    RUN_FAILED = "run_failed"
    INCOMPLETE = "incomplete"
    NO_ANSWER = "no_answer"
    BAD_ROW = "bad_row"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    LEAK = "leak"
    CONTAMINATED = "contaminated"
    PARTED_AT_USER = "parted_at_user"
    DIFFERENT_TOOLS = "different_tools"
    DIFFERENT_AGENTS = "different_agents"
    NO_CONTRAST = "no_contrast"
    UNDECIDED = "undecided"
    DIFFERENT_JUDGES = "different_judges"
    NO_OUTCOME = "no_outcome"
    NO_REFERENCE = "no_reference"
    REFERENCES_DIFFER = "references_differ"
    TOO_EASY = "too_easy"
    TOO_HARD = "too_hard"
    TOO_LONG = "too_long"
    TOO_COMMON = "too_common"
    TOO_MANY = "too_many"

    @property
    def sentence(self) -> str:
        return SENTENCES[self]


SENTENCES: dict[Refusal, str] = {
    Refusal.NOT_JUDGED: "Nobody has said what this run was worth; record a thumb or an outcome.",
    Refusal.NOT_GOOD: "Its score is below what is imitated; correct it, or lower --good.",
    Refusal.FILTERED: "It does not match --where.",
    Refusal.HELD_OUT: "It was run to measure with; learning from it would spoil the measure.",
    Refusal.NO_CONSENT: "Its user did not agree to being learned from; leave it, or ask them and "
    "run again with consent=True.",
    Refusal.RUN_FAILED: "The run ended in an error, so its answer is half an answer.",
    Refusal.INCOMPLETE: "Not all that the model saw or said was captured; see the call.",
    Refusal.NO_ANSWER: "The agent said nothing that could be learned.",
    Refusal.BAD_ROW: "A provider would refuse the row; `detail` says why.",
    Refusal.DUPLICATE: "The same path is in the dataset already.",
    Refusal.NEAR_DUPLICATE: "Nearly the same is in the dataset already; raise --near (0: keep all) "
    "if the difference is what you want learned.",
    Refusal.LEAK: "Nearly the same validates; learning it would flatter the measure. Raise --near, "
    "or split by what the two have in common.",
    Refusal.CONTAMINATED: "It is in the test set of --against; learning it would spoil the test.",
    Refusal.PARTED_AT_USER: "The two runs part at what the user said, so their answers do not "
    "compare; regenerate one answer to get a pair.",
    Refusal.DIFFERENT_TOOLS: "The two answers were given with different tools at hand.",
    Refusal.DIFFERENT_AGENTS: "The two answers were given by different agents.",
    Refusal.NO_CONTRAST: "All answers to this context earned the same verdict.",
    Refusal.UNDECIDED: "The verdicts on this answer contradict each other; ask one more person.",
    Refusal.DIFFERENT_JUDGES: "One answer was judged by a person, the other only by a rule or a "
    "model; have both judged alike.",
    Refusal.NO_OUTCOME: "No outcome says how a run from this context ended; record one.",
    Refusal.NO_REFERENCE: "No outcome carries a reference to grade against; record one with it.",
    Refusal.REFERENCES_DIFFER: "Runs from this one context want different things; one is wrong.",
    Refusal.TOO_EASY: "The model passes too often to learn from it; widen --band.",
    Refusal.TOO_HARD: "The model passes too seldom to find the way; try SFT, or widen --band.",
    Refusal.TOO_LONG: "More tokens than a provider reads, which would cut the answer off; raise "
    "--max-tokens, or drop the oldest turns with --window.",
    Refusal.TOO_COMMON: "Enough rows teach the same already; raise --balance.",
    Refusal.TOO_MANY: "More than enough rows; raise --limit.",
}


class Refused(Record):
    """One thing that did not become a row, and why."""

    code: Refusal
    traces: tuple[str, ...]
    call: str | None = None
    detail: str | None = None
    """What exactly, where the sentence alone does not say."""

    @property
    def sentence(self) -> str:
        return self.code.sentence
