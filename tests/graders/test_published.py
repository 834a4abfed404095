"""Against what others published: OpenAI's schemas and client, Microsoft's graders and rollouts."""

import json
from pathlib import Path

import jsonschema
import pytest
from openai.types.fine_tuning.alpha.grader_run_response import GraderRunResponse, MetadataErrors

from agentloop import graders
from agentloop.base.errors import GraderError
from agentloop.graders import sample_of
from agentloop.graders.grade import NO_ERRORS
from agentloop.graders.templates import Template

from .makers import label_model, multi, python, score_model, string_check, text_similarity
from .servers import judged

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SCHEMAS = DATA / "openai-openapi" / "finetune_jobs_and_chat.f85dbe2.schema.json"
FOUNDRY = DATA / "foundry-fine-tuning" / "Demos"
ZAVA = FOUNDRY / "ZavaRetailAgent"

SPECS = {
    "string_check": string_check(),
    "text_similarity": text_similarity(),
    "python": python("return item['label'] == sample['output_json']"),
    "multi": multi("0.5*a + 0.5*b", a=string_check(), b=python("return 1/0")),
}


def published(file: Path):
    """What stands in that file of the shared data, or a skip."""
    if not file.exists():
        pytest.skip(f"{DATA} is not here")
    text = file.read_text(encoding="utf-8")
    return (
        [json.loads(x) for x in text.splitlines()] if file.suffix == ".jsonl" else json.loads(text)
    )


def valid(body, definition: str) -> None:
    schema = published(SCHEMAS)
    # Not `jsonschema.validate`: elsewhere in that file a keyword is spelled as in draft 4.
    whole = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(whole).validate(body)


@pytest.mark.parametrize("type_", SPECS)
def test_a_response_is_what_the_client_of_openai_reads(type_):
    with graders.compile(SPECS[type_]) as grader:
        grade = grader.grade("7", {"label": 7})
    response = json.loads(json.dumps(grade.to_response(name=grader.name, type=grader.type)))
    read = GraderRunResponse.model_validate(response, strict=True)
    assert read.model_extra == {}
    assert read.metadata.model_extra == {}
    assert read.metadata.errors.model_extra == {}
    assert read.model_dump(by_alias=True) == response
    assert read.metadata.execution_time > 0
    assert set(read.sub_rewards) == ({"a", "b"} if type_ == "multi" else set())
    assert read.metadata.errors.python_grader_runtime_error is (type_ == "multi")


def test_the_error_flags_are_those_of_the_client_of_openai():
    theirs = {field.alias or name for name, field in MetadataErrors.model_fields.items()}
    assert set(NO_ERRORS) == theirs


@pytest.mark.parametrize("type_", SPECS)
def test_a_request_of_the_published_schema_is_run(type_):
    spec = SPECS[type_]
    if type_ == "multi":  # the schema knows one grader only where the guide has an object by name
        spec = {**spec, "graders": string_check(name="a"), "calculate_output": "a"}
    item, text = {"label": 7}, "7"
    valid({"grader": spec, "item": item, "model_sample": text}, "RunGraderRequest")
    with graders.compile(spec) as grader:
        assert not grader.grade(text, item).failed


@pytest.mark.parametrize(
    ("type_", "definition"),
    [
        ("string_check", "GraderStringCheck"),
        ("text_similarity", "GraderTextSimilarity"),
        ("python", "GraderPython"),
        ("score_model", "GraderScoreModel"),
        ("label_model", "GraderLabelModel"),
    ],
)
def test_the_canonical_json_is_valid(type_, definition):
    spec = {"score_model": score_model(), "label_model": label_model(), **SPECS}[type_]
    valid(graders.compile(spec).spec, definition)


def test_every_published_metric_is_computed_or_refused_with_the_way_out():
    schema = published(SCHEMAS)["$defs"]["GraderTextSimilarity"]
    refused = {}
    for name in schema["properties"]["evaluation_metric"]["enum"]:
        try:
            grader = graders.compile(text_similarity(evaluation_metric=name))
        except GraderError as refusal:
            refused[name] = str(refusal)
        else:
            assert not grader.grade("a b", {"label": "a b"}).failed
    assert set(refused) - {"meteor"} == {"cosine"}  # which needs data that may be here
    assert all("use " in sentence for sentence in refused.values())


