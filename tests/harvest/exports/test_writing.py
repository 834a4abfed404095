"""What an export writes, and that the libraries it is for read back what a row said."""

import json
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentloop import harvest
from agentloop.base.errors import ConfigError, NotFound, RecordError, StoreError
from agentloop.harvest.exports import Format, export
from agentloop.harvest.exports.card import card
from agentloop.harvest.exports.forms import Form, reshaped
from tests.harvest.checks.makers import a_dpo, a_kto, an_rft, an_sft, read, said
from tests.harvest.exports.makers import a_dataset, masked
from tests.harvest.exports.test_forms import arguments_of
from tests.makers import asks, message, returns, says, system, user

datasets = pytest.importorskip("datasets", reason="the extra `export` is not installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """What `datasets` keeps of files that it has read."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def to(tmp_path):
    return tmp_path / "out"


def loaded(folder, format):
    """What Hugging Face `datasets` reads."""
    if format == "datasets":
        return datasets.load_from_disk(folder)
    return datasets.load_dataset(str(folder))


def names(folder):
    return sorted(file.name for file in folder.iterdir())


# ---------------------------------------------------------------------- what is written


def test_openai_is_the_rows_byte_for_byte(to):
    made = a_dataset(valid=[an_sft(9)])
    done = export(made, "openai", to)
    assert names(to) == ["export.json", "train.jsonl", "valid.jsonl"]
    assert (to / "train.jsonl").read_text() == "".join(f"{row.line}\n" for row in made.rows)
    assert done.rows == {"train": 3, "valid": 1}
    assert json.loads((to / "export.json").read_text()) == {
        "dataset": made.id,
        "format": "openai",
        "form": None,
        "rows": {"train": 3, "valid": 1},
        "left": {},
    }


@pytest.mark.parametrize("format", Format)
def test_the_folder_of_a_harvest_gives_what_its_dataset_gives(tmp_path, format):
    made = a_dataset("dpo", valid=[a_dpo(9)])
    harvest.write(made, tmp_path / "harvested")
    export(made, format, tmp_path / "a")
    export(tmp_path / "harvested", format, tmp_path / "b")
    assert names(tmp_path / "a") == names(tmp_path / "b")
    for file in (f for f in (tmp_path / "a").iterdir() if f.suffix in (".jsonl", ".json", ".md")):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_side_without_rows_has_no_file(to):
    export(a_dataset(), "trl", to)
    assert names(to) == ["README.md", "export.json", "train.jsonl"]


def test_a_dataset_with_a_masked_turn_is_told_turn_by_turn(to):
    done = export(a_dataset(rows=[an_sft(1), masked(2)]), "trl", to)
    assert done.form is Form.PROMPT_COMPLETION
    assert [len(row["prompt"]) for row in read(to / "train.jsonl")] == [2, 4, 4]
    assert "one row for each turn" in (to / "README.md").read_text()


def test_an_answer_of_several_pairs_is_one_verdict(to):
    rows = [a_dpo(1), a_dpo(1, non_preferred_output=[says("Elsewhere.").to_dict()])]
    done = export(a_dataset("dpo", rows=rows), "kto", to)
    assert done.rows["train"] == 3
    told = [(row["completion"][0]["content"], row["label"]) for row in read(to / "train.jsonl")]
    assert told == [("On shelf 1.", True), ("No idea about 1.", False), ("Elsewhere.", False)]


def test_what_the_form_cannot_hold_is_named_with_its_line(to):
    image = message("user", [{"type": "image_url", "image_url": {"url": "data:image/png,"}}])
    rows = [an_sft(1), said(an_sft(), image, says("A cat.")), an_sft(3)]
    large = asks(arguments='{"n": 123456789012345678901}')
    rows.append(said(an_sft(), user(), large, returns(), says()))
    done = export(a_dataset(rows=rows), "trl", to)
    assert (done.rows["train"], done.left) == (2, {"media": 1, "number": 1})
    assert [(row["file"], row["line"], row["code"]) for row in read(to / "left.jsonl")] == [
        ("train.jsonl", 2, "media"),
        ("train.jsonl", 4, "number"),
    ]
    assert export(a_dataset(rows=rows), "openai", to, overwrite=True).rows["train"] == 4


def test_the_card_names_fields_safely():
    text = card(
        "rft-1", Form.PROMPT_ONLY, {"prompt": "messages", 'a: "b"': "text"}, ["train"], sha="0"
    )
    assert '- name: "a: \\"b\\""\n    dtype: string' in text


# ---------------------------------------------------------------------- what is read back

FORMATS = ["trl", "parquet", "datasets"]
OTHER = said(an_sft(), user(), asks(arguments='{"q": [1, {"x": null}]}'), returns(), says())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("method", "rows"),
    [
        ("sft", [an_sft(1), OTHER]),
        ("sft", [masked(1), an_sft(2, tools=[])]),
        ("dpo", [a_dpo(1), a_dpo(2, preferred_output=[asks().to_dict()])]),
        ("kto", [a_kto(1), a_kto(2, label=False, tools=OTHER["tools"])]),
        ("rft", [an_rft(1, wanted={"a": 1}), an_rft(2, wanted={"b": [None, "x"]}, k=2)]),
    ],
)
def test_datasets_reads_back_every_row_with_its_own_keys_alone(tmp_path, format, method, rows):
    made = a_dataset(method, rows=rows, valid=rows[:1])
    done = export(made, format, tmp_path / "out")
    wanted = [new for row in rows for new in reshaped(row, done.form)]
    read_back = loaded(tmp_path / "out", format)
    assert set(read_back) == {"train", "validation"}
    got = [{k: v for k, v in row.items() if v is not None} for row in read_back["train"]]
    assert got == [{k: v for k, v in row.items() if v is not None} for row in wanted]


