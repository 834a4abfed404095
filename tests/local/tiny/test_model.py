"""The shipped model: small, loadable, and able to call a tool that it has never seen."""

import json
import subprocess
import sys

import pytest

from agentloop.local import tiny
from tests.local.tiny.test_chat import MESSAGES, TOOLS

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("torch")
    from agentloop.local.tiny.evaluate import loaded

    return loaded(tiny.folder())


def test_everything_fits_in_eight_megabytes():
    assert sum(file.stat().st_size for file in tiny.folder().iterdir()) < 8 * MEGABYTE


def test_the_folder_holds_a_model_card_and_what_transformers_needs():
    names = {file.name for file in tiny.folder().iterdir()}
    assert names >= {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_finding_it_loads_no_torch():
    code = "import sys; from agentloop.local import tiny; tiny.folder(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers"} & set(ran.stdout.split())


def test_its_template_is_the_one_in_the_source():
    shipped = (tiny.folder() / "chat_template.jinja").read_text(encoding="utf-8")
    source = tiny.folder().parent / "chat_template.jinja"
    assert shipped == source.read_text(encoding="utf-8")


def test_it_needs_no_remote_code_and_ends_where_the_template_ends(model):
    network, tokenizer = model
    assert type(network).__name__ == "Qwen3ForCausalLM"
    assert network.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert network.generation_config.pad_token_id == tokenizer.pad_token_id


def test_it_often_calls_right_in_trades_that_it_has_never_seen(model):
    from agentloop.local.tiny.evaluate import held_out, rates

    network, tokenizer = model
    found = rates(network, tokenizer, held_out(64, unseen=True))
    assert found.valid >= 0.9
    assert found.tool >= 0.5
    assert found.exact >= 0.4


def test_it_answers_from_the_result(model):
    from agentloop.local.tiny.evaluate import complete, prompt_of

    network, tokenizer = model
    (text,) = complete(network, tokenizer, [prompt_of(MESSAGES[:-1], TOOLS)])
    assert "moved" in text


def test_malformed_calls_are_no_calls(model):
    from agentloop.local.tiny.evaluate import call_in

    _, tokenizer = model
    assert call_in(tokenizer, '<tool_call>\n{"name": "a", "arg\n</tool_call>') is None
    assert call_in(tokenizer, "Hello!") is None
    assert call_in(tokenizer, '<tool_call>\n["a"]\n</tool_call>') is None
    good = json.dumps({"name": "a", "arguments": {"b": 1}})
    assert call_in(tokenizer, f"<tool_call>\n{good}\n</tool_call>") == json.loads(good)


def test_it_mostly_calls_right_in_trades_it_knows(model):
    from agentloop.local.tiny.evaluate import held_out, rates

    network, tokenizer = model
    found = rates(network, tokenizer, held_out(32, unseen=False))
    assert found.valid >= 0.9
    assert found.exact >= 0.6
