"""The store of events: imports are whole or nothing, twice is once, a killed writer leaves a sound file."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orbitloop.apps.conjunction_store import opened
from orbitloop.errors import StateError
from orbitloop.orbit.conjunction.events import EventUpdate, Party, Source, gather

TCA_S = 1_780_000_000.0


def update(n: int = 0, secondary: int = 2, tca_s: float = TCA_S, created_s: float | None = None) -> EventUpdate:
    return EventUpdate(
        Source.CDM,
        f"m{n}-{secondary}",
        TCA_S - 90_000 + 1000 * n if created_s is None else created_s,
        tca_s,
        Party("A", "1"),
        Party("B", str(secondary)),
        1.0 + n,
        10.0,
        (0.0, 1.0 + n, 0.0),
        probability=1e-6,
    )


def test_history_grows_and_an_import_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with opened(path, write=True) as store:
        first = store.add([update(0), update(1), update(0, 3)])
        assert (first.new, first.known, first.begun) == (3, 0, 2)
        again = store.add([update(1), update(2)])
        assert (again.new, again.known, again.begun) == (1, 1, 0)
    with opened(path) as store:
        events = {e.id.split("-")[1]: e for e in store.events()}
        assert [u.message_id for u in events["2"].updates] == ["m0-2", "m1-2", "m2-2"]
        assert store.event("1-3").latest.message_id == "m0-3"


def test_a_late_old_message_takes_its_place_in_time_and_moves_no_tca(tmp_path: Path) -> None:
    with opened(tmp_path / "e.db", write=True) as store:
        store.add([update(5, tca_s=TCA_S + 10)])
        store.add([update(1, tca_s=TCA_S)])
        (event,) = store.events()
        assert [u.message_id for u in event.updates] == ["m1-2", "m5-2"]
        assert event.tca_s == TCA_S + 10


def test_the_store_groups_as_the_core_does_in_any_number_of_imports(tmp_path: Path) -> None:
    rng = random.Random(4)
    updates = [update(n, rng.randint(2, 4), TCA_S + 2850.0 * rng.randint(0, 3) + rng.uniform(-30, 30)) for n in range(40)]
    with opened(tmp_path / "e.db", write=True) as store:
        for start in range(0, 40, 7):
            store.add(updates[start : start + 7])
        stored = store.events()
    key = [sorted(u.digest() for u in e.updates) for e in gather(updates)]
    assert sorted(sorted(u.digest() for u in e.updates) for e in stored) == sorted(key)


def test_a_message_judged_anew_replaces_only_when_asked(tmp_path: Path) -> None:
    with opened(tmp_path / "e.db", write=True) as store:
        store.add([update()])
        better = replace(update(), probability=1e-3)
        store.add([better])
        assert store.events()[0].latest.probability == 1e-6
        store.add([better], again=True)
        assert store.events()[0].latest.probability == 1e-3


def test_an_error_within_an_import_takes_all_of_it_back(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with opened(path, write=True) as store:
        store.add([update()])
        bad = update(3)
        object.__setattr__(bad, "statements", (object(),))  # cannot be written
        with pytest.raises(TypeError):
            store.add([update(1), update(2), bad])
        assert len(store.events()[0].updates) == 1


def test_names_of_events(tmp_path: Path) -> None:
    with opened(tmp_path / "e.db", write=True) as store:
        store.add([update(0, 2), update(0, 23)])
        with pytest.raises(StateError, match="2 events begin"):
            store.event("1-2")
        with pytest.raises(StateError, match="no event"):
            store.event("nobody")


def test_alerts_are_told_once(tmp_path: Path) -> None:
    with opened(tmp_path / "e.db", write=True) as store:
        store.tell(["a", "b"], 1.0)
        store.tell(["a"], 2.0)
        assert store.told() == {"a", "b"}


def test_pruning_takes_what_is_over(tmp_path: Path) -> None:
    with opened(tmp_path / "e.db", write=True) as store:
        store.add([update(0), update(1), update(0, 3, TCA_S + 1e6)])
        assert store.prune(TCA_S + 1) == 1
        assert [e.id.split("-")[1] for e in store.events()] == ["3"]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "a.txt", tmp_path / "b.db", tmp_path / "c.db"
    text.write_text("not a database, but long enough to be looked at as one" * 50)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE theirs (x)")
    with opened(newer, write=True):
        pass
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    for path, said in (
        (text, "cannot be used"),
        (other, "something else"),
        (newer, "form 99"),
        (tmp_path / "d.db", "no store"),
    ):
        with pytest.raises(StateError, match=said), opened(path):
            pass
    assert text.read_text().startswith("not a database")


def test_a_damaged_record_is_the_one_error(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with opened(path, write=True) as store:
        store.add([update()])
    for body in ("{}", "not json", "[" * 100_000, '{"source": 3}'):
        with sqlite3.connect(path) as db:
            db.execute("UPDATE updates SET body = ?", (body,))
        with opened(path) as store, pytest.raises(StateError, match="damaged"):
            store.events()


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_apps_conjunction_store import update
from orbitloop.apps.conjunction_store import opened
with opened(Path({path!r}), write=True) as store:
    for batch in range(1000):
        store.add([update(n, 2 + batch) for n in range(5)])
        print(batch, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_imports(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    here = str(Path(__file__).parent)
    code = WRITER.format(here=here, path=str(path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert process.stdout is not None
    said = -1
    for line in process.stdout:
        said = int(line)
        if said >= 7:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with opened(path, write=True) as store:
        events = store.events()
        assert len(events) > said  # what it said was done is there
        assert {len(e.updates) for e in events} == {5}  # and nothing by halves
        assert store.add([update(n, 2 + 3) for n in range(5)]).known == 5