@pytest.mark.parametrize("format", FORMATS)
def test_a_field_of_texts_stays_one_though_it_looks_like_json(tmp_path, format):
    rows = [an_rft(1, answer="12", mixed="12"), an_rft(2, answer="true", mixed={"a": 1})]
    export(a_dataset("rft", rows=rows), format, tmp_path / "out")
    first, second = loaded(tmp_path / "out", format)["train"]
    assert (first["answer"], second["answer"]) == ("12", "true")
    assert [json.loads(row["mixed"]) for row in (first, second)] == ["12", {"a": 1}]


def test_a_long_file_whose_rows_change_in_the_middle_is_read(to):
    """`datasets` looks at the first 10 MB: without a card it then expects no tool call ever."""
    plain = said(an_sft(), user("hi " * 2000), says("Hello."))
    rows = [*[plain | {"tools": []}] * 1_800, an_sft(1)]
    export(a_dataset(rows=rows), "trl", to)
    assert (to / "train.jsonl").stat().st_size > 10 << 20
    last = loaded(to, "trl")["train"][-1]
    assert last["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"id": 1}


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_in_the_place_of_another_is_read_anew(to, format):
    """`datasets` would give what it has kept of the earlier one."""
    for n in (1, 2, 3):
        export(a_dataset(rows=[an_sft(k) for k in range(n)]), format, to, overwrite=True)
        assert len(loaded(to, format)["train"]) == n


@pytest.mark.parametrize("format", FORMATS)
def test_parquet_and_arrow_hold_the_types_that_are_promised(tmp_path, format):
    rows = [an_rft(1, tools=an_sft()["tools"], wanted={"a": 1})]
    export(a_dataset("rft", rows=rows), format, tmp_path / "out")
    features = loaded(tmp_path / "out", format)["train"].features
    assert features == {
        "prompt": datasets.List(datasets.Json()),
        "tools": datasets.Json(),
        "reference": datasets.Value("string"),
        "wanted": datasets.Json(),
    }


def test_parquet_is_text_to_others(to):
    from pyarrow import parquet

    export(a_dataset("dpo"), "parquet", to)
    row = parquet.read_table(to / "train.parquet").to_pylist()[1]
    assert [json.loads(message) for message in row["chosen"]] == [
        {"role": "assistant", "content": "On shelf 1."}
    ]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.integers(-(10**6), 10**6).map(lambda n: n / 64)  # what 15 digits hold exactly
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), PLAIN)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(told=[{"x": 0.40625}], format="trl")
@given(told=st.lists(ARGUMENTS, min_size=1, max_size=4), format=st.sampled_from(FORMATS))
def test_arguments_come_back_as_the_values_that_they_were(tmp_path_factory, told, format):
    """From OpenAI's JSON text to TRL's object, to a file, to what a trainer gets."""
    rows = [
        said(an_sft(), system(), user(), asks(arguments=json.dumps(one)), returns(), says("Done."))
        for one in told
    ]
    folder = tmp_path_factory.mktemp("out") / "out"
    export(a_dataset(rows=rows), format, folder)
    got = [arguments_of(row["messages"]) for row in loaded(folder, format)["train"]]
    assert to_15_digits(got) == to_15_digits([[one] for one in told])
    if format == "trl":
        assert [arguments_of(r["messages"]) for r in read(folder / "train.jsonl")] == [
            [one] for one in told
        ]


