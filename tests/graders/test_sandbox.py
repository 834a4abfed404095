"""The sandbox: calls, limits and ends; whatever happens, grading goes on."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agentloop import graders
from agentloop.graders import Limits
from agentloop.graders.sandbox import Answer, Sandbox

from .boxes import SHORT, boxed, call, gone
from .makers import python

# --- going on ------------------------------------------------------------------------------------


def test_one_process_answers_thousands_of_calls():
    with boxed("global n\nn = globals().get('n', 0) + 1\nreturn n") as box:
        answers = [box.call({"output_text": "x" * 500}, {"n": n}) for n in range(2000)]
        pid = box.pid
        assert (box.call({}, {}).reward, box.pid) == (2001.0, pid)
    assert [a.reward for a in answers] == [float(n) for n in range(1, 2001)]


def test_nothing_is_started_before_the_first_call():
    with boxed("return 1") as box:
        assert (box.pid, box.guards) == (None, frozenset())


def test_a_call_sees_its_own_data_only_and_may_change_it():
    with boxed("item['seen'] = item.get('seen', 0) + 1\nreturn item['seen']") as box:
        assert [box.call({}, {}).reward for _ in range(3)] == [1.0, 1.0, 1.0]


def test_large_and_odd_data_arrives_whole():
    item = {"text": "é\ud800\x00" * 400_000, "big": 10**30, "inf": float("inf"), "": None}
    body = """
        assert item['text'] == 'é\\ud800\\x00' * 400_000
        assert item['big'] == 10 ** 30 and item['inf'] == float('inf') and item[''] is None
        return len(item['text'])
    """
    assert call(body, item=item) == Answer(1_200_000.0)


ENDS = {
    "a loop": ("while True: pass", "time_limit: no answer within 1 s"),
    "endless output": ("while True: print('x' * 10_000)", "time_limit: no answer within 1 s"),
    "its exit": ("import os; os._exit(3)", "crash: the process exited with status 3"),
    "a clean exit": ("import os; os._exit(0)", "crash: the process exited with status 0"),
    "a segfault": (
        "import ctypes; ctypes.string_at(0)",
        "crash: the process was killed by SIGSEGV",
    ),
    "an abort": ("import os; os.abort()", "crash: the process was killed by SIGABRT"),
    "killing itself": (
        "import os; os.kill(os.getpid(), 9)",
        "crash: the process was killed by SIGKILL",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_after_it_ends_the_call_has_nothing_and_the_next_one_goes_on(end):
    body, reason = ENDS[end]
    with boxed(f"if item.get('die'):\n    {body}\nreturn 0.5", SHORT) as box:
        assert box.call({}, {}) == Answer(0.5)
        first = box.pid
        assert first is not None
        assert box.call({}, {"die": True}) == Answer(0.0, server_error=reason)
        assert box.pid is None
        assert gone(first)
        assert box.call({}, {}) == Answer(0.5)
        assert box.pid != first


def test_a_source_that_ends_the_process_while_it_loads_says_so_each_time():
    box = Sandbox("import os; os._exit(4)\ndef grade(sample, item): return 1", Limits())
    reason = "crash: the process exited with status 4"
    assert [box.call({}, {}).server_error for _ in range(2)] == [reason, reason]


def test_a_source_that_never_finishes_loading_runs_out_of_time():
    box = Sandbox("while True: pass\ndef grade(sample, item): return 1", SHORT)
    assert box.call({}, {}).server_error == "time_limit: no answer within 1 s"


def writing_to_every_pipe(data: bytes) -> str:
    """A function body that writes `data` to whatever it finds open."""
    return f"""
import os
for fd in range(3, 20):
    try: os.write(fd, {data!r})
    except OSError: pass
