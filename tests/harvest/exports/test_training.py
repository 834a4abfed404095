"""Every export, loaded by Hugging Face `datasets`, is trained on for one step by TRL's trainers, on
the tiny base model that comes with the package; and what is learned is what a row says.
"""

import json
import os

# Waiting threads that spin make two torch processes on two cores some twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

pytest.importorskip("trl", reason="the extra `local` is not installed")

import datasets

from agentloop.harvest.exports import export
from agentloop.local import tiny
from agentloop.local.inference.dialect import MASKED, Dialect
from tests.harvest.checks.makers import a_dpo, a_kto, an_rft, an_sft, changed, said
from tests.harvest.exports.makers import a_dataset, masked
from tests.harvest.exports.test_writing import FORMATS, loaded
from tests.makers import asks, returns, says, system, user

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SEARCH = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Find a thing.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    },
}
"""Unlike the tool of the other rows, so that a library that mixes their keys shows it."""
CALLS = said(
    an_sft(tools=[SEARCH]),
    system(),
    user("Find a pen and a cup."),
    asks(arguments='{"q": "pen"}'),
    returns("shelf 4"),
    asks(arguments='{"q": "cup", "near": {"shelf": 4}}', id="c2"),
    returns("shelf 5", id="c2"),
    says("Shelves 4 and 5."),
)


@pytest.fixture(scope="module")
def dialect():
    """The tiny model's template and tokenizer, as the local provider uses them."""
    import torch

    torch.set_num_threads(1)
    return Dialect(tiny.folder())


@pytest.fixture(autouse=True)
def _quietly(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def trained(tmp_path):
    """A trainer of TRL after one step on an export."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def train(method, rows, format, trainer, config, **more):
        settings = more.pop("settings", {})
        export(a_dataset(method, rows=rows), format, tmp_path / "out")
        made = trainer(
            model=AutoModelForCausalLM.from_pretrained(tiny.folder(), dtype="float32"),
            args=config(
                output_dir=str(tmp_path / "run"),
                max_steps=1,
                per_device_train_batch_size=2,
                report_to="none",
                save_strategy="no",
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
                logging_steps=1,
                **settings,
            ),
            train_dataset=loaded(tmp_path / "out", format)["train"],
            processing_class=AutoTokenizer.from_pretrained(tiny.folder()),
            **more,
        )
        made.train()
        assert made.state.global_step == 1
        return made

    return train


def learned(ids, labels):
    """All tokens up to the last that is learned, and which of them are."""
    end = max(n for n, token in enumerate(labels) if token != MASKED) + 1
    return list(ids)[:end], list(labels)[:end]


def wanted(dialect, row):
    """What the local provider learns of a row."""
    (lesson,) = dialect.lessons(row["messages"], row["tools"])
    return learned(lesson.ids, lesson.labels)


@pytest.mark.parametrize("format", FORMATS)
def test_sft_learns_what_the_local_provider_learns(trained, dialect, format):
    from trl import SFTConfig, SFTTrainer

    rows = [an_sft(1), CALLS]
    settings = {"assistant_only_loss": True, "max_length": None}
    done = trained("sft", rows, format, SFTTrainer, SFTConfig, settings=settings)
    assert done.state.log_history[0]["loss"] > 0
    for row, ours in zip(done.train_dataset, rows, strict=True):
        theirs, mine = learned(row["input_ids"], row["labels"]), wanted(dialect, ours)
        assert theirs == mine


def test_sft_learns_no_masked_turn_and_each_other_turn_once(trained, dialect):
    from trl import SFTConfig, SFTTrainer

    rows = [masked(1), changed(CALLS, "messages", 4, "weight", to=0)]
    settings = {"max_length": None}
    done = trained("sft", rows, "trl", SFTTrainer, SFTConfig, settings=settings)
    texts = [
        dialect.tokenizer.decode([t for t in row["labels"] if t != MASKED])
        for row in done.train_dataset
    ]
    assert [text.removesuffix("\n") for text in texts] == [
        "On 1.<|im_end|>",
        '<tool_call>\n{"name": "find", "arguments": {"q": "pen"}}\n</tool_call><|im_end|>',
        "Shelves 4 and 5.<|im_end|>",
    ]
    assert '"near": {"shelf": 4}' in dialect.tokenizer.decode(done.train_dataset[2]["input_ids"])


@pytest.mark.parametrize("format", FORMATS)
def test_dpo_compares_two_answers_to_what_the_model_sees(trained, dialect, format):
    from trl import DPOConfig, DPOTrainer

    call = asks(arguments='{"q": "pen"}').to_dict()
    given = {"messages": a_dpo(2)["input"]["messages"], "tools": [SEARCH]}
    rows = [a_dpo(1), a_dpo(2, input=given, preferred_output=[call])]
    done = trained("dpo", rows, format, DPOTrainer, DPOConfig, settings={"max_length": None})
    assert done.state.log_history[0]["loss"] > 0
    second = done.train_dataset[1]
    told = dialect.prompt(given["messages"], given["tools"])
    assert second["prompt_ids"] == told.ids
    answer = dialect.answer(given["messages"], given["tools"], call).ids
    assert second["chosen_ids"][: len(answer)] == answer


@pytest.mark.parametrize(
    ("rows", "format"),
    [
        ([a_dpo(1), a_dpo(2)], "kto"),
        ([a_kto(n, label=n % 2 == 0) for n in range(4)], "trl"),
        ([a_kto(n, label=n % 2 == 0) for n in range(4)], "parquet"),
    ],
)
def test_kto_weighs_single_verdicts(trained, rows, format):
    from trl import KTOConfig, KTOTrainer

    method = "kto" if "label" in rows[0] else "dpo"
    done = trained(method, rows, format, KTOTrainer, KTOConfig, settings={"max_length": None})
    assert done.state.log_history[0]["loss"] > 0
    assert list(done.train_dataset["label"]) == [True, False, True, False]


@pytest.mark.parametrize("format", FORMATS)
def test_grpo_hands_each_answer_to_a_reward_with_the_fields_of_its_row(trained, format):
    from trl import GRPOConfig, GRPOTrainer

    seen = []

    def reward(completions, reference, wanted, **_):
        seen.extend(zip(completions, reference, wanted, strict=True))
        return [float(len(answer[0]["content"]) % 2) for answer in completions]

    rows = [an_rft(1, wanted={"a": [1]}), an_rft(2, wanted={"b": None})]
    trained(
        "rft",
        rows,
        format,
        GRPOTrainer,
        GRPOConfig,
        reward_funcs=reward,
        settings={"num_generations": 2, "max_completion_length": 4, "shuffle_dataset": False},
    )
    assert [reference for _, reference, _ in seen][:2] == ["shelf 1", "shelf 1"]
    assert json.dumps(seen[0][2]) == '{"a": [1]}'
    assert all(answer[0]["role"] == "assistant" for answer, _, _ in seen)
