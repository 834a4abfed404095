"""The README tells the truth: its commands run, its code runs, its links lead somewhere."""

import asyncio
import re
import shlex
import subprocess
import sys

import agents
import pytest

from agentloop import AgentLoop
from tests.jobs.replies import FILE, a_job, page
from tests.live.conftest import ROOT

README = (ROOT / "README.md").read_text()
CODE = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
BLOCKS = [text for language, text in FENCED if not language]
COMMANDS = [
    line.split("  #")[0].strip()
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith(("agentloop ", "make "))
]
LOCAL = "http://127.0.0.1:8421/v1"


def test_the_readme_fits_on_a_screen_or_two():
    assert len(README.splitlines()) < 100


def test_the_two_commands_are_targets_that_do_what_they_say():
    makefile = (ROOT / "Makefile").read_text()
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert "demo: $(VENV)/local\n\t$(BIN)/agentloop demo\n" in makefile
    assert "test: $(VENV)/dev\n\t$(BIN)/python -m pytest\n" in makefile


def test_every_command_of_the_readme_runs_in_the_order_it_stands_there(home):
    typed = [words for words in map(shlex.split, COMMANDS) if words[0] == "agentloop"]
    assert ["agentloop", "local", "serve"] in typed  # which the fixture has started
    for words in typed:
        if words[1:] == ["local", "serve"]:
            continue
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.mark.httpx2(assert_all_called=False)
@pytest.mark.filterwarnings("ignore:asynchronous generator:ResourceWarning")
def test_the_loop_in_20_lines_runs(tmp_path, monkeypatch, httpx2_mock, capsys):
    """With a store that has traces already, and both services answering from a script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    agents.set_trace_processors([])
    with AgentLoop() as loop:
        list(loop.import_file(ROOT / "traces" / "shop.jsonl"))
    httpx2_mock.post("https://api.openai.com/v1/responses").respond(json=_response("Shipped."))
    httpx2_mock.post(f"{LOCAL}/files").respond(json=FILE)
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs").respond(json=page())
    httpx2_mock.post(f"{LOCAL}/fine_tuning/jobs").respond(json=a_job())
    done = a_job(status="succeeded", fine_tuned_model="ft:x")
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs/ftjob-1").respond(json=done)
    httpx2_mock.get(f"{LOCAL}/fine_tuning/jobs/ftjob-1/events").respond(json=page())

    body = "".join(f"    {line}\n" for line in CODE.splitlines())
    scope = {}
    exec(f"async def story():\n{body}    loop.close()\n", scope)
    asyncio.run(scope["story"]())
    assert capsys.readouterr().out.splitlines()[-1] == "cannot tell yet"


def test_what_the_readme_names_is_there():
    for name in re.findall(r"`([\w./]+\.(?:md|py|jsonl))`", README):
        assert (ROOT / name).exists() or (ROOT / "examples" / name).exists(), name


def _response(text):
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "gpt-4.1-mini",
        "status": "completed",
        "output": [{**message, "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
    }
