"""Tokens as the target counts them, and conversations that are made to fit."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.errors import ConfigError, RecordError
from agentloop.base.records import RFTExample, SFTExample
from agentloop.harvest.tokens import Tokens, cuts, encoding_of, fitted
from tests.makers import calls, message, returns, says, system, user

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}
COOKBOOK = {
    "messages": [
        {
            "role": "system",
            "content": "You are a helpful assistant that can answer to questions about "
            "the weather.",
        },
        {"role": "user", "content": "What's the weather like in Pittsburgh today?"},
    ],
    "tools": [WEATHER],
}
"""The example of OpenAI's notebook on counting; what their service counted is below."""


@pytest.fixture(scope="module")
def gpt():
    pytest.importorskip("bpe_openai")
    return Tokens.of("gpt-4.1").count


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4o", 101), ("gpt-4", 105)])
def test_the_cookbooks_example_counts_as_their_service_counted_it(model, tokens):
    pytest.importorskip("bpe_openai")
    assert Tokens.of(model).count(COOKBOOK) == tokens


def said(*messages, **beside):
    return {"messages": [message.to_dict() for message in messages], **beside}


def test_a_message_is_its_text_its_role_and_three_and_a_row_three_more(gpt):
    assert gpt(said(user("hi"))) == 3 + 1 + 1 + 3
    assert gpt(said(user("hi"), says("hi"))) == 2 * (3 + 1 + 1) + 3
    assert gpt(said(message("user", "hi", name="ann"))) == gpt(said(user("hi"))) + 1 + 1


def test_a_call_of_a_tool_is_its_name_and_its_arguments(gpt):
    without = gpt(said(user("hi"), message("assistant", None)))
    asked = gpt(said(user("hi"), calls(("find", "{}", "any id"))))
    assert asked == without + 3 + 1 + 1


def test_what_the_formula_has_no_word_for_is_counted_too(gpt):
    def offering(schema):
        parameters = {"type": "object", "properties": {"orders": schema}}
        function = {"name": "find", "description": "Find.", "parameters": parameters}
        return gpt(said(user("hi"), tools=[{"type": "function", "function": function}]))

    items = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    assert offering({"type": "array", "items": items}) > offering({"type": "array"}) + 10
    assert offering(True) > 0


