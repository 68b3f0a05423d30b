"""Run the TUF project's conformance suite against the on-board client, and against python-tuf's own, as the suite ships it.

    python tests/trust/run_conformance.py CHECKOUT-OF-TUF-CONFORMANCE [--clients ours,theirs]

The suite is at https://github.com/theupdateframework/tuf-conformance (MIT or Apache 2.0), and not part of this repository. Its
tests are pytest; a client is a command line (its CLIENT-CLI.md). Exit code 1 where ours fails what theirs passes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

OURS = Path(__file__).resolve().parent / "tuf_client.py"
THEIRS = Path("clients") / "python-tuf" / "python_tuf.py"


def main(words: list[str] | None = None) -> int:
    """Run the suite once for each client; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--clients", default="ours,theirs")
    asked = parser.parse_args(words)
    checkout = asked.checkout.resolve()
    if not (checkout / "tuf_conformance").is_dir():
        print(f"{checkout} is no checkout of tuf-conformance", file=sys.stderr)
        return 2
    commands = {"ours": OURS, "theirs": checkout / THEIRS}
    results = {name: run(checkout, commands[name]) for name in asked.clients.split(",") if commands[name].exists()}
    for name, cases in results.items():
        passed = sum(state == "passed" for state in cases.values())
        skipped = sum(state == "skipped" for state in cases.values())
        print(f"{name}: {passed} passed of {len(cases)}" + (f", {skipped} skipped" if skipped else ""))
        for case, state in sorted(cases.items()):
            if state == "failed":
                print(f"  failed: {case}")
    ours, theirs = results.get("ours", {}), results.get("theirs")
    worse = [c for c, state in ours.items() if state == "failed" and (theirs is None or theirs.get(c) == "passed")]
    return 1 if worse or not ours else 0


def run(checkout: Path, client: Path) -> dict[str, str]:
    """Return how each case went, by its name: passed, failed or skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={checkout}"]
        command += [f"--junitxml={report}", "--entrypoint", f"{sys.executable} {client}", str(checkout / "tuf_conformance")]
        paths = [str(checkout), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            print(done.stdout, done.stderr, file=sys.stderr)
            return {}
        cases = ElementTree.parse(report).iter("testcase")
        return {f"{c.get('classname')}::{c.get('name')}": _state(c) for c in cases}


def _state(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


if __name__ == "__main__":
    sys.exit(main())