def to_15_digits(value):
    """What `datasets` reads of a JSON text: it takes 0.40625 for 0.40625000000000006."""
    match value:
        case float():
            return float(f"{value:.15g}")
        case dict():
            return {key: to_15_digits(inner) for key, inner in value.items()}
        case list():
            return [to_15_digits(inner) for inner in value]
    return value


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("format", Format)
def test_what_is_there_is_written_over_only_when_told(to, format):
    export(a_dataset("dpo"), format, to)
    before = {file: file.read_bytes() for file in to.rglob("*") if file.is_file()}
    with pytest.raises(RecordError, match="--overwrite"):
        export(a_dataset("dpo", rows=[a_dpo(9)]), format, to)
    assert before == {file: file.read_bytes() for file in to.rglob("*") if file.is_file()}
    export(a_dataset("dpo", rows=[a_dpo(9)]), "trl", to, overwrite=True)
    assert names(to) == ["README.md", "export.json", "train.jsonl"]
    assert len(read(to / "train.jsonl")) == 1


def test_what_is_no_export_is_never_written_over(to):
    (to / "train").mkdir(parents=True)
    with pytest.raises(RecordError, match="is no export"):
        export(a_dataset(), "trl", to, overwrite=True)
    export(a_dataset(), "trl", other := to.with_name("other"))
    (other / "mine.txt").write_text("keep me")
    with pytest.raises(StoreError, match=r"holds other files \(mine.txt\)"):
        export(a_dataset(), "trl", other, overwrite=True)
    assert (other / "mine.txt").read_text() == "keep me"


def test_an_empty_folder_may_be_taken(to):
    to.mkdir()
    assert export(a_dataset(), "trl", to).rows["train"] == 3


@pytest.mark.parametrize("format", ["trl", "parquet", "datasets"])
def test_a_row_that_is_none_leaves_nothing_half_written(tmp_path, format):
    made = a_dataset(rows=[an_sft(1), {"messages": []}])
    with pytest.raises(RecordError, match=r"train.jsonl:2: .*agentloop data check"):
        export(made, format, tmp_path / "out")
    assert names(tmp_path) == []


def test_no_row_that_is_left_is_an_error_that_says_why(tmp_path):
    image = message("user", [{"type": "image_url", "image_url": {"url": "data:image/png,"}}])
    with pytest.raises(RecordError, match=r"no row to export \(1 media: It holds an image"):
        export(a_dataset(rows=[said(an_sft(), image, says())]), "parquet", tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.parametrize("method", ["sft", "rft"])
def test_rows_that_are_all_good_are_no_verdicts(to, method):
    with pytest.raises(ConfigError, match=f"{method} rows are no verdicts"):
        export(a_dataset(method), "kto", to)


def test_no_service_takes_single_verdicts(to):
    with pytest.raises(ConfigError, match="take --format trl"):
        export(a_dataset("kto"), "openai", to)


def test_a_field_that_means_something_to_trl_is_refused_by_name(to):
    with pytest.raises(RecordError, match="'completions'"):
        export(a_dataset("rft", rows=[an_rft(1, completions=3)]), "trl", to)


def test_a_folder_without_a_harvest_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"holds no harvest: manifest.json"):
        export(tmp_path, "trl", tmp_path / "out")
    (tmp_path / "manifest.json").write_text('{"dataset": "x", "method": "nope"}')
    with pytest.raises(RecordError, match="is none of a harvest"):
        export(tmp_path, "trl", tmp_path / "out")


def test_a_line_that_is_no_json_is_named(tmp_path):
    harvest.write(a_dataset(), tmp_path / "in")
    with (tmp_path / "in" / "train.jsonl").open("a") as file:
        file.write("{half\n")
    with pytest.raises(RecordError, match=r"train.jsonl:4 is no JSON"):
        export(tmp_path / "in", "trl", tmp_path / "out")


@pytest.mark.parametrize("format", ["parquet", "datasets"])
def test_without_the_extra_the_way_out_is_told_and_the_other_formats_go_on(to, monkeypatch, format):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"openagentloop\[export\]"):
        export(a_dataset(), format, to)
    assert not to.exists()
    assert export(a_dataset(), "trl", to).rows["train"] == 3
