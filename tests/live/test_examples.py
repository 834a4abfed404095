"""Every example runs, in the order of the loop, and prints what it says it shows."""

import subprocess
import sys

import pytest

from tests.live.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SHOWS = {
    "01_capture": "call 1: saw 4 messages and the tools ['find_order']",
    "02_rate": "a person:  0.0",
    "03_harvest": "advice: ",
    "04_grade": "reward 0.875",
    "05_tune": "The job has successfully completed",
    "06_swap": "('rollback', None)",
    "07_trial": "better",
    "08_opentelemetry": "execute_tool find_order, in invoke_agent support",
}


def test_each_example_is_known_here():
    assert [example.stem for example in EXAMPLES] == sorted(SHOWS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, home):
    done = subprocess.run(
        [sys.executable, str(example)], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert SHOWS[example.stem] in done.stdout
