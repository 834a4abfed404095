"""A row after redaction: nobody's data is in it, and it fits together as before."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.base.errors import ConfigError
from agentloop.base.records import DPOExample
from agentloop.harvest.redaction import Patterns, Redactor
from tests.harvest.redaction.makers import an_example, asks, returns, says, system, texts, user
from tests.makers import TOOL, message

EMAIL, PHONE, CARD = "ann@work.org", "+1 (415) 555-0132", "4532 2766 4457 7020"


def redacted(*said, **fields):
    return Redactor().redact(an_example(*said, **fields))


def test_arguments_of_tools_join_with_what_users_and_tools_said():
    example, kinds = redacted(
        system(),
        user(f"I am {EMAIL}, call me at {PHONE}. Card {CARD}."),
        asks(arguments='{"email":"ann@work.org",  "phone":4155550132, "id": "4532276644577020"}'),
        returns('{"mail": "Ann@Work.org", "card": "4532-2766-4457-7020"}'),
        says("Done, ann@work.org: we call 415-555-0132."),
    )
    assert texts(example) == [
        "You help.",
        "I am person1@example.com, call me at +1 (555) 555-0101. Card 4000 0000 0000 0001.",
        '{"email":"person1@example.com",  "phone":5555550101, "id": "4000000000000001"}',
        '{"mail": "person1@example.com", "card": "4000-0000-0000-0001"}',
        "Done, person1@example.com: we call 555-555-0101.",
    ]
    assert kinds == {"card": 3, "email": 4, "phone": 3}


def test_of_arguments_no_other_byte_changes():
    arguments = '{ "to":"ann\\u0040work.org\\n",\t"n": 1.0e3,"path":"a\\/b", "e":"\\ud83d\\ude00" }'
    example, _ = redacted(user(), asks(arguments=arguments), returns(), says())
    assert texts(example)[1] == arguments.replace("ann\\u0040work.org", "person1@example.com")


def test_json_within_json_is_redacted_and_stays_json():
    inner = json.dumps({"note": f"line\n{EMAIL}\n", "phone": PHONE})
    example, _ = redacted(
        user(), asks(arguments=json.dumps({"body": inner})), returns(inner), says()
    )
    _, arguments, result, _ = texts(example)
    assert json.loads(json.loads(arguments)["body"]) == json.loads(result)
    assert json.loads(result)["note"] == "line\nperson1@example.com\n"


def test_arguments_that_are_no_json_are_redacted_as_text():
    example, _ = redacted(user(), asks(arguments=f'{{"to": "{EMAIL}", \\n'), returns(), says())
    assert texts(example)[1] == '{"to": "person1@example.com", \\n'


def test_what_was_told_apart_once_is_replaced_wherever_it_stands():
    example, _ = redacted(user("my phone is 4155550132"), says("I noted 4155550132 as ticket 7."))
    assert texts(example)[1] == "I noted 5555550101 as ticket 7."


def test_a_number_that_nobody_called_a_phone_stays():
    said = (user("order 4155550132"), says("Order 4155550132 is on its way."))
    example = an_example(*said)
    assert Redactor().redact(example).example is example


def test_a_password_is_replaced_where_it_is_said_again():
    example, _ = redacted(user("password: hunter22!"), says("I tried hunter22! and shunter22!"))
    assert texts(example)[1] == "I tried xxxxxxxx1 and shunter22!"


def test_parts_images_and_unknown_keys_are_redacted_and_data_is_not():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA+4155550132/"}}
    asked = message("user", [{"type": "text", "text": f"I am {EMAIL}"}, image])
    answer = message("assistant", "ok", reasoning=f"They are {EMAIL}.", id=EMAIL)
    example, _ = redacted(asked, answer)
    assert example.context[0].content == [
        {"type": "text", "text": "I am person1@example.com"},
        image,
    ]
    assert example.output.to_dict()["reasoning"] == "They are person1@example.com."
    assert example.output.to_dict()["id"] == EMAIL, "names things of the protocol"


def test_an_address_in_a_tools_description_is_redacted_too():
    tool = {"type": "function", "function": {"name": "mail", "description": f"As {EMAIL}."}}
    example, kinds = redacted(user(f"I am {EMAIL}"), says(), tools=(tool, TOOL))
    assert example.tools[0]["function"]["description"] == "As person1@example.com."
    assert example.tools[1] == TOOL
    assert kinds == {"email": 2}


def test_both_answers_of_a_pair_are_redacted_alike():
    origin = {"unit": "u", "traces": ("t",), "calls": ("c",), "margin": 1.0, "source": "trial"}
    pair = DPOExample(
        context=(user("hi"),), preferred=says(f"to {EMAIL}"), rejected=says(EMAIL), **origin
    )
    example, _ = Redactor().redact(pair)
    assert (example.preferred.text, example.rejected.text) == (
        "to person1@example.com",
        "person1@example.com",
    )


def test_a_reference_is_redacted_by_what_its_keys_say():
    example, kinds = redacted(
        user("call me back"),
        reference_answer={"phone": "4155550132", "mobile": 4155550133, "order_id": 4155550134},
    )
    assert example.fields["reference_answer"] == {
        "phone": "5555550101",
        "mobile": 5555550102,
        "order_id": 4155550134,
    }
    assert kinds == {"phone": 2}


def test_what_may_stay_stays():
    example, kinds = Redactor(keep=["Help@Shop.com", "@larch.com", "415-555-0132"]).redact(
        an_example(user(f"help@shop.com a@larch.com {EMAIL} 415-555-0132"), says())
    )
    assert texts(example)[0] == "help@shop.com a@larch.com person1@example.com 415-555-0132"
    assert kinds == {"email": 1}


def test_a_redactor_is_made_again_of_what_the_recipe_says():
    redactor = Redactor(keep=["@shop.com"])
    again = Redactor.of(json.loads(json.dumps(redactor.recipe)))
    assert again.recipe == redactor.recipe
    assert Redactor.of(True).recipe == {"detector": "agentloop", "version": "1"}
    assert Redactor.of(redactor) is redactor
    assert Redactor.of(False) is None


def test_an_unknown_way_to_redact_is_an_error():
    with pytest.raises(ConfigError, match="'names'"):
        Redactor.of("names")


# ------------------------------------------------------------------------ whatever is said

VALUES = st.sampled_from(
    [
        EMAIL,
        "Bo.Lee@mail.shop.net",
        PHONE,
        "415.555.0132",
        "call me at 030 12345678",
        "+49 30 12345678",
        CARD,
        "card 4222222222222",
        "DE89 3704 0044 0532 0130 00",
        "531-21-7351",
        "ssn 531 21 7351",
        "58.74.121.78",
        "2a02:8109:9a40::1:2",
        "token=ghp_" + "a1B2" * 9,
        "password: hunter22!",
        "-----BEGIN PRIVATE KEY-----\nMIIEow9\nIBAAK\n-----END PRIVATE KEY-----",
        "https://bob:s3cret@shop.net/x",
        "order 4155550132",
        "phone",
        "call me",
        "person1@example.com",
    ]
)
PIECES = st.lists(
    st.one_of(
        VALUES,
        st.text(alphabet='abc XYZ:=@.-+()/"\\\n\t{}[],0123456789é\u00a0', max_size=12),
        st.text(max_size=6),
    ),
    max_size=8,
)
TEXTS = PIECES.map(lambda pieces: " ".join(pieces)) | PIECES.map("".join)
JSONS = st.recursive(
    TEXTS | st.integers(-(10**16), 10**16) | st.none() | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(TEXTS, TEXTS, JSONS, st.booleans())
def test_redacted_again_nothing_more_changes(asked, said, value, ascii):
    arguments = json.dumps({"value": value}, ensure_ascii=ascii)
    first = redacted(user(asked), asks(arguments=arguments), returns(said), says(asked))
    again = Redactor().redact(first.example)
    assert again.example is first.example
    assert again.kinds == {}


@settings(max_examples=200)
@given(JSONS, TEXTS, st.booleans(), st.sampled_from([None, 2]))
def test_arguments_stay_json_of_the_same_shape(value, asked, ascii, indent):
    arguments = json.dumps({"value": value}, ensure_ascii=ascii, indent=indent)
    example, _ = redacted(user(asked), asks(arguments=arguments), returns(), says())
    assert shape(json.loads(texts(example)[1])) == shape({"value": value})


def shape(value):
    if isinstance(value, dict):
        return [shape(inner) for inner in value.values()]
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value)


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_arguments_say_what_the_text_says(values):
    text = "; ".join(values)
    example, _ = redacted(user(text), asks(arguments=json.dumps({"said": text})), returns(), says())
    assert json.loads(texts(example)[1])["said"] == texts(example)[0]


@given(TEXTS, JSONS)
def test_where_nothing_is_found_the_very_example_comes_back(asked, value):
    example = an_example(user(asked), asks(arguments=json.dumps({"v": value})), returns(), says())
    result = Redactor().redact(example)
    if not result.kinds:
        assert result.example is example


@given(st.lists(TEXTS, min_size=2, max_size=4))
def test_nothing_that_was_found_is_left(said):
    messages = [user(text) for text in said]
    example, _ = redacted(*messages, says())
    for text in texts(example):
        assert Patterns().find(text) == []