def test_parts_of_a_content_count_and_pictures_do_not(gpt):
    parts = [
        {"type": "text", "text": "hi"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert gpt(said(user(parts))) == gpt(said(user("hi")))


def test_of_a_preference_the_longer_answer_counts(gpt):
    def pair(better, worse):
        return {
            "input": {"messages": [user("hi").to_dict()], "tools": [WEATHER]},
            "preferred_output": [says(better).to_dict()],
            "non_preferred_output": [says(worse).to_dict()],
        }

    alone = gpt(said(user("hi"), says("one two three four"), tools=[WEATHER]))
    assert gpt(pair("one two three four", "no")) == gpt(pair("no", "one two three four")) == alone


def test_text_that_looks_special_or_is_no_unicode_is_counted_as_text(gpt):
    assert gpt(said(user("<|endoftext|>"))) > gpt(said(user("hi")))
    assert gpt(said(user("\ud800"))) > 0


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("ft:gpt-4o-mini-2024-07-18:shop::id", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
    ],
)
def test_a_model_is_known_by_how_its_name_begins(model, encoding):
    assert encoding_of(model) == encoding


def test_a_name_that_nobody_knows_is_an_error_that_says_what_there_is():
    with pytest.raises(ConfigError, match=r"no tokenizer 'qwen': .*gpt-4\.1.*or a folder"):
        Tokens.of("qwen")


def test_whoever_asks_may_count_herself():
    assert Tokens.of(lambda body: len(body["messages"])).count(said(user(), says())) == 2


# ---------------------------------------------------------------------- a model's own tokenizer

TEMPLATE = (
    "{% for tool in tools or [] %}<tool>{{ tool.function.name }} {% endfor %}"
    "{% for m in messages %}{{ m.role }} {{ m.content }} "
    "{% for c in m.tool_calls or [] %}{{ c.function.name }} "
    "{% for k, v in c.function.arguments.items() %}{{ k }} {{ v }} {% endfor %}{% endfor %}"
    "{% if m.role == 'king' %}{{ raise_exception('no kings') }}{% endif %}{% endfor %}"
)


@pytest.fixture
def folder(tmp_path):
    """A tokenizer for which a word is a token."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=4)
    made.chat_template = TEMPLATE
    made.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_counts_by_its_own_template(folder):
    count = Tokens.of(folder).count
    assert count(said(system("You help."), user("hi there"))) == 3 + 3
    asked = said(user("q"), calls(("find", '{"id": 7}', "c1")), tools=[WEATHER])
    assert count(asked) == 1 + 2 + 1 + 3


def test_a_developer_is_the_system_to_a_template_that_knows_none(folder):
    pair = [[{"role": role, "content": "x"}] for role in ("developer", "system")]
    one, other = ({"messages": messages} for messages in pair)
    count = Tokens.of(folder).count
    assert count(one) == count(other)


def test_what_a_template_does_not_take_is_an_error_of_the_row(folder):
    with pytest.raises(RecordError, match="no kings"):
        Tokens.of(folder).count({"messages": [{"role": "king", "content": "x"}]})


def test_a_folder_has_one_name_wherever_it_lies_until_it_is_another_tokenizer(folder, tmp_path):
    name = Tokens.of(folder).name
    assert name.startswith("model@")
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "model")
    assert Tokens.of(moved).name == name
    config = json.loads((moved / "tokenizer_config.json").read_text())
    (moved / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 9}))
    assert Tokens.of(moved).name != name


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match="no tokenizer in"):
        Tokens.of(tmp_path)


def test_the_shipped_model_counts(tmp_path):
    pytest.importorskip("transformers")
    model = Path(__file__).parents[2] / "agentloop" / "local" / "tiny" / "model"
    assert Tokens.of(model).count(said(user("hi"), calls(("find", "{}", "c1")))) > 5


# ---------------------------------------------------------------------- what fits


def example(*context, weights=(), output=None):
    return SFTExample(
        context=context,
        output=output or says("the end"),
        weights=weights,
        unit="u",
        traces=("t",),
        calls=("c",),
    )


TALK = (
    system("rules"),
    user("one"),
    calls(("find", "{}", "c1")),
    returns("found", "c1"),
    says("first"),
    user("two"),
    says("second"),
    user("three"),
)


def messages_of(one):
    return len(one.context) + 1


def contents(one):
    return [message.content for message in one.context]


def test_what_fits_is_left_as_it_is():
    whole = example(*TALK)
    assert fitted(whole, messages_of, limit=9).example is whole
    assert fitted(whole, messages_of, limit=9).tokens == 9


def test_the_oldest_exchanges_go_as_few_as_will_do():
    shorter = fitted(example(*TALK), messages_of, limit=8, window=True)
    assert contents(shorter.example) == ["rules", "two", "second", "three"]
    assert (shorter.tokens, shorter.exchanges, shorter.messages) == (5, 1, 4)
    shortest = fitted(example(*TALK), messages_of, limit=3, window=True)
    assert contents(shortest.example) == ["rules", "three"]
    assert (shortest.tokens, shortest.exchanges, shortest.messages) == (3, 2, 6)


def test_the_last_exchange_is_never_cut():
    left = fitted(example(*TALK), messages_of, limit=2, window=True)
    assert (left.tokens, contents(left.example)) == (3, ["rules", "three"])


def test_without_a_window_nothing_is_dropped():
    assert fitted(example(*TALK), messages_of, limit=3).tokens == 9


def test_the_weights_of_what_stays_stay():
    masked = example(*TALK, weights=(0, 1, 0))
    assert fitted(masked, messages_of, limit=8, window=True).example.weights == (0,)


def test_instructions_in_the_middle_stay():
    talk = example(system("rules"), user("one"), says("a"), system("new rules"), user("two"))
    kept = fitted(talk, messages_of, limit=4, window=True)
    assert contents(kept.example) == ["rules", "new rules", "two"]
    assert (kept.tokens, kept.messages) == (4, 2)


def test_a_greeting_is_an_exchange_of_its_own():
    talk = example(system("rules"), says("Welcome!"), user("one"))
    assert contents(fitted(talk, messages_of, limit=3, window=True).example) == ["rules", "one"]


def test_what_a_user_says_in_two_messages_stays_together():
    talk = example(user("one"), says("a"), user("two"), user("and three"))
    kept = fitted(talk, messages_of, limit=3, window=True)
    assert contents(kept.example) == ["two", "and three"]


def test_a_task_is_windowed_too():
    task = RFTExample(
        context=TALK,
        fields={"reference_answer": "x"},
        rollouts=2,
        pass_rate=0.5,
        unit="u",
        traces=("t",),
        calls=("c",),
    )
    kept = fitted(task, lambda one: len(one.context), limit=2, window=True)
    assert contents(kept.example) == ["rules", "three"]


EXCHANGE = st.lists(
    st.sampled_from(["answer", "call", "two calls", "late call", "system", "user"]), max_size=4
)


def conversation(exchanges):
    """Exchanges in which a call may be answered long after."""
    made, waiting = [system("rules")], []
    for n, steps in enumerate(exchanges):
        made.append(user(f"user {n}"))
        for k, step in enumerate(steps):
            id = f"{n}-{k}"
            match step:
                case "answer":
                    made.append(says(id))
                case "call":
                    made += [calls(("find", "{}", id)), returns("found", id)]
                case "two calls":
                    both = [("find", "{}", f"{id}a"), ("find", "{}", f"{id}b")]
                    made += [calls(*both), *(returns("found", b[2]) for b in both)]
                case "late call":
                    made.append(calls(("find", "{}", id)))
                    waiting.append(returns("at last", id))
                case "system":
                    made.append(system(id))
                case "user":
                    made.append(user(id))
        if n % 2:
            made += waiting
            waiting = []
    return (*made, *waiting, user("last"))


@given(st.lists(EXCHANGE, max_size=6), st.integers(1, 40))
def test_a_window_keeps_every_call_with_its_answer(exchanges, limit):
    whole = example(*conversation(exchanges))
    kept = fitted(whole, messages_of, limit=limit, window=True)
    context = kept.example.context
    asked = [call.id for m in context for call in m.calls]
    answered = [str(m.tool_call_id) for m in context if m.role == "tool"]
    assert sorted(asked) == sorted(answered)
    assert [m for m in context if m.role == "system"] == [
        m for m in whole.context if m.role == "system"
    ]
    assert context[-1].content == "last"
    spoken = [m for m in context if m.role != "system"]
    assert spoken == [m for m in whole.context if m.role != "system"][-len(spoken) :]
    assert spoken[0].role == "user"
    assert kept.tokens == messages_of(kept.example)
    assert kept.messages == len(whole.context) - len(context)


@given(st.lists(EXCHANGE, max_size=6), st.integers(1, 40))
def test_no_more_is_dropped_than_must_be(exchanges, limit):
    whole = example(*conversation(exchanges))
    kept = fitted(whole, messages_of, limit=limit, window=True)
    if kept.exchanges:
        one_less = cuts(whole.context)[: kept.exchanges - 1]
        spared = fitted(whole, messages_of, limit=kept.messages + kept.tokens, window=True)
        assert spared.exchanges == 0
        if one_less:
            longer = (
                len(whole.context[one_less[-1] :])
                + 1
                + sum(m.role == "system" for m in whole.context[: one_less[-1]])
            )
            assert longer > limit
    else:
        assert kept.example is whole
