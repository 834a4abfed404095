"""What may be asked of `/v1/responses`. What has no effect here is refused by name.

Items that only OpenAI's own tools make, images, files and conversations kept apart are not known.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agentloop.base.records import Json
from agentloop.local.api.answering import Order
from agentloop.local.api.bodies import Body, Neutral, neutral
from agentloop.local.api.chat_body import known_tools, tool_choice

ODDS = "message.output_text.logprobs"

NEUTRAL: Neutral = {
    "background": ([False], "answers are waited for"),
    "conversation": ([], "conversations are not kept apart; use 'previous_response_id'"),
    "max_tool_calls": ([], "there are no tools of the server's own"),
    "prompt": ([], "there are no stored prompts"),
    "reasoning": ([{}], "its models have no levels of reasoning"),
    "service_tier": (["auto", "default"], "there is one tier"),
    "truncation": (["disabled"], "nothing is left out"),
}
"""Parameters of which only some values are taken beside null, and why."""


class FunctionTool(Body):
    """One of `tools`."""

    type: Literal["function"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None
    """Null is true, as it is at OpenAI."""

    @property
    def kept(self) -> bool:
        """Whether calls are held to `parameters`."""
        return self.strict is not False

    @property
    def chat(self) -> Json:
        """The tool in Chat Completions' form."""
        function = self.model_dump(exclude_none=True, exclude={"type"})
        return {"type": "function", "function": {**function, "strict": self.kept}}

    @property
    def wire(self) -> Json:
        """The tool as the answer repeats it."""
        return {**self.model_dump(), "strict": self.kept}


class Format(Body):
    """`text.format`."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")] | None = None
    description: str | None = None
    schema_: Annotated[Json | None, Field(alias="schema")] = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "Format":
        for name, value in (("name", self.name), ("schema", self.schema_)):
            if self.type == "json_schema" and value is None:
                raise PydanticCustomError(
                    "wire:missing_required_parameter",
                    "Missing required parameter: 'text.format.{name}'.",
                    {"name": name},
                )
        return self


class Text(Body):
    """`text`."""

    format: Format = Format(type="text")
    verbosity: Literal["medium"] | None = None


class StreamOptions(Body):
    """`stream_options`."""

    include_obfuscation: Literal[False] | None = None


_KINDS = ("message", "function_call", "function_call_output", "reasoning")
"""Types of items that are known; without a type it is the first."""

_PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}


def _text(content: Any) -> str:
    """A text, or the text of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise PydanticCustomError(
            "wire:invalid_type", "Invalid type for content: expected a string or an array."
        )
    made = ""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get(_PARTS[kind]) if kind in _PARTS else None
        if not isinstance(text, str):
            raise PydanticCustomError(
                "wire:invalid_value",
                "Invalid value: {kind}. Content parts are of type 'input_text', 'output_text' or "
                "'refusal', with their text; this server's models read nothing else.",
                {"kind": repr(kind)},
            )
        made += text
    return made


def _word(item: Json, name: str) -> str:
    if not isinstance(item.get(name), str):
        raise PydanticCustomError(
            "wire:missing_required_parameter",
            "An item of type '{type}' needs '{name}', a text.",
            {"type": item.get("type", "message"), "name": name},
        )
    return str(item[name])


def messages(items: list[Json]) -> list[Json]:
    """Items of Responses as messages of Chat Completions: calls belong to the text before them.

    Raises:
        PydanticCustomError: an item lacks something.
    """
    made: list[Json] = []
    thought = ""
    speaking: Json | None = None
    for item in items:
        kind = item.get("type", "message")
        if kind == "reasoning":
            thought += "".join(
                str(part.get("text", ""))
                for part in item.get("content") or ()
                if isinstance(part, dict)
            )
            continue
        mine = kind == "function_call" or (kind == "message" and item.get("role") == "assistant")
        if mine and (speaking is None or kind == "message"):
            speaking = {"role": "assistant", "content": ""}
            if thought:
                speaking["reasoning_content"], thought = thought, ""
            made.append(speaking)
        if kind == "function_call" and speaking is not None:
            function = {"name": _word(item, "name"), "arguments": _word(item, "arguments")}
            call = {"id": _word(item, "call_id"), "type": "function", "function": function}
            speaking.setdefault("tool_calls", []).append(call)
        elif kind == "message" and mine and speaking is not None:
            speaking["content"] = _text(item.get("content"))
        elif kind == "function_call_output":
            speaking = None
            said = _text(item.get("output"))
            made.append({"role": "tool", "tool_call_id": _word(item, "call_id"), "content": said})
        else:
            speaking = None
            role = _word(item, "role")
            if role not in ("user", "system", "developer"):
                raise PydanticCustomError(
                    "wire:invalid_value",
                    "Invalid value: {role}. Supported values are: 'assistant', 'system', "
                    "'developer', and 'user'.",
                    {"role": repr(role)},
                )
            made.append({"role": role, "content": _text(item.get("content"))})
    return made


def _input(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, list) and value):
        return value
    raise PydanticCustomError(
        "wire:invalid_type", "Invalid type for 'input': expected a string or a list of items."
    )


class ResponseBody(Body):
    """`POST /v1/responses`."""

    model: str
    input: Annotated[Any, AfterValidator(_input)]
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[FunctionTool] | None = None
    # After `tools`, because it names some of them.
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = (
        None
    )
    store: bool | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    background: Any = None
    conversation: Any = None
    max_tool_calls: Any = None
    prompt: Any = None
    reasoning: Any = None
    service_tier: Any = None
    truncation: Any = None

    _neutral = field_validator(*NEUTRAL)(neutral(NEUTRAL))

    @field_validator("input")
    @classmethod
    def _items(cls, value: Any) -> Any:
        for n, item in enumerate(value if isinstance(value, list) else ()):
            kind = item.get("type", "message") if isinstance(item, dict) else type(item).__name__
            if kind not in _KINDS:
                raise PydanticCustomError(
                    "wire:invalid_value",
                    "Invalid value: {kind}, the type of input[{n}]. Supported values are: {known}.",
                    {"kind": repr(kind), "n": n, "known": ", ".join(map(repr, _KINDS))},
                )
        if isinstance(value, list):
            messages(value)
        return value

    @field_validator("tool_choice")
    @classmethod
    def _a_choice(cls, value: Any, info: ValidationInfo) -> Any:
        tools = info.data.get("tools") or ()
        known_tools(tool_choice(value, flat=True), [tool.name for tool in tools])
        return value

    @property
    def items(self) -> list[Json]:
        """The input as items."""
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": self.input}]
        return list(self.input)

    def order(self, before: list[Json]) -> Order:
        """What is asked of the model, after the items that came before."""
        choice = tool_choice(self.tool_choice, flat=True)
        form = (self.text or Text()).format
        says = [{"role": "system", "content": self.instructions}] if self.instructions else []
        wants_odds = self.top_logprobs is not None or ODDS in (self.include or ())
        return Order(
            messages=[*says, *messages([*before, *self.items])],
            tools=[] if choice.none else [tool.chat for tool in self.tools or ()],
            allowed=choice.allowed,
            must_call=choice.must_call,
            parallel=self.parallel_tool_calls,
            schema=None if form.type == "text" else form.schema_ or {"type": "object"},
            strict=form.type != "json_schema" or bool(form.strict),
            temperature=self.temperature,
            top_p=self.top_p,
            limit=self.max_output_tokens,
            streamed=bool(self.stream),
            top=(self.top_logprobs or 0) if wants_odds else None,
            chat=False,
        )
