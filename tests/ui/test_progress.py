"""A bar while a file is read, where somebody sees it; and what an import remembers of itself."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from agentloop.capture.importers import Imported, Problem
from agentloop.ui.cli import progress as bars
from agentloop.ui.cli import traces
from tests.makers import a_trace


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text("{}\n" * 99)
    return path


def drawn(monkeypatch, file, *lines, terminal=True, **options):
    shown = io.StringIO()
    monkeypatch.setattr(bars, "err", Console(file=shown, force_terminal=terminal))
    monkeypatch.setattr(bars, "SHOWN_SECONDS", 0.0)
    with bars.progress(file, **options) as line:
        for number in lines:
            line.reach(number)
        if line._bar is not None:
            line._bar.refresh()
    return shown.getvalue()


def test_a_terminal_shows_how_far_a_file_is_read(monkeypatch, file):
    shown = drawn(monkeypatch, file, 1, 50, 7)
    assert "many.jsonl" in shown
    assert "50/100" in shown
    assert " 7/100" not in shown, "a bar never goes back"


@pytest.mark.parametrize("options", [{"terminal": False}, {"quiet": True}])
def test_nobody_else_sees_a_bar(monkeypatch, file, options):
    assert drawn(monkeypatch, file, 50, **options) == ""


def test_a_file_that_cannot_be_read_is_named_by_who_reads_it(monkeypatch, tmp_path):
    assert "many" not in drawn(monkeypatch, tmp_path / "none.jsonl", 1)


@pytest.mark.parametrize("keep", [True, False])
def test_an_import_remembers_a_few_remarks_or_all(keep, capsys):
    told = traces.Told(keep=keep)
    for n in range(100):
        told.take(Path("f"), Imported(n, a_trace(calls=()), (), (), ("odd",)))
        told.take(Path("f"), Problem(n, "bad"))
    assert (told.imported, told.refused) == (100, 100)
    kept = 100 if keep else traces.NOTES
    assert (len(told.notes), told.more_notes) == (kept, 100 - kept)
    assert len(told.problems) == (100 if keep else 0)
    assert capsys.readouterr().err.count("bad") == 100
