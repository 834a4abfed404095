"""Answers that are held to a schema or to a call, and the odds of their tokens."""

import json
import math
import random
from dataclasses import replace

import jsonschema
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentloop.local import tiny
from agentloop.local.inference.dialect import Dialect
from agentloop.local.inference.grammar import Function, Grammars, Unkept, Wish, _Form
from agentloop.local.inference.reading import Called, Reader
from tests.local.parrot import ORDER, SYSTEM, TOOLS, user
from tests.local.test_chat import COUNT, FLIP, HI, ask, refusal

ORDER_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 0, "maximum": 99},
        "state": {"enum": ["shipped", "lost"]},
    },
    "required": ["id", "state"],
    "additionalProperties": False,
}
FORM = {
    "type": "json_schema",
    "json_schema": {"name": "order", "schema": ORDER_SCHEMA, "strict": True},
}
CANCEL = {
    "type": "function",
    "function": {
        "name": "cancel",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"ok": {"type": "boolean"}},
            "required": ["ok"],
            "additionalProperties": False,
        },
    },
}
NAMED = {"type": "function", "function": {"name": "cancel"}}


def strictly(tool):
    return {"type": "function", "function": {**tool["function"], "strict": True}}


@pytest.fixture(scope="module")
def grammars():
    return Grammars(Dialect(tiny.folder()))


@pytest.fixture(scope="module")
def unthinking(base):
    """Where all tokens are alike, a thought would have no end."""
    return Grammars(Dialect(base))


LEAVES = st.sampled_from(
    [
        {"type": "boolean"},
        {"type": "null"},
        {"type": "integer", "minimum": -5, "maximum": 99},
        {"type": "string", "maxLength": 4},
        {"enum": ["a", 'b"', "é", 3]},
        {"const": {"x": [1, 2]}},
    ]
)


def objects(inner):
    fields = st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3)
    return fields.map(
        lambda found: {
            "type": "object",
            "properties": found,
            "required": list(found),
            "additionalProperties": False,
        }
    )


SCHEMAS = objects(
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            objects(inner),
            inner.map(lambda of: {"type": "array", "items": of, "maxItems": 2}),
            st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some}),
        ),
        max_leaves=4,
    )
)


def written(grammars, wish, seed):
    """What a model writes that likes all tokens alike."""
    import torch

    from agentloop.local.inference.sampling import Sampling, choose

    sampling = Sampling(seed=seed, bound=grammars.bound(wish))
    dialect = grammars._dialect
    ids = []
    while not ids or ids[-1] not in dialect.ends:
        ids += choose(torch.zeros(1, len(dialect.tokenizer)), [sampling])
        assert sampling.bound.failure == ""
    return dialect.tokenizer.decode(ids[:-1], skip_special_tokens=False)


@settings(max_examples=25, deadline=None)
@given(schema=SCHEMAS, seed=st.integers(0, 2**30))
def test_whatever_a_model_likes_it_writes_json_of_the_schema(unthinking, schema, seed):
    text = written(unthinking, Wish(schema=schema), seed)
    jsonschema.validate(json.loads(text), schema)


class TestSchemas:
    def test_an_answer_is_json_of_its_schema(self, client):
        for temperature in (0, 1):
            message = (
                ask(client, HI, response_format=FORM, tools=None, temperature=temperature, seed=1)
                .choices[0]
                .message
            )
            jsonschema.validate(json.loads(message.content), ORDER_SCHEMA)
            assert message.tool_calls is None

    def test_a_streamed_answer_is_too(self, client):
        chunks = ask(client, HI, response_format=FORM, tools=None, stream=True)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        jsonschema.validate(json.loads(said), ORDER_SCHEMA)

    def test_every_choice_is_held_apart(self, client):
        answer = ask(client, FLIP, response_format=FORM, tools=None, temperature=2, seed=3, n=6)
        for choice in answer.choices:
            jsonschema.validate(json.loads(choice.message.content), ORDER_SCHEMA)

    def test_the_client_parses_its_own_types(self, client):
        class Verdict(BaseModel):
            good: bool
            stars: list[bool]

        answer = client.chat.completions.parse(
            model="parrot", messages=HI, response_format=Verdict, temperature=0
        )
        assert isinstance(answer.choices[0].message.parsed, Verdict)

    def test_json_is_an_object_where_any_is_wanted(self, client):
        answer = ask(
            client, HI, response_format={"type": "json_object"}, max_tokens=200, logprobs=True
        )
        assert answer.choices[0].message.content.startswith("{")

    @pytest.mark.parametrize(
        ("schema", "part"),
        [
            ({"type": "array", "uniqueItems": True}, "uniqueItems"),
            ({"$ref": "https://example.com/schema"}, "example.com"),
            ({"type": "surprise"}, "surprise"),
        ],
    )
    def test_a_schema_that_cannot_be_kept_is_refused(self, client, schema, part):
        told = {"name": "x", "schema": schema, "strict": True}
        form = {"type": "json_schema", "json_schema": told}
        error = refusal(openai.BadRequestError, client, response_format=form)
        assert error["param"] == "response_format"
        assert part in error["message"]


