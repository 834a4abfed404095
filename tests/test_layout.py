"""The shape of the house, checked. When one of these fails, move the code, not the test."""

import ast
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import agentloop

HOUSE = Path(__file__).parents[1] / "agentloop"
FILES = sorted(HOUSE.rglob("*.py"))

ROOMS = ["capture", "feedback", "harvest", "jobs", "registry", "trials"]
FLOORS = [  # an import points down: from a line to one below it, never sideways
    ["agentloop.__main__"],
    ["agentloop.ui"],
    ["agentloop.loop", "agentloop.scale"],
    ["agentloop.rooms"],
    [f"agentloop.{room}" for room in ROOMS],
    ["agentloop.graders", "agentloop.base.store", "agentloop.base.settings"],
    ["agentloop.base.records"],
    ["agentloop.base.errors"],
]
LOCAL = "agentloop.local"
"""Beside the house: it speaks HTTP with it. Only its own command opens the door."""

HOMES = {  # where each dependency lives; nowhere else may import it
    "agents": ("capture/", "ui/"),
    "alembic": ("base/store/migrations/",),
    "anyio": ("local/",),
    "bpe_openai": ("harvest/tokens",),
    "datasets": ("harvest/exports/arrow", "local/"),
    "fastapi": ("local/", "ui/tools"),
    "google": ("capture/importers/otlp_protobuf",),
    "httpx2": ("graders/endpoint.py", "local/", "ui/"),
    "isal": ("base/store/packing",),
    "jinja2": ("harvest/tokens", "local/"),
    "jsonschema": ("harvest/advice/faults",),
    "llguidance": ("local/",),
    "nltk": ("graders/similarity",),
    "numpy": ("local/",),
    "openai": ("capture/", "graders/judge.py", "jobs/", "ui/demo/"),
    "opentelemetry": ("capture/telemetry/", "capture/importers/otlp_protobuf"),
    "orjson": ("base/records/",),
    "peft": ("local/",),
    "phonenumbers": ("harvest/redaction/phones",),
    "presidio_analyzer": ("harvest/redaction/presidio",),
    "psutil": ("local/",),
    "pyarrow": ("scale/",),
    "pydantic": ("",),
    "pydantic_core": ("base/records/", "local/"),
    "pydantic_settings": ("base/settings",),
    "python_multipart": ("local/",),
    "rapidfuzz": ("graders/similarity",),
    "ray": ("scale",),
    "referencing": ("harvest/advice/faults",),
    "rensa": ("harvest/duplicates",),
    "rich": ("ui/",),
    "rouge_score": ("graders/similarity",),
    "sacrebleu": ("graders/similarity",),
    "simpleeval": ("graders/formula",),
    "sqlalchemy": ("base/store/",),
    "standardwebhooks": ("local/",),
    "starlette": ("local/",),
    "tokenizers": ("local/",),
    "torch": ("local/",),
    "transformers": ("harvest/tokens", "local/"),
    "trl": ("local/",),
    "typer": ("ui/",),
    "uvicorn": ("local/", "ui/cli/tools"),
}
SLOW = {"agents", "alembic", "openai", "pydantic", "sqlalchemy", "torch", "transformers"}
NO_PLACE = {"utils", "util", "helpers", "common", "misc", "core", "types", "manager", "base_utils"}


def name_of(file):
    """The module that a file is."""
    parts = file.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


