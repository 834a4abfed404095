"""Templates look things up, and do nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.base.errors import GraderError
from agentloop.graders.templates import Template, Unresolved

SPACES = {
    "item": {
        "text": 'a "b"',
        "n": 3,
        "none": None,
        "flag": True,
        "deep": {"list": [{"x": "found"}, [1, 2]], "with-dash": "d", "größe": "g"},
        "object": {"é": [1, "ü"]},
    },
    "sample": {"output_tools": [{"function": {"arguments": '{"id":1}'}}]},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("no holes", "no holes"),
        ("", ""),
        ("{{item.text}}", 'a "b"'),
        ("{{ item.text }}|{{item.n}}", 'a "b"|3'),
        ("{{\n item.none\t}}", "null"),
        ("{{item.flag}}", "true"),
        ("{{item.deep.list[0].x}}", "found"),
        ("{{item.deep.list[1][1]}}", "2"),
        ("{{item.deep.with-dash}}{{item.deep.größe}}", "dg"),
        ("{{item.object}}", '{"é": [1, "ü"]}'),
        ("{{sample.output_tools[0].function.arguments}}", '{"id":1}'),
        ('{"n": {{item.n}}}', '{"n": 3}'),
        ("{{{item.n}}}", "{3}"),
        ('{"a": {"b": 1}} {{item.n}}', '{"a": {"b": 1}} 3'),
    ],
)
def test_strings_go_in_raw_and_everything_else_as_json(template, text):
    assert Template(template).render(SPACES) == text


@pytest.mark.parametrize(
    "path",
    [
        "item.missing",
        "item.text.length",
        "item.text[0]",
        "item.deep.list[2]",
        "item.deep.list.x",
        "item.deep[0]",
        "item.none.x",
        "item.__class__",
        "item.deep.__class__.__mro__",
        "sample.output_json",
    ],
)
def test_a_path_to_nothing_is_unresolved_and_named(path):
    with pytest.raises(Unresolved, match=path.replace("[", r"\[")):
        Template("{{ " + path + " }}").render(SPACES)


@pytest.mark.parametrize(
    "template",
    [
        "{{item.x",
        "{{}}",
        "{{ }}",
        "{{item}}",
        "{{sample}}",
        "{{item.}}",
        "{{.x}}",
        "{{item..x}}",
        "{{item.x[}}",
        "{{item.x[-1]}}",
        "{{item.x[y]}}",
        "{{item['x']}}",
        "{{item.x | upper}}",
        "{{item.x.upper()}}",
        "{{item.x + 1}}",
        "{{7*7}}",
        "{{ {} }}",
        "{{ {{item.x}} }}",
        "{{ item.x; import os }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{config.x}}",
        "{{items.x}}",
        "{{ITEM.x}}",
    ],
)
def test_what_is_no_path_is_refused_with_the_way_out(template):
    with pytest.raises(GraderError, match=r"^input: .*(item\.name|item and sample)"):
        Template(template, where="input")


@given(st.text())
def test_a_text_is_inserted_as_it_is_even_if_it_looks_like_a_template(text):
    assert Template("<{{item.t}}>").render({"item": {"t": text}, "sample": {}}) == f"<{text}>"
    tricky = "{{item.secret}}" + text
    spaces = {"item": {"t": tricky, "secret": "s"}, "sample": {}}
    assert Template("{{item.t}}").render(spaces) == tricky


@given(st.text(alphabet="{}[]. itemsaple_0()'|", max_size=40) | st.text())
def test_any_text_is_a_template_or_refused_and_renders_or_is_unresolved(text):
    try:
        came_out = Template(text).render(SPACES)
    except (GraderError, Unresolved) as error:
        came_out = f"{{{{ {error}"
    assert "\n" not in came_out or "\n" in text
    assert came_out == text or "{{" in text


@given(st.dictionaries(st.text(), st.integers() | st.none() | st.lists(st.text())))
def test_what_is_inserted_as_json_can_be_read_back(value):
    rendered = Template("{{item.v}}").render({"item": {"v": value}, "sample": {}})
    assert json.loads(rendered) == value
