"""What the tiny model learned from: the same for the same seed, and nothing of the demo."""

import json
import re
from itertools import islice

import pytest

from agentloop.local.tiny import invented, values
from agentloop.local.tiny.chat import signature
from agentloop.local.tiny.corpus import corpus
from agentloop.local.tiny.domains import HELD_OUT, domains, parsed
from agentloop.ui.demo import requests as demo

DEMO_TOOLS = {
    "find_order",
    "track_parcel",
    "cancel_order",
    "refund_order",
    "change_address",
    "open_case",
    "transfer_to_billing",
}
DEMO_SENTENCES = [
    *(said for seasons in demo.LEARNING.values() for season in seasons for said in season),
    *(said for sentences in demo.HELD_OUT.values() for said in sentences),
]


@pytest.fixture(scope="module")
def conversations():
    return list(islice(corpus("test"), 4000))


def skeleton(sentence):
    """A sentence without case, punctuation and what fills its slots."""
    bare = re.sub(r"{\w+}", "_", sentence.lower())
    return re.sub(r"[^\w ]", "", bare)


def calls(conversation):
    return [c["function"] for m in conversation.messages for c in m.get("tool_calls") or ()]


def test_the_same_seed_draws_the_same_conversations():
    assert list(islice(corpus(5), 50)) == list(islice(corpus(5), 50))


def test_another_seed_draws_others():
    assert list(islice(corpus(5), 5)) != list(islice(corpus(6), 5))


def test_no_tool_of_the_demo_is_ever_offered(conversations):
    named = {t["function"]["name"] for c in conversations for t in c.tools}
    written = {name for d in (*domains(), *domains(HELD_OUT)) for t in d.tools for name in t.names}
    assert not DEMO_TOOLS & (named | written)


def test_no_wish_is_a_sentence_of_the_demo():
    wishes = [w.sentence for d in domains() for tool in d.tools for w in tool.wishes]
    assert not {skeleton(s) for s in DEMO_SENTENCES} & {skeleton(w) for w in wishes}


def test_nobody_ever_says_a_sentence_of_the_demo(conversations):
    filled = {"{o}": "[A-Za-z]{0,2}-?[0-9]+", "{c}": "[A-Za-z]+"}
    patterns = []
    for sentence in DEMO_SENTENCES:
        pattern = re.escape(sentence.lower().rstrip("?.")).replace(r"\{", "{").replace(r"\}", "}")
        for slot, value in filled.items():
            pattern = pattern.replace(slot, value)
        patterns.append(pattern)
    said_by_the_demo = re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE)
    for conversation in conversations:
        for message in conversation.messages:
            if message["role"] == "user":
                text = message["content"].rstrip("?.!")
                assert not said_by_the_demo.fullmatch(text), text


def test_no_list_or_wish_holds_a_value_of_the_demo():
    lists = (values.CITIES, values.THINGS, values.BRANDS, values.TOPICS, invented.NOUNS)
    wishes = [w.sentence for d in domains() for tool in d.tools for w in tool.wishes]
    words = re.findall(r"[A-Za-z]+", " ".join([" ".join(entries) for entries in lists] + wishes))
    assert not {*demo.CITIES, *demo.ITEMS, *demo.CARRIERS} & set(words)


def test_calls_name_an_offered_tool_and_its_arguments_in_order(conversations):
    for conversation in conversations:
        offered = {t["function"]["name"]: t["function"] for t in conversation.tools}
        handed_over = conversation.unlearned
        for call in calls(conversation):
            if call["name"] not in offered and handed_over:
                continue
            parameters = offered[call["name"]]["parameters"]
            arguments = json.loads(call["arguments"])
            assert [n for n in parameters["properties"] if n in arguments] == list(arguments)
            assert set(parameters["required"]) <= set(arguments) | _unasked(conversation)
            for name, value in arguments.items():
                allowed = parameters["properties"][name].get("enum")
                assert allowed is None or value in allowed


def _unasked(conversation):
    """Arguments that a wish never states: the trades leave some of them to the agent."""
    return {n for t in conversation.tools for n in t["function"]["parameters"]["properties"]}


def test_ids_in_calls_were_said_by_somebody(conversations):
    for conversation in conversations[:1000]:
        said = " ".join(m.get("content") or "" for m in conversation.messages)
        for call in calls(conversation):
            for value in json.loads(call["arguments"]).values():
                if re.fullmatch(r"[A-Z]{0,2}-?\d+", str(value)):
                    assert str(value) in said


def test_all_kinds_of_turns_occur(conversations):
    def some(test):
        return any(test(c) for c in conversations)

    assert some(lambda c: any(len(m.get("tool_calls") or ()) == 2 for m in c.messages))
    assert some(lambda c: any("transfer_to_" in call["name"] for call in calls(c)))
    assert some(lambda c: '{"assistant": "' in str(c.messages) and c.unlearned)
    assert some(lambda c: any('{"error": ' in (m.get("content") or "") for m in c.messages))
    assert some(lambda c: any("cannot help" in (m.get("content") or "") for m in c.messages))
    assert some(lambda c: any("Which " in (m.get("content") or "") for m in c.messages))


def test_a_signature_is_one_short_line(conversations):
    for tool in conversations[0].tools:
        assert re.fullmatch(r"(.+ )?\w+\([^)\n]*\)", signature(tool))


def test_a_broken_trade_says_which_line_is_wrong():
    with pytest.raises(ValueError, match="not a tool: 'nonsense'"):
        list(parsed("# trade | desk\nnonsense\n"))
    with pytest.raises(ValueError, match=r"slots \{'b_id'\}"):
        list(parsed("# trade | desk\nsee(a_id: id) See. -> result: ok\n  see {b_id}\n"))
    with pytest.raises(ValueError, match="does not say which"):
        list(parsed("# trade | desk\nsee(kind: x|y) See. -> result: ok\n  see it\n"))