class TestCalls:
    def test_required_is_a_call(self, client):
        choice = ask(client, HI, tool_choice="required", tools=[CANCEL]).choices[0]
        assert choice.finish_reason == "tool_calls"
        for call in choice.message.tool_calls:
            assert set(json.loads(call.function.arguments)) == {"ok"}

    def test_a_named_function_is_the_one_called(self, client):
        tools = [*TOOLS, CANCEL]
        message = (
            ask(client, ORDER[:2], tool_choice=NAMED, tools=tools, parallel_tool_calls=False)
            .choices[0]
            .message
        )
        (call,) = message.tool_calls
        assert call.function.name == "cancel"

    def test_allowed_tools_are_the_only_ones(self, client):
        allowed = {"mode": "required", "tools": [NAMED]}
        choice = {"type": "allowed_tools", "allowed_tools": allowed}
        message = (
            ask(client, ORDER[:2], tool_choice=choice, tools=[*TOOLS, CANCEL], max_tokens=90)
            .choices[0]
            .message
        )
        assert {call.function.name for call in message.tool_calls} == {"cancel"}

    def test_no_second_call_is_written_where_one_is_wanted(self, client):
        asked = [SYSTEM, user("both")]
        one = ask(client, asked, parallel_tool_calls=False)
        assert len(one.choices[0].message.tool_calls) == 1
        assert one.usage.completion_tokens < ask(client, asked).usage.completion_tokens

    def test_strict_tools_change_nothing_of_what_is_right(self, client):
        tools = [strictly(tool) for tool in TOOLS]
        for talk in ([SYSTEM, user("hi")], ORDER[:2], ORDER, [SYSTEM, user("both")]):
            free, held = (ask(client, talk, tools=some, max_tokens=99) for some in (TOOLS, tools))
            assert held.choices[0].message.content == free.choices[0].message.content
            assert held.usage == free.usage

    def test_a_strict_tool_has_no_malformed_call(self, client):
        asked = [SYSTEM, user("broken")]
        assert ask(client, asked).choices[0].message.tool_calls is None
        tools = [strictly(tool) for tool in TOOLS]
        (call,) = ask(client, asked, tools=tools, max_tokens=200).choices[0].message.tool_calls
        assert set(json.loads(call.function.arguments)) >= {"id"}

    def test_a_strict_tool_whose_schema_cannot_be_kept_is_refused_by_its_place(self, client):
        odd = json.loads(json.dumps(CANCEL))
        odd["function"]["parameters"]["properties"]["ok"] = {"type": "array", "uniqueItems": True}
        error = refusal(openai.BadRequestError, client, tools=[*TOOLS, odd])
        assert error["code"] == "invalid_function_parameters"
        assert error["param"] == "tools[1].function.parameters"


class TestForms:
    """How the tiny model's calls are held, without a server."""

    WISH = Wish(functions=(Function("cancel", CANCEL["function"]["parameters"], True),))
    CALL = '<tool_call>\n{"name": "cancel", "arguments": {"ok": true}}\n</tool_call>'

    def allows(self, grammars, wish, text):
        """Whether the text may be written and be all."""
        bound = grammars.bound(wish)
        ids = grammars._dialect.encode(text)
        matcher = bound._matcher
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    @pytest.mark.parametrize(
        ("text", "free", "must", "one"),
        [
            ("Hello there.", True, False, True),
            (CALL, True, True, True),
            (f"{CALL}\n{CALL}", True, True, False),
            (f"At once.\n{CALL}", True, False, True),
            (CALL.replace("true", "maybe"), False, False, False),
            (CALL.replace("cancel", "refund"), False, False, False),
            ("<think>hm</think>\n\n" + CALL, True, True, True),
        ],
    )
    def test_calls_are_as_the_template_writes_them(self, grammars, text, free, must, one):
        assert self.allows(grammars, self.WISH, text) is free
        assert self.allows(grammars, replace(self.WISH, must_call=True), text) is must
        assert self.allows(grammars, replace(self.WISH, at_most=1), text) is one

    def test_what_need_not_be_held_is_not(self, grammars):
        assert grammars.bound(Wish()) is None
        loose = Function("cancel", CANCEL["function"]["parameters"], False)
        assert grammars.bound(Wish(functions=(loose,))) is None

    def test_a_thought_that_was_begun_is_ended_first(self, grammars):
        bound = grammars.bound(Wish(schema=ORDER_SCHEMA), "<|im_start|>assistant\n<think>\n")
        ids = grammars._dialect.encode('hm</think>\n{"id": 1, "state": "lost"}')
        assert bound._matcher.try_consume_tokens(ids) == len(ids)

    def test_a_held_call_is_one_that_is_read(self, grammars):
        wish = Wish(functions=self.WISH.functions, must_call=True, at_most=1)
        assert self.allows(grammars, wish, self.CALL)
        reader = Reader(grammars._dialect.tokenizer.response_template, "", tools=True)
        assert [*reader.feed(self.CALL), *reader.end()] == [Called("cancel", '{"ok": true}')]

    def test_a_row_says_what_its_answers_are_held_to(self, grammars):
        assert Wish.of(None) == Wish.of({"type": "text"}) == Wish()
        wish = Wish.of(FORM, [CANCEL])
        assert (wish.schema, wish.strict) == (ORDER_SCHEMA, True)
        assert wish.functions == self.WISH.functions
        assert self.allows(grammars, wish, '{"id": 1, "state": "lost"}')
        assert not self.allows(grammars, wish, '{"id": 1, "state": "eaten"}')

    def test_a_loose_schema_is_kept_as_far_as_it_can_be(self, grammars):
        odd = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
        with pytest.raises(Unkept, match="uniqueItems"):
            grammars.bound(Wish(schema=odd))
        assert self.allows(grammars, Wish(schema=odd, strict=False), "[1, 1]")


