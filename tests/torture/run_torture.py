"""Run the torture suite at full size and print its table: `make torture`, or `make torture SECTION=cuts`.

Sections run in processes of their own, two at a time, so that memory of one is not charged to another. Exit code 1 when a
section does not hold or a control was not caught.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from queue import Empty
from typing import Any

from torture_section import Outcome, Section
from torture_sections import all_sections

PROGRESS_EVERY_S = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen sections; return the exit code."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--section", default="", help="only sections whose name begins so")
    parser.add_argument("--quick", action="store_true", help="the counts of the default tests")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--json", type=Path, default=None, help="write the table here too")
    chosen = parser.parse_args(arguments)
    sections = [s for s in all_sections() if s.name.startswith(chosen.section)]
    if not sections:
        print(
            f"no section begins with {chosen.section!r}; there are {', '.join(s.name for s in all_sections())}", file=sys.stderr
        )
        return 2
    rows = _run(sections, quick=chosen.quick, jobs=max(1, chosen.jobs))
    print(_table(rows))
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")
    failed = [row["name"] for row in rows if not row["holds"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} hold" + (f"; not: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _run(sections: list[Section], *, quick: bool, jobs: int) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    waiting, running, rows, done = list(sections), {}, {}, dict.fromkeys([s.name for s in sections], 0)
    last_s = time.monotonic()
    while waiting or running:
        while waiting and len(running) < jobs:
            section = waiting.pop(0)
            process = context.Process(target=_one, args=(section.name, section.quick if quick else section.count, news))
            process.start()
            running[section.name] = process
        try:
            kind, name, value = news.get(timeout=0.5)
            if kind == "tick":
                done[name] = value
            else:
                rows[name] = value
        except Empty:
            for name, process in list(running.items()):
                if not process.is_alive() and name not in rows:
                    rows[name] = _row(_named(name), Outcome(0, (f"process ended with {process.exitcode}",), 1), 0.0)
        for name in [n for n in running if n in rows]:
            running.pop(name).join()
        if time.monotonic() - last_s > PROGRESS_EVERY_S:
            last_s = time.monotonic()
            print("  ".join(f"{n} {done[n]}" for n in running), end="\n" if not sys.stderr.isatty() else "\r", file=sys.stderr)
    return [rows[s.name] for s in sections]


def _one(name: str, count: int, news: Any) -> None:
    begin, told = time.monotonic(), [0.0]

    def tick(done: int) -> None:
        if time.monotonic() - told[0] > PROGRESS_EVERY_S:
            told[0] = time.monotonic()
            news.put(("tick", name, done))

    try:
        outcome = _named(name).run(count, tick)
    except Exception as error:  # a section that breaks is a section that does not hold
        outcome = Outcome(0, (f"{type(error).__name__}: {error}",), 1)
    news.put(("row", name, _row(_named(name), outcome, time.monotonic() - begin)))


def _named(name: str) -> Section:
    return next(s for s in all_sections() if s.name == name)


def _row(section: Section, outcome: Outcome, seconds: float) -> dict[str, Any]:
    holds = section.holds(outcome) if outcome.tried else False
    about = {"name": section.name, "aim": section.aim, "control": section.control, "tried": outcome.tried}
    return about | {
        "bad": outcome.bad_count,
        "first": list(outcome.bad[:12]),
        "note": outcome.note,
        "s": round(seconds, 1),
        "holds": holds,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        mark = "holds" if row["holds"] else "FAILS"
        word = "caught" if row["control"] else "bad"
        lines.append(
            f"{mark}  {row['name']:<34} {row['tried']:>7,} tried  {row['bad']:>6,} {word:<6}  {row['s']:>6.0f} s  {row['aim']}"
        )
        lines += [f"         {row['note']}"] if row["note"] else []
        lines += [f"         {line}" for line in row["first"]] if not row["holds"] else []
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
