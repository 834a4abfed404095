"""What may be asked of jobs and graders. What is not here is refused, never ignored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from agentloop.base.records import Json

AUTO = "auto"


class Body(BaseModel):
    """A JSON object of which every key is known."""

    model_config = ConfigDict(extra="forbid")


def _number(whole: bool, low: float, high: float, *, above: bool = False) -> Callable[[Any], Any]:
    """Reads a number between `low` and `high`, or `auto`; `above`: `low` itself is too low."""

    def read(value: Any) -> Any:
        if value is None or value == AUTO:
            return AUTO
        what = "an integer" if whole else "a number"
        fits = isinstance(value, int) or (isinstance(value, float) and not whole)
        if isinstance(value, bool) or not fits:
            raise PydanticCustomError(
                "wire:invalid_type", "Expected {what} or 'auto'.", {"what": what}
            )
        if value < low or value > high or (above and value == low):
            raise PydanticCustomError(
                "wire:invalid_value",
                "Expected 'auto' or {what} {relation} {low} and <= {high}, but got {value}.",
                {
                    "what": what,
                    "relation": ">" if above else ">=",
                    "low": low,
                    "high": high,
                    "value": value,
                },
            )
        return value

    return read


Epochs = Annotated[int | str, BeforeValidator(_number(True, 1, 50))]
BatchSize = Annotated[int | str, BeforeValidator(_number(True, 1, 256))]
Multiplier = Annotated[float | str, BeforeValidator(_number(False, 0, 1e6, above=True))]
Beta = Annotated[float | str, BeforeValidator(_number(False, 0, 2, above=True))]
Compute = Annotated[float | str, BeforeValidator(_number(False, 1e-5, 10, above=True))]
Count = Annotated[int | str, BeforeValidator(_number(True, 1, 1_000_000))]


class SupervisedNumbers(Body):
    """Hyperparameters of `supervised`. `auto` takes what `recipes` has for the size of the base;
    the job shows which number that was once it runs."""

    n_epochs: Epochs = AUTO
    """How often the training file is gone through, 1 to 50."""
    batch_size: BatchSize = AUTO
    """Rows of one step, 1 to 256."""
    learning_rate_multiplier: Multiplier = AUTO
    """Times the recipe's learning rate, above 0; `auto` is 1. No absolute rate: 2e-5 would be next
    to nothing."""


class DpoNumbers(SupervisedNumbers):
    """Hyperparameters of `dpo`."""

    beta: Beta = AUTO
    """Pull towards the model that training starts from, above 0 and up to 2: the higher, the less
    the model may change for the sake of the preferences."""


class ReinforcementNumbers(SupervisedNumbers):
    """Hyperparameters of `reinforcement`."""

    compute_multiplier: Compute = AUTO
    """Times the recipe's answers to each prompt, above 1e-5 and up to 10; `auto` is 1. There are
    two answers at least: their rewards are compared."""
    eval_interval: Count = AUTO
    """Steps between two looks at the validation file, each of which makes a checkpoint."""
    eval_samples: Count = AUTO
    """Answers to each of its prompts."""
    reasoning_effort: Literal["default"] = "default"
    """These models do not reason at different lengths."""


class Supervised(Body):
    """`method.supervised`."""

    hyperparameters: SupervisedNumbers = SupervisedNumbers()


class Dpo(Body):
    """`method.dpo`."""

    hyperparameters: DpoNumbers = DpoNumbers()


Neutral = Mapping[str, tuple[Sequence[object], str]]
"""Parameter -> the values that it may have beside null, and why there are no others."""


def neutral(known: Neutral) -> Callable[[Any, ValidationInfo], Any]:
    """A validator of fields that refuses, by name, what would have no effect."""

    def check(value: Any, info: ValidationInfo) -> Any:
        allowed, why = known[info.field_name or ""]
        if value is None or value in allowed:
            return value
        raise PydanticCustomError(
            "wire:unsupported_value",
            "Unsupported value: '{name}' does not support {value} on this server; {why}.",
            {"name": info.field_name, "value": repr(value), "why": why},
        )

    return check


class JsonSchema(Body):
    """`response_format.json_schema`."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: Annotated[Json | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Body):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError(
                "wire:missing_required_parameter",
                "Missing required parameter: 'response_format.json_schema'.",
            )
        return self

    @property
    def wanted(self) -> Json | None:
        """The schema that the answer is held to; None for text."""
        if self.type == "text":
            return None
        return (self.json_schema and self.json_schema.schema_) or {"type": "object"}

    @property
    def strict(self) -> bool:
        """Whether a schema that cannot be kept is refused."""
        return self.json_schema is None or bool(self.json_schema.strict)


