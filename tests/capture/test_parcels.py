"""Parcels: handed over together, in order, and nothing lost on the way."""

import os
from threading import Thread

from agentloop.capture.parcels import ROOM, Parcels
from tests.makers import a_trace


class Line:
    """A writer whose thread gets to nothing until it is told to."""

    def __init__(self, *, room=True):
        self.work, self.weights, self.room = [], [], room

    def submit(self, work, weight):
        if self.room:
            self.work.append(work)
            self.weights.append(weight)
        return self.room

    def stored(self):
        return [record.id for work in self.work for record in work()]


def test_what_is_light_waits_together_and_in_order():
    line = Line()
    parcels = Parcels(line)
    for n in range(10):
        parcels.add(a_trace(id=f"t{n}"), 1_000)
    assert line.weights == [ROOM]
    assert len(line.work[0]) == 10
    assert line.stored() == [f"t{n}" for n in range(10)]


def test_a_parcel_holds_no_more_than_it_was_weighed_as():
    line = Line()
    parcels = Parcels(line)
    for n in range(10):
        parcels.add(a_trace(id=f"t{n}"), ROOM // 4)
    parcels.add(a_trace(id="heavy"), 10 * ROOM)
    parcels.add(a_trace(id="last"), 1)
    assert line.weights == [ROOM, ROOM, ROOM, 10 * ROOM, ROOM]
    assert line.stored() == [*(f"t{n}" for n in range(10)), "heavy", "last"]


def test_what_comes_when_the_writer_has_got_to_it_is_for_the_next():
    line = Line()
    parcels = Parcels(line)
    parcels.add(a_trace(id="a"))
    work = line.work[0]()
    assert next(work).id == "a"
    parcels.add(a_trace(id="b"))
    assert [*work] == []
    assert len(line.work) == 2


def test_what_there_is_no_room_for_takes_nothing_along():
    line = Line(room=False)
    parcels = Parcels(line)
    parcels.add(a_trace(id="lost"))
    line.room = True
    parcels.add(a_trace(id="kept"))
    assert line.stored() == ["kept"]


def test_one_piece_that_fails_stops_no_other(caplog):
    line = Line()
    parcels = Parcels(line)
    parcels.add(_broken)
    parcels.add(a_trace(id="kept"))
    assert line.stored() == ["kept"]
    assert "could not be stored" in caplog.text


def _broken():
    raise ZeroDivisionError


def test_many_threads_lose_nothing_while_parcels_are_taken():
    line, taken = Line(), []
    parcels = Parcels(line)

    def bring(name):
        for n in range(300):
            parcels.add(a_trace(id=f"{name}-{n}"), 2_000)

    threads = [Thread(target=bring, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or line.work:
        while line.work:
            taken += [record.id for record in line.work.pop(0)()]
    assert len(taken) == len(set(taken)) == 1_200
    for name in "abcd":  # each thread's own in order
        mine = [id for id in taken if id.startswith(name)]
        assert mine == [f"{name}-{n}" for n in range(300)]


def test_a_fork_does_not_fill_its_parents_parcel():
    line = Line()
    parcels = Parcels(line)
    parcels.add(a_trace(id="parent"))
    if (child := os.fork()) == 0:
        parcels.add(a_trace(id="child"))
        os._exit(0 if len(line.work) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert line.stored() == ["parent"]