def statements(tree):
    """Everything in a file but what is there for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield other
                yield from statements(other)
            continue
        yield node
        yield from statements(node)


def at_once(tree):
    """What is done when a file is imported: nothing that stands in a function."""
    return (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))


def imported(file, nodes=statements):
    """The modules that a file imports; of a name in a package of ours, the module that it is."""
    for node in nodes(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def inside(module, part):
    return module == part or module.startswith(f"{part}.")


def floor(module):
    """On which floor a module is, and in which room of it; None beside the house."""
    for level, rooms in enumerate(FLOORS):
        for room in rooms:
            if inside(module, room):
                return level, room
    return None


def test_an_alphabetical_listing_is_the_loop():
    folders = [p.name for p in sorted(HOUSE.iterdir()) if p.is_dir() and p.name != "__pycache__"]
    assert folders == sorted([*ROOMS, "base", "graders", "local", "scale", "ui"])
    assert sorted(ROOMS) == ROOMS


def test_every_module_is_on_a_floor():
    beside = {"agentloop", "agentloop.base"}
    for module in MODULES:
        assert module in beside or inside(module, LOCAL) or floor(module), module


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(HOUSE).as_posix())
class TestEveryFile:
    def test_fits_in_the_head(self, file):
        assert len(file.read_text().splitlines()) <= 450

    def test_says_what_it_is_for(self, file):
        assert ast.get_docstring(ast.parse(file.read_text()))

    def test_has_a_name_that_excludes_something(self, file):
        assert not {part.removesuffix(".py") for part in file.relative_to(HOUSE).parts} & NO_PLACE

    def test_imports_only_what_lives_there(self, file):
        here = file.relative_to(HOUSE).as_posix()
        for module in imported(file):
            name = module.split(".")[0]
            if name != "agentloop" and name not in sys.stdlib_module_names:
                assert name in HOMES, f"{name} has no home yet; give it one"
                assert here.startswith(HOMES[name]), f"{name} does not live in {here}"

    def test_imports_from_below_and_never_from_beside(self, file):
        module = name_of(file)
        mine = floor(module)
        for other in imported(file):
            if not inside(other, "agentloop") or other == "agentloop":
                continue
            if inside(module, LOCAL):
                ours = (
                    LOCAL,
                    "agentloop.graders",
                    "agentloop.base.records",
                    "agentloop.base.errors",
                )
                assert any(inside(other, part) for part in ours), f"{module} -> {other}"
            elif inside(other, LOCAL):
                assert module == "agentloop.ui.cli.local", f"{module} -> {other}"
            elif (theirs := floor(other)) and mine:
                same = mine == theirs
                assert same or mine[0] < theirs[0], f"{module} -> {other}"


def test_no_module_imports_itself_by_a_detour():
    graph = {
        module: {
            other
            for other in imported(file, at_once)
            if other in MODULES and other != module and not inside(module, other)
        }
        for module, file in MODULES.items()
    }
    done = set()

    def visit(module, way):
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, [*way, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


def loaded_by(code):
    """The packages that are loaded when some code has run."""
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=HOUSE.parent,
    )
    return {module.split(".")[0] for module in result.stdout.split()}


def test_importing_agentloop_loads_nothing_slow():
    assert not SLOW & loaded_by("import agentloop")


def test_opening_a_loop_loads_neither_the_sdk_nor_torch(tmp_path):
    code = f"from agentloop import AgentLoop; AgentLoop('sqlite:///{tmp_path}/loop.db').close()"
    assert not {"agents", "openai", "torch", "transformers"} & loaded_by(code)


def test_importing_agentloop_loads_no_opentelemetry():
    assert "opentelemetry" not in loaded_by("import agentloop, agentloop.loop, agentloop.rooms")


def test_a_run_that_is_not_exported_loads_nothing_of_opentelemetrys_sdk(tmp_path):
    """Its API comes with the Agents SDK, whose MCP client asks for it."""
    code = f"""
import agents, sys
from agents.testing import ScriptedModel, assistant_message
from agentloop import AgentLoop
agents.set_trace_processors([])
model = ScriptedModel([[assistant_message("hi")]])
with AgentLoop("sqlite:///{tmp_path}/loop.db") as loop:
    loop.run_sync(agents.Agent(name="a"), "hi", run_config=agents.RunConfig(model=model))
there = [m for m in sys.modules if m.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
assert not there, there
assert "agentloop.capture.telemetry.emitting" not in sys.modules
"""
    assert "agents" in loaded_by(f"exec({code!r})")


def test_the_public_names_are_those_that_can_be_had_sorted():
    assert agentloop.__all__ == sorted(agentloop.__all__)
    assert set(agentloop.__all__) == agentloop._HOMES.keys()
    for name in agentloop.__all__:
        assert getattr(agentloop, name).__name__ == name
        assert name in dir(agentloop)


def test_the_type_checker_sees_the_names_that_there_are():
    tree = ast.parse((HOUSE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = [
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(told) == agentloop.__all__


def test_a_name_that_there_is_not_is_an_error():
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        agentloop.nope  # noqa: B018


def test_the_floors_are_drawn_from_the_top():
    """Each floor is used from above; one that is not is no floor."""
    for above, below in pairwise(FLOORS[1:]):
        assert above != below
        assert any(
            any(inside(other, room) for room in below)
            for module, file in MODULES.items()
            for other in imported(file)
            if floor(module) and floor(module)[0] < FLOORS.index(below)
        ), below
