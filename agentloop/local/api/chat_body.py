"""What may be asked of `/v1/chat/completions`. What has no effect here is refused by name.

Taken without effect, because they have none on the answer: `user`, `metadata`, `store: false` and
the like.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from agentloop.base.records import Json
from agentloop.local.api.answering import Order
from agentloop.local.api.bodies import Body, Neutral, ResponseFormat, neutral


class Loose(BaseModel):
    """A JSON object in which clients leave more than is looked at."""

    model_config = ConfigDict(extra="allow")


class CalledFunction(Loose):
    """`tool_calls[].function` of a message; the arguments may be malformed, a model wrote them."""

    name: str
    arguments: str


class Call(Loose):
    """One of the `tool_calls` of a message."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


def _content(value: Any) -> Any:
    """Text or text parts, checked by hand: a union would answer with several complaints."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise PydanticCustomError(
            "wire:invalid_type", "Invalid type for 'content': expected a string or an array."
        )
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            raise PydanticCustomError(
                "wire:invalid_value",
                "Invalid value: {kind}. Content parts are of type 'text' or 'refusal', with that "
                "text; this server's models read nothing else.",
                {"kind": repr(kind)},
            )
    return value


class ChatMessage(Loose):
    """One of `messages`."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: Annotated[Any, AfterValidator(_content)] = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ChatMessage":
        if self.role != "assistant" and self.content is None:
            raise PydanticCustomError(
                "wire:missing_required_parameter", "A message of this role needs 'content'."
            )
        if self.role == "tool" and self.tool_call_id is None:
            raise PydanticCustomError(
                "wire:missing_required_parameter", "A tool message needs 'tool_call_id'."
            )
        return self


class ToolFunction(Body):
    """`tools[].function`."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(Body):
    """One of `tools`."""

    type: Literal["function"]
    function: ToolFunction


class StreamOptions(Body):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Choice(NamedTuple):
    """`tool_choice`, taken apart."""

    none: bool = False
    must_call: bool = False
    allowed: list[str] | None = None
    """Names of the tools that may be called; None allows all."""


def tool_choice(value: Any, *, flat: bool) -> Choice:
    """Reads `tool_choice`.

    Args:
        flat: names stand beside the type, as in Responses; otherwise within `function`.

    Raises:
        PydanticCustomError: it is none of the known forms.
    """

    def name(of: Any) -> str:
        if not isinstance(of, dict) or of.get("type") != "function":
            raise _choices(value)
        found = of if flat else of.get("function")
        if not isinstance(found, dict) or not isinstance(found.get("name"), str):
            raise _choices(value)
        return str(found["name"])

    if value in (None, "auto", "none", "required"):
        return Choice(none=value == "none", must_call=value == "required")
    if not isinstance(value, dict):
        raise _choices(value)
    if value.get("type") != "allowed_tools":
        return Choice(must_call=True, allowed=[name(value)])
    told = value if flat else value.get("allowed_tools")
    if not (isinstance(told, dict) and isinstance(told.get("tools"), list)):
        raise _choices(value)
    if told.get("mode") not in ("auto", "required"):
        raise _choices(value)
    return Choice(must_call=told["mode"] == "required", allowed=[name(of) for of in told["tools"]])


def _choices(value: Any) -> PydanticCustomError:
    return PydanticCustomError(
        "wire:invalid_value",
        "Invalid value: {value}. 'tool_choice' is 'none', 'auto', 'required', a function by its "
        "name, or allowed tools, which are functions.",
        {"value": repr(value)},
    )


def known_tools(choice: Choice, names: Sequence[str]) -> None:
    """Refuse a choice of tools that are not there.

    Raises:
        PydanticCustomError: it is one.
    """
    if choice.must_call and not names:
        raise PydanticCustomError(
            "wire:invalid_value",
            "'tool_choice' is only allowed to ask for a call when 'tools' are specified.",
        )
    for name in choice.allowed or ():
        if name not in names:
            raise PydanticCustomError(
                "wire:invalid_value",
                "Tool choice '{name}' not found in 'tools' parameter.",
                {"name": name},
            )


_PENALTY = "there are no penalties"

NEUTRAL: Neutral = {
    "store": ([False], "completions are not stored"),
    "service_tier": (["auto", "default"], "there is one tier"),
    "modalities": ([["text"]], "answers are text"),
    "logit_bias": ([{}], "tokens cannot be weighted"),
    "frequency_penalty": ([0], _PENALTY),
    "presence_penalty": ([0], _PENALTY),
    "reasoning_effort": ([], "its models have no levels of reasoning"),
    "verbosity": ([], "its models have no levels of verbosity"),
}
"""Parameters of which only some values are taken beside null, and why."""


def _stops(value: Any) -> Any:
    found = [value] if isinstance(value, str) else value
    if found is not None and not (
        isinstance(found, list) and len(found) <= 4 and all(s and isinstance(s, str) for s in found)
    ):
        raise PydanticCustomError(
            "wire:invalid_value", "Invalid 'stop': expected a string or up to 4 strings."
        )
    return found or []


class ChatBody(Body):
    """`POST /v1/chat/completions`."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    tools: list[Tool] | None = None
    # After `tools`, because it names some of them.
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: Annotated[Any, AfterValidator(_stops)] = []
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    store: Any = None
    service_tier: Any = None
    modalities: Any = None
    logit_bias: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None

    _neutral = field_validator(*NEUTRAL)(neutral(NEUTRAL))

    @field_validator("tool_choice")
    @classmethod
    def _a_choice(cls, value: Any, info: ValidationInfo) -> Any:
        tools = info.data.get("tools") or ()
        known_tools(tool_choice(value, flat=False), [tool.function.name for tool in tools])
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _with_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise PydanticCustomError(
                "wire:invalid_value", "'top_logprobs' is only taken with 'logprobs': true."
            )
        return value

    @property
    def order(self) -> Order:
        """What is asked of the model."""
        choice = tool_choice(self.tool_choice, flat=False)
        tools = [tool.model_dump(exclude_none=True) for tool in self.tools or ()]
        form = self.response_format
        return Order(
            messages=[message.model_dump(exclude_none=True) for message in self.messages],
            tools=[] if choice.none else tools,
            allowed=choice.allowed,
            must_call=choice.must_call,
            parallel=self.parallel_tool_calls,
            schema=form.wanted if form else None,
            strict=form.strict if form else True,
            n=self.n or 1,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
            limit=self.limit,
            streamed=bool(self.stream),
            top=(self.top_logprobs or 0) if self.logprobs else None,
        )

    @property
    def limit(self) -> int | None:
        """Tokens that an answer may have, if the client set a limit."""
        return self.max_completion_tokens or self.max_tokens