class ToolServer(Body):
    """A tool that is called while the model is trained: `agentloop tools serve` serves such."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    server_url: Annotated[str, Field(pattern=r"^https?://")]
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Sent with each call, and shown to nobody; they are kept as long as the job is."""


def _no_two(tools: list[ToolServer] | None) -> list[ToolServer] | None:
    names = [tool.name for tool in tools or ()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise PydanticCustomError(
            "wire:invalid_value", "The tool '{name}' has two servers.", {"name": twice[0]}
        )
    return tools


class Reinforcement(Body):
    """`method.reinforcement`."""

    grader: Json
    hyperparameters: ReinforcementNumbers = ReinforcementNumbers()
    tools: Annotated[list[ToolServer] | None, AfterValidator(_no_two)] = None
    """Servers of tools that rows offer, by the tool's name: they are called, and what they return
    is put before the model, until it answers without a call."""
    response_format: ResponseFormat | None = None
    """What answers are held to, as in chat completions: then graders have `sample.output_json`."""
    max_episode_steps: Annotated[int, Field(ge=1, le=100)] | None = None
    """Messages of the model in one episode, at most; 10 where there are tools."""


class Method(Body):
    """`method` of a job."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None

    @model_validator(mode="after")
    def _one_section(self) -> "Method":
        for name in ("supervised", "dpo", "reinforcement"):
            if name != self.type and getattr(self, name) is not None:
                raise PydanticCustomError(
                    "wire:invalid_value",
                    "'method.{name}' does not belong to the type '{type}'.",
                    {"name": name, "type": self.type},
                )
        if self.type == "reinforcement" and self.reinforcement is None:
            raise PydanticCustomError(
                "wire:missing_required_parameter",
                "Missing required parameter: 'method.reinforcement', which holds the grader.",
            )
        return self

    @property
    def wire(self) -> Json:
        """The method with its section and every hyperparameter spelled out."""
        sections = {
            "supervised": self.supervised or Supervised(),
            "dpo": self.dpo or Dpo(),
            "reinforcement": self.reinforcement,
        }
        section = sections[self.type]
        said = section.model_dump(exclude_none=True, by_alias=True) if section else {}
        return {"type": self.type, self.type: said}


def _none(integrations: list[Json] | None) -> list[Json] | None:
    if integrations:
        raise PydanticCustomError(
            "wire:unsupported_value",
            "Unsupported value: this server has no 'integrations'; read the job's events instead.",
        )
    return integrations


def _few_texts(pairs: dict[str, str] | None) -> dict[str, str] | None:
    if pairs and (len(pairs) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in pairs.items())):
        raise PydanticCustomError(
            "wire:invalid_value",
            "'metadata' takes 16 pairs, of keys up to 64 and values up to 512 characters.",
        )
    return pairs


class JobBody(Body):
    """`POST /v1/fine_tuning/jobs`."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: Method | None = None
    hyperparameters: SupervisedNumbers | None = None
    """The older place for those of `supervised`."""
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    metadata: Annotated[dict[str, str] | None, AfterValidator(_few_texts)] = None
    integrations: Annotated[list[Json] | None, AfterValidator(_none)] = None


class GraderValidateBody(Body):
    """`POST …/graders/validate`."""

    grader: Json


class GraderRunBody(Body):
    """`POST …/graders/run`."""

    grader: Json
    model_sample: str
    item: Json | None = None
