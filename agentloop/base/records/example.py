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
    """Models (or `person:ID`) that wrote what it teaches."""


class Turns(StrEnum):
    """What of a path SFT learns."""

    ALL = "all"
    """Every turn of the agent that was good."""
    LAST = "last"
    """The last turn of the path alone, be it a call of a tool."""
    FINAL = "final"
    """The answer that the run ended with alone; paths that end otherwise give no row."""


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
    """How the two came to be: `correction` (a person's edit), `trial` (two arms), `best_of_n` (runs
    that tried one task), `regeneration` (any other two answers)."""
    against: tuple[str, ...] = ()
    """Models that wrote the rejected answer."""


class KTOExample(Example):
    """An answer that was judged, and no other answer to compare it with."""

    answer: Message
    label: bool
    """Whether it was good."""


class RFTExample(Example):
    """A context that ends with the user, and what a grader needs to judge an answer to it."""

    fields: Json
    """Everything beside messages and tools; a grader sees it as `{{item.NAME}}`."""
    scores: tuple[float, ...] = ()
    """What each rollout was worth, in the order of `traces`, in [0, 1]; where that is not known,
    there is none."""
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
    NOT_FINAL = "not_final"
    NOTHING_TO_LEARN = "nothing_to_learn"
    UNKNOWN_TOOL = "unknown_tool"
    OTHER_PRODUCER = "other_producer"
    PRODUCER_TERMS = "producer_terms"
    BAD_ROW = "bad_row"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    LEAK = "leak"
    CONTAMINATED = "contaminated"
    PARTED_AT_USER = "parted_at_user"
    DIFFERENT_TOOLS = "different_tools"
    DIFFERENT_AGENTS = "different_agents"
    NO_CONTRAST = "no_contrast"
    TOOL_PAIR = "tool_pair"
    LENGTH_DIFFERS = "length_differs"
    PAIRED = "paired"
    NEITHER = "neither"
    UNDECIDED = "undecided"
    DIFFERENT_JUDGES = "different_judges"
    NO_OUTCOME = "no_outcome"
    NO_REFERENCE = "no_reference"
    REFERENCES_DIFFER = "references_differ"
    RESERVED_NAME = "reserved_name"
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
    Refusal.NOT_FINAL: "It is not the answer that the run ended with; take --turns last or all.",
    Refusal.NOTHING_TO_LEARN: "All that the agent said is masked, for its last turn see `detail`; "
    "correct a turn, and it is learned.",
    Refusal.UNKNOWN_TOOL: "It teaches to call a tool that the agent does not have; correct it with "
    "one of its tools, or give the agent the tool.",
    Refusal.OTHER_PRODUCER: "Others wrote it than --producer asks for.",
    Refusal.PRODUCER_TERMS: "The terms of a closed model may not let another model learn from it: "
    "that is our reading, check yours; then say --allow-producer NAME.",
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
    Refusal.TOOL_PAIR: "An answer is a tool call, and here texts alone are compared; learn it as "
    "sft, or take a provider that compares tool calls.",
    Refusal.LENGTH_DIFFERS: "One answer is much longer than the other, so length would be learned; "
    "raise --length-ratio.",
    Refusal.PAIRED: "It is an answer of a pair, which teaches more; harvest it as dpo.",
    Refusal.NEITHER: "Its score is neither good nor bad; ask one more person, or move --good and "
    "--bad.",
    Refusal.UNDECIDED: "The verdicts on this answer contradict each other; ask one more person.",
    Refusal.DIFFERENT_JUDGES: "One answer was judged by a person, the other only by a rule or a "
    "model; have both judged alike.",
    Refusal.NO_OUTCOME: "No outcome says how a run from this context ended; record one.",
    Refusal.NO_REFERENCE: "No outcome carries a reference to grade against; record one with it.",
    Refusal.REFERENCES_DIFFER: "Runs from this one context want different things; one is wrong.",
    Refusal.RESERVED_NAME: "An outcome has the name of a key that means something else in a row; "
    "record it under another name.",
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
