"""What may be asked of `/v1/chat/completions`. What has no effect here is refused by name.

Taken without effect, because they have none on the answer: `user`, `metadata`, `store: false` and
the like. `strict` of a tool is a hint: nothing constrains what the model writes.
"""

from typing import Annotated, Any, Literal

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
from agentloop.local.api.bodies import Body


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


_LOGPROBS = "log probabilities are not returned"
_PENALTY = "there are no penalties"

NEUTRAL: dict[str, tuple[list[object], str]] = {
    "tool_choice": (["auto", "none"], "tools are called freely ('auto') or not at all ('none')"),
    "store": ([False], "completions are not stored"),
    "service_tier": (["auto", "default"], "there is one tier"),
    "modalities": ([["text"]], "answers are text"),
    "response_format": ([{"type": "text"}], "nothing constrains answers to a schema"),
    "logprobs": ([False], _LOGPROBS),
    "top_logprobs": ([0], _LOGPROBS),
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

    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    store: Any = None
    service_tier: Any = None
    modalities: Any = None
    response_format: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None

    @field_validator(*NEUTRAL)
    @classmethod
    def _neutral(cls, value: Any, info: ValidationInfo) -> Any:
        allowed, why = NEUTRAL[info.field_name or ""]
        if value is None or value in allowed:
            return value
        raise PydanticCustomError(
            "wire:unsupported_value",
            "Unsupported value: '{name}' does not support {value} on this server; {why}.",
            {"name": info.field_name, "value": repr(value), "why": why},
        )

    @property
    def offered(self) -> list[Json]:
        """The tools that the model may call."""
        if self.tool_choice == "none":
            return []
        return [tool.model_dump(exclude_none=True) for tool in self.tools or ()]

    @property
    def limit(self) -> int | None:
        """Tokens that an answer may have, if the client set a limit."""
        return self.max_completion_tokens or self.max_tokens
