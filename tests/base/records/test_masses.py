"""Garbage is looked for seldom while records are made in masses, and as before afterwards."""

import gc
from threading import Barrier, Thread

import pytest

from agentloop.base.records.masses import SELDOM, in_masses


@pytest.fixture(autouse=True)
def as_usual():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_looked_for_seldom_and_then_as_before():
    with in_masses():
        assert gc.get_threshold() == (SELDOM, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_it_stays_seldom_until_the_last_is_done_in_whatever_order_they_end():
    began, first_done = Barrier(2), Barrier(2)
    seen = []

    def first():
        with in_masses():
            began.wait()
        first_done.wait()

    thread = Thread(target=first)
    thread.start()
    with in_masses():
        began.wait()
        first_done.wait()
        seen.append(gc.get_threshold()[0])
    thread.join()
    seen.append(gc.get_threshold()[0])
    assert seen == [SELDOM, 700]


def test_an_error_inside_leaves_nothing_behind():
    with pytest.raises(ValueError, match="no"), in_masses():
        raise ValueError("no")
    assert gc.get_threshold() == (700, 10, 10)


def test_who_has_switched_it_off_keeps_it_off():
    gc.set_threshold(0, 10, 10)
    with in_masses():
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_what_the_application_says_meanwhile_stays():
    with in_masses():
        gc.set_threshold(5_000, 5, 5)
    assert gc.get_threshold() == (5_000, 5, 5)