return 1
"""


MEDDLING = {
    "no JSON": writing_to_every_pipe(b"\0\0\0\5hello"),
    "no object": writing_to_every_pipe(b"\0\0\0\2[]"),
    "endless": writing_to_every_pipe(b"\xff" * 65536),
    "a number too large": writing_to_every_pipe(
        b"\0\0\2\0" + b'{"reward": 1'.ljust(511, b"0") + b"}"
    ),
    "closing": "import os\nos.closerange(3, 100)\nreturn 1",
}


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next():
    forged = writing_to_every_pipe(b"\0\0\0\x1c" + b'{"number": 0, "reward": 7.0}')
    with boxed(f"if item:\n{textwrap.indent(forged.strip(), '    ')}\nreturn 0.5") as box:
        first = box.call({}, {"forge": True})  # its own reward is its author's affair
        assert first == Answer(7.0) or first.server_error
        later = [box.call({}, {}) for _ in range(3)]
        assert all(answer == Answer(0.5) or answer.server_error for answer in later)
        assert later[-1] == Answer(0.5)


def test_a_process_that_ended_between_two_calls_costs_no_reward():
    with boxed("return 0.5") as box:
        box.call({}, {})
        assert box.pid is not None
        os.kill(box.pid, signal.SIGKILL)
        assert gone(box.pid)
        assert box.call({}, {}) == Answer(0.5)


@pytest.mark.parametrize("how", MEDDLING)
def test_meddling_with_the_pipes_costs_only_its_own_reward(how):
    body = textwrap.indent(MEDDLING[how].strip(), "    ")
    with boxed(f"if item:\n{body}\nreturn 0.5", SHORT) as box:
        answer = box.call({}, {"meddle": True})
        assert answer.reward == 0.0
        assert answer.server_error is not None
        assert box.call({}, {}) == Answer(0.5)


def test_an_interrupted_call_leaves_no_answer_for_the_next():
    def interrupt(*_):
        raise KeyboardInterrupt

    with boxed("while item: pass\nreturn 0.5") as box:
        box.call({}, {})
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(KeyboardInterrupt):
                box.call({}, {"loop": True})
        finally:
            signal.signal(signal.SIGALRM, before)
        assert box.call({}, {}) == Answer(0.5)


# --- limits --------------------------------------------------------------------------------------


def test_memory_has_a_limit():
    answer = call("return len('x' * (1 << 30))", limits=Limits(memory_mb=256))
    assert answer == Answer(0.0, "MemoryError (line 2)")


def test_a_file_has_a_largest_size():
    body = "open('big', 'wb').write(b'x' * (3 << 20))\nreturn 1"
    assert call(body, limits=Limits(disk_mb=4)).reward == 1.0
    assert "File too large" in (call(body, limits=Limits(disk_mb=2)).runtime_error or "")


def test_limits_cannot_be_raised_again():
    body = """
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        return 1
    """
    assert "not allowed to raise maximum limit" in (call(body).runtime_error or "")


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"memory_mb": 1}, {"disk_mb": -1}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


def test_numerical_packages_work_within_the_limits():
    pytest.importorskip("numpy")
    assert call("import numpy\nreturn numpy.eye(3).sum().astype('float32')") == Answer(3.0)
    assert call("import numpy\nreturn numpy.float64(1) == 1") == Answer(1.0)
    assert call("import rapidfuzz\nreturn rapidfuzz.fuzz.ratio('ab', 'ab')") == Answer(100.0)


def test_threads_and_event_loops_work():
    body = """
        import asyncio, threading
        async def one(): return 1
        seen = []
        thread = threading.Thread(target=lambda: seen.append(2))
        thread.start(); thread.join()
        return asyncio.run(one()) + seen[0]
    """
    assert call(body) == Answer(3.0)


# --- the end -------------------------------------------------------------------------------------


def test_closing_ends_the_process_and_grading_again_starts_one():
    with graders.compile(python("import os; return os.getpid()")) as grader:
        first = grader.grade("x").reward
        grader.close()
        assert gone(int(first))
        assert grader.grade("x").reward != first


def test_a_grader_that_is_forgotten_takes_its_process_along():
    box = Sandbox(python()["source"], Limits())
    box.call({}, {})
    pid = box.pid
    assert pid is not None
    del box
    gc.collect()
    assert gone(pid)


PARENT = """
import glob, os, sys, threading
from agentloop.graders.sandbox import Limits, Sandbox
source = '''
def grade(sample, item):
    if item:
        open('busy', 'w').close()
        while True: pass
    return 1.0
'''
box = Sandbox(source, Limits())
assert box.call({}, {}).reward == 1.0
if sys.argv[1] == "busy":
    threading.Thread(target=box.call, args=({}, {"loop": True}), daemon=True).start()
    while not glob.glob(os.environ["TMPDIR"] + "/agentloop-grader-*/busy"):
        pass
print(box.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_it_dies_with_its_parent_however_that_dies(state, tmp_path):
    if state == "busy" and sys.platform != "linux":
        pytest.skip("only Linux has a signal for the end of a pipe")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        text=True,
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child, 0)
    finally:
        parent.kill()
        parent.communicate()
    assert gone(child)


def test_a_fork_of_ours_gets_a_process_of_its_own():
    code = """
import os
from agentloop.graders.sandbox import Limits, Sandbox
with_pid = "import os\\ndef grade(sample, item): return os.getpid()"
box = Sandbox(with_pid, Limits())
ours = box.call({}, {}).reward
if os.fork() == 0:
    theirs = box.call({}, {}).reward
    box.close()
    os._exit(0 if theirs not in (ours, 0.0) else 1)
status = os.wait()[1]
assert status == 0, status
assert box.call({}, {}).reward == ours
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
