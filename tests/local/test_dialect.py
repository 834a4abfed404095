"""Chat templates of many makes: prompts, and labels that learn what the assistant wrote."""

import json
import shutil
from importlib.resources import files

import pytest

from agentloop.base.errors import ConfigError, RecordError
from agentloop.local.inference.dialect import MASKED, Dialect
from tests.local.parrot import SYSTEM, TEMPLATE, TOOLS, calls, result, says, user

THEIRS = files("trl") / "chat_templates"
UNMARKED = TEMPLATE.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
# Old reasoning is left out: what is before a message depends on what comes after it.
FORGETFUL = UNMARKED.replace(
    "{{- message.content -}}\n{%- for",
    "{{- '<think>hm</think>' if loop.last }}{{- message.content -}}\n{%- for",
)
TALK = [
    SYSTEM,
    user("both"),
    calls(("get_order", {"id": "1"}), ("get_order", {"id": "2"}), content="Let me see."),
    result("shipped", 1),
    result("lost", 2),
    says("One is shipped, one is lost."),
]


@pytest.fixture
def speaking(base, tmp_path):
    """A dialect with another template."""

    def make(template):
        folder = tmp_path / "model"
        shutil.copytree(base, folder, dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        return Dialect(folder)

    return make


def learned(dialect, lesson):
    """The texts that are learned, one for each run of labels."""
    runs: list[list[int]] = []
    open_run: list[int] = []
    for id, label in zip(lesson.ids, [*lesson.labels], strict=True):
        assert label in (MASKED, id)
        if label == MASKED:
            runs, open_run = ([*runs, open_run] if open_run else runs), []
        else:
            open_run.append(id)
    return [dialect.tokenizer.decode(run) for run in [*runs, open_run] if run]


CALLED = (
    'Let me see.<tool_call>{"name": "get_order", "arguments": {"id": "1"}}</tool_call>'
    '<tool_call>{"name": "get_order", "arguments": {"id": "2"}}</tool_call><|im_end|>'
)
ANSWERED = "One is shipped, one is lost.<|im_end|>"


@pytest.mark.parametrize("template", [TEMPLATE, UNMARKED], ids=["marked", "unmarked"])
class TestLessons:
    def test_what_the_assistant_wrote_is_learned_ends_included(self, speaking, template):
        dialect = speaking(template)
        (lesson,) = dialect.lessons(TALK, TOOLS)
        assert learned(dialect, lesson) == [CALLED, ANSWERED]

    def test_a_message_of_weight_0_is_not(self, speaking, template):
        dialect = speaking(template)
        for n, left in ((2, [ANSWERED]), (5, [CALLED])):
            talk = [{**m, "weight": 0} if k == n else m for k, m in enumerate(TALK)]
            (lesson,) = dialect.lessons(talk, TOOLS)
            assert learned(dialect, lesson) == left

    def test_the_tokens_are_those_of_the_conversation(self, speaking, template):
        dialect = speaking(template)
        (lesson,) = dialect.lessons(TALK, TOOLS)
        whole = dialect.tokenizer.apply_chat_template(TALK, tools=TOOLS, tokenize=False)
        assert dialect.tokenizer.decode(lesson.ids) == whole

    def test_prompt_and_answer_are_the_lesson(self, speaking, template):
        dialect = speaking(template)
        (lesson,) = dialect.lessons(TALK, TOOLS)
        prompt = dialect.prompt(TALK[:-1], TOOLS)
        answer = dialect.answer(TALK[:-1], TOOLS, TALK[-1])
        both = [*prompt.ids, *answer.ids]
        assert lesson.ids[: len(both)] == both
        assert dialect.tokenizer.decode(answer.ids) == ANSWERED

    def test_a_conversation_that_the_assistant_begins(self, speaking, template):
        dialect = speaking(template)
        (lesson,) = dialect.lessons([says("Welcome!"), user("hi"), says("Hello!")])
        assert learned(dialect, lesson)[-1] == "Hello!<|im_end|>"
        assert "Welcome!<|im_end|>" in learned(dialect, lesson)[0]


def test_where_the_past_is_written_differently_each_answer_is_a_lesson(speaking):
    dialect = speaking(FORGETFUL)
    first, second = dialect.lessons(TALK, TOOLS)
    assert learned(dialect, first) == ["<think>hm</think>" + CALLED]
    assert learned(dialect, second) == ["<think>hm</think>" + ANSWERED]
    assert "<think>hm</think>Let me see" not in dialect.tokenizer.decode(second.ids)
    talk = [
        {**m, "weight": 0} if m["role"] == "assistant" and "calls" in str(m) else m for m in TALK
    ]
    assert [learned(dialect, one) for one in dialect.lessons(talk, TOOLS)] == [
        ["<think>hm</think>" + ANSWERED]
    ]


def test_arguments_are_written_once_whatever_the_template_wants(speaking):
    objects = UNMARKED.replace(
        "call.function.arguments if call.function.arguments is string\n    else ", ""
    )
    assert objects != UNMARKED
    for template in (UNMARKED, objects):
        assert '"arguments": {"id": "1"}' in speaking(template).prompt(TALK[:-1], TOOLS).text


def test_developer_is_system_where_the_template_does_not_know_it(speaking):
    talk = [{"role": "developer", "content": "x"}, user("hi")]
    assert "<|im_start|>system\nx" in speaking(TEMPLATE).prompt(talk).text
    knows = TEMPLATE + "{#- developer -#}"
    assert "<|im_start|>developer\nx" in speaking(knows).prompt(talk).text


@pytest.mark.parametrize(
    "name",
    ["qwen3", "qwen2_5", "qwen3_training", "llama3_1", "gptoss", "glm4moe", "qwen3_instruct_2507"],
)
def test_real_templates_make_prompts_and_lessons(speaking, name):
    path = THEIRS / f"{name}.jinja"
    if not path.is_file():
        pytest.skip(f"this TRL has no template {name}")
    dialect = speaking(path.read_text())
    talk = [m for m in TALK if "tool_call_id" not in m or m["tool_call_id"] == "call_1"]
    talk[2] = calls(("get_order", {"id": "7342"}), content="")
    prompt = dialect.prompt(talk[:2], TOOLS).text
    assert "both" in prompt
    assert "get_order" in prompt
    lessons = dialect.lessons(talk, TOOLS)
    texts = "".join(text for lesson in lessons for text in learned(dialect, lesson))
    assert "One is shipped" in texts
    assert "7342" in texts
    for other in ("both", "You are the shop", "shipped\n", "Look up an order"):
        assert other not in texts
    masked = [{**m, "weight": 0} if "tool_calls" in m else m for m in talk]
    left = "".join(
        text for lesson in dialect.lessons(masked, TOOLS) for text in learned(dialect, lesson)
    )
    assert "One is shipped" in left
    assert "7342" not in left


def test_a_template_that_refuses_says_so(speaking):
    dialect = speaking("{{ raise_exception('no tools, please') if tools }}x")
    with pytest.raises(RecordError, match="no tools, please"):
        dialect.prompt([user("hi")], TOOLS)


def test_what_the_model_cannot_read_is_refused(base):
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    with pytest.raises(RecordError, match="image_url"):
        Dialect(base).prompt([{"role": "user", "content": [image]}])


def test_a_folder_that_cannot_talk_is_refused(base, tmp_path):
    with pytest.raises(ConfigError, match="cannot read the tokenizer"):
        Dialect(tmp_path)
    shutil.copytree(base, tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").unlink()
    config = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (tmp_path / "m" / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="chat template"):
        Dialect(tmp_path / "m")


def test_limits_and_ends_are_the_models_own(base):
    dialect = Dialect(base)
    assert dialect.context == 1024
    assert dialect.tokenizer.decode(list(dialect.ends)) == "<|im_end|>"