# --- Microsoft's retail demo: 50 rollouts with recorded rewards ----------------------------------
#
# Their rewards cannot be computed again here: the grader is a score_model, so a judge (o3-mini)
# gave them. What can be checked without the judge is checked on every one of the 50: that its
# templates find everything they ask for, that what a judge answers is the reward, and the one step
# of its rubric that needs no judge.

FIRST_STEP = """
def grade(sample, item):
    text = sample["output_text"]
    named = [
        case["order_id"].lstrip("#") in text and all(one in text for one in case["item_ids"])
        for case in item["reference_policy_args"]
    ]
    return sum(named) / len(named)
"""
"""Step 0 of their rubric: a case whose order or item the answer does not name scores 0."""


def rollouts():
    """`(sample, item, recorded reward)` of each rollout."""
    step = published(ZAVA / "analysis_charts" / "rft_eval" / "data" / "Step_0.json")
    return [
        (
            sample_of(rollout["sample"]["output"][-1]),
            rollout["datasource_item"],
            rollout["results"][0]["score"],
        )
        for rollout in step["items"]
    ]


def test_a_judge_that_answers_what_theirs_did_gives_the_recorded_rewards_of_all_50(scripted):
    config = published(ZAVA / "data" / "rft_grader-config.json")
    recorded = rollouts()
    question = Template(config["input"][-1]["content"])
    said = {
        question.render({"sample": sample, "item": item}): reward
        for sample, item, reward in recorded
    }

    def answer(asked):
        reward = said[asked["messages"][-1]["content"]]
        return judged(json.dumps({"steps": [], "result": reward}))

    server = scripted(answer)
    with graders.compile(config, judges=server.judges) as grader:
        grades = grader.grade_many((sample, item) for sample, item, _ in recorded)
    assert [grade.reward for grade in grades] == [reward for _, _, reward in recorded]
    assert not any(grade.failed for grade in grades)


def test_the_judge_of_the_countdown_demo_scores_in_its_own_range(scripted):
    config = published(FOUNDRY / "RFT_Countdown" / "data" / "grader_config_aoai.json")
    row = published(FOUNDRY / "RFT_Countdown" / "data" / "countdown_valid_15.jsonl")[0]
    server = scripted(lambda _: judged('{"steps": [], "result": 7}'))
    with graders.compile(config, judges=server.judges) as grader:
        assert grader.grade("1 + 2 = 3", row).reward == 5.0
    assert server.asked[0]["messages"][0]["role"] == "system"  # a developer, where they know none


def test_the_templates_of_the_retail_grader_find_everything_in_all_50_rollouts():
    config = published(ZAVA / "data" / "rft_grader-config.json")
    prompt = "\n".join(message["content"] for message in config["input"])
    grader = graders.compile(
        string_check(input=prompt, reference="{{sample.output_text}}", operation="like")
    )
    grades = [grader.grade(sample, item) for sample, item, _ in rollouts()]
    assert len(grades) == 50
    assert all(grade.reward == 1.0 and not grade.failed for grade in grades)


def test_the_templates_of_the_countdown_grader_find_everything_in_its_rows():
    config = published(FOUNDRY / "RFT_Countdown" / "data" / "grader_config_aoai.json")
    rows = published(FOUNDRY / "RFT_Countdown" / "data" / "countdown_valid_15.jsonl")
    template = Template(config["input"][1]["content"])
    for row in rows:
        text = template.render({"item": row, "sample": sample_of({"content": "1 + 2 = 3"})})
        assert "1 + 2 = 3" in text
        assert "{{" not in text


def test_the_rewards_of_the_retail_rollouts_never_pass_the_step_that_needs_no_judge():
    recorded = rollouts()
    with graders.compile({"type": "python", "source": FIRST_STEP}) as grader:
        grades = grader.grade_many((sample, item) for sample, item, _ in recorded)
    assert not any(grade.failed for grade in grades)
    pairs = [(grade.reward, reward) for grade, (_, _, reward) in zip(grades, recorded, strict=True)]
    assert all(reward <= most for most, reward in pairs)
    unnamed = [reward for most, reward in pairs if most == 0.0]
    assert (len(unnamed), set(unnamed)) == (11, {0.0})