CALLS = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content -}}
{%- for call in message.tool_calls or [] -%}CALL{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
WRITTEN = "call.function.name + '\", \"parameters\": ' + call.function.arguments + '}'"


def speaking(base, call):
    """A dialect that writes calls by that piece of a template, and reads the Hermes form."""
    dialect = Dialect(base)
    dialect.template = dialect.tokenizer.chat_template = CALLS.replace("CALL", call, 1)
    dialect.tokenizer.response_template = None
    return dialect


@pytest.mark.parametrize(
    ("call", "form"),
    [
        (
            f"""{{{{- '{{"name": "' + {WRITTEN} -}}}}""",
            ('{"name": "', '", "parameters": ', "}", ""),
        ),
        (
            "{{- '[CALL]' + call.function.name + '[ARGS]' + call.function.arguments -}}",
            ("[CALL]", "[ARGS]", "", ""),
        ),
        ("{{- '<f>' + call.function.arguments + '|' + call.function.name + '</f>' -}}", None),
        ("{{- '<f>' + call.function.name + '</f>' -}}", None),
    ],
    ids=["json", "marks", "arguments-first", "no-arguments"],
)
def test_a_form_of_calls_is_learned_from_the_template(base, call, form):
    assert _Form.of(speaking(base, call)) == form


def test_a_form_that_is_not_read_again_is_not_held(base):
    must = Wish(functions=(Function("cancel", {}, True),), must_call=True)
    call = "{{- '[CALL]' + call.function.name + '[ARGS]' + call.function.arguments -}}"
    with pytest.raises(Unkept, match="form"):
        Grammars(speaking(base, call)).bound(must)
    assert Grammars(Dialect(base)).bound(must)


class TestOdds:
    def test_there_are_none_unless_they_are_asked_for(self, client):
        assert ask(client, HI).choices[0].logprobs is None

    def test_they_spell_the_answer_and_the_likeliest_was_chosen(self, client):
        answer = ask(client, COUNT, logprobs=True, top_logprobs=4)
        content = answer.choices[0].logprobs.content
        assert b"".join(bytes(one.bytes) for one in content).decode() == (
            answer.choices[0].message.content
        )
        assert len(content) == answer.usage.completion_tokens - 1  # the end has no text
        for one in content:
            assert one.logprob <= 0
            assert len(one.top_logprobs) == 4
            assert (one.top_logprobs[0].token, one.top_logprobs[0].logprob) == (
                one.token,
                one.logprob,
            )
            assert sum(math.exp(top.logprob) for top in one.top_logprobs) <= 1 + 1e-5

    def test_a_stream_says_the_same(self, client):
        whole = ask(client, COUNT, logprobs=True, top_logprobs=2).choices[0].logprobs.content
        streamed = []
        for chunk in ask(client, COUNT, logprobs=True, top_logprobs=2, stream=True):
            if chunk.choices[0].logprobs:
                streamed += chunk.choices[0].logprobs.content
        assert [one.token for one in streamed] == [one.token for one in whole]

    def test_no_alternatives_are_named_where_none_are_wanted(self, client):
        content = ask(client, HI, logprobs=True).choices[0].logprobs.content
        assert all(one.top_logprobs == [] for one in content)

    def test_what_a_stop_cuts_off_has_none(self, client):
        choice = ask(client, COUNT, stop=" four", logprobs=True).choices[0]
        assert "".join(one.token for one in choice.logprobs.content) == choice.message.content

    def test_twenty_are_told_at_most(self, client):
        content = ask(client, HI, logprobs=True, top_logprobs=20).choices[0].logprobs.content
        assert {len(one.top_logprobs) for one in content} == {20}


def test_rows_that_are_held_leave_others_as_they_are():
    import torch

    from agentloop.local.inference.sampling import Sampling, choose

    dice = random.Random(1)
    logits = torch.tensor([[dice.random() for _ in range(2048)] for _ in range(3)])
    grammars = Grammars(Dialect(tiny.folder()))
    bound = grammars.bound(Wish(schema=ORDER_SCHEMA))
    free = choose(logits, [Sampling(seed=n) for n in range(3)])
    mixed = choose(logits, [Sampling(seed=0), Sampling(seed=1, bound=bound), Sampling(seed=2)])
    assert (mixed[0], mixed[2]) == (free[0], free[2])
    assert grammars.content(mixed[1]).startswith((b"{", b"<think>"))
