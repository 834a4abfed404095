"""What a model wrote, taken apart; and tokens that become text."""

from typing import Any

import pytest

from agentloop.local.inference.dialect import Dialect
from agentloop.local.inference.reading import Called, Piece, Reader, Said, Thought, message
from agentloop.local.inference.transcript import Transcript
from tests.local.parrot import READING

CALL = '<tool_call>{"name": "f", "arguments": {"a": "é"}}</tool_call>'
FIELDS: dict[str, Any] = READING["fields"]
FORMS = {"its own": READING, "hermes": None}


def read(text, step=None, template=None, tools=True, prompt="", **options):
    reader = Reader(template, prompt, tools=tools, **options)
    step = step or len(text) or 1
    pieces = [p for n in range(0, len(text), step) for p in reader.feed(text[n : n + step])]
    return [*pieces, *reader.end()]


def told(pieces):
    """Neighbouring texts joined, so that it does not matter how they came."""
    made: list[Piece] = []
    for piece in pieces:
        if made and isinstance(piece, Said) and isinstance(made[-1], Said):
            made[-1] = Said(made[-1].text + piece.text)
        else:
            made.append(piece)
    return made


@pytest.mark.parametrize("template", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello", [Said("Hello")]),
        ("  Hello \n there \n", [Said("Hello \n there")]),
        (CALL, [Called("f", '{"a": "é"}')]),
        (f"Wait.\n{CALL}\n", [Said("Wait."), Called("f", '{"a": "é"}')]),
        (f"{CALL}\n{CALL}", [Called("f", '{"a": "é"}')] * 2),
        ("a < b <tool", [Said("a < b <tool")]),
        ('<tool_call>{"name": "f", "arg', [Said('<tool_call>{"name": "f", "arg')]),
        ("<tool_call>{oops}</tool_call>", [Said("<tool_call>{oops}</tool_call>")]),
        ("<tool_call>[1]</tool_call>", [Said("<tool_call>[1]</tool_call>")]),
        ('<tool_call>{"arguments": {}}</tool_call>', None),
        ('<tool_call>{"name": 7}</tool_call>', None),
        ('<tool_call>{"name": "f", "arguments": "[]"}</tool_call>', None),
        ('<tool_call>{"name": "f"}</tool_call>', [Called("f", "{}")]),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', [Called("f", "{}")]),
        (f"{CALL}<tool_call>no", [Called("f", '{"a": "é"}'), Said("<tool_call>no")]),
        ("", []),
    ],
)
def test_text_and_calls_are_told_apart_however_they_come(text, pieces, step, template):
    wanted = [Said(text)] if pieces is None else pieces
    assert told(read(text, step, template)) == wanted


def test_without_tools_a_call_is_text():
    assert told(read(CALL, 1, tools=False)) == [Said(CALL)]


def test_reasoning_is_apart_even_when_the_prompt_began_it():
    own = {
        **READING,
        "fields": {
            **FIELDS,
            "reasoning_content": {"open": "<think>", "close": "</think>", "content": "text"},
        },
    }
    for text, options in (
        ("<think>so so</think>Yes", {}),
        ("so so</think>Yes", {"template": own, "prompt": "<|im_start|>assistant\n<think>"}),
    ):
        made = message(read(text, 2, **options))
        assert (made["reasoning_content"], made["content"]) == ("so so", "Yes")
    assert any(isinstance(piece, Thought) for piece in read("<think>so</think>"))


def test_a_message_has_openais_form():
    made = message([Called("f", "{}"), Called("g", "{}")])
    assert made["content"] is None
    assert [call["function"]["name"] for call in made["tool_calls"]] == ["f", "g"]
    assert message([]) == {"role": "assistant", "content": "", "refusal": None}


def test_no_more_calls_than_are_wanted():
    assert len(read(CALL * 3, 5, at_most=1)) == 1


class TestTranscripts:
    @pytest.fixture
    def tokenizer(self, base):
        return Dialect(base).tokenizer

    def write(self, tokenizer, text, stops=()):
        transcript = Transcript(tokenizer, stops)
        pieces = [transcript.add(id) for id in tokenizer.encode(text, add_special_tokens=False)]
        return [*pieces, transcript.end()], transcript.stopped

    def test_characters_of_several_tokens_come_whole(self, tokenizer):
        pieces, _ = self.write(tokenizer, "ä 🎈 ok")
        assert "".join(pieces) == "ä 🎈 ok"
        assert all("�" not in piece for piece in pieces)

    def test_half_a_character_at_the_end_is_said_as_such(self, tokenizer):
        transcript = Transcript(tokenizer)
        ids = tokenizer.encode("🎈", add_special_tokens=False)
        said = "".join(transcript.add(id) for id in ids[:-1]) + transcript.end()
        assert said == "�"

    @pytest.mark.parametrize(
        ("stops", "text", "stopped"),
        [
            (["STOP"], "one ", True),
            (["two", "ST"], "one ", True),
            (["STOPS"], "one STOP two", False),
            (["o tw", " two"], "one STOP", True),
        ],
    )
    def test_nothing_of_a_stop_is_said(self, tokenizer, stops, text, stopped):
        pieces, was = self.write(tokenizer, "one STOP two", stops)
        assert ("".join(pieces), was) == (text, stopped)
