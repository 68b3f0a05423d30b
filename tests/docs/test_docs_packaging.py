"""Pins and licences: what is installed is what the lock says, covers all that we ask for, and may be used by anyone."""

from __future__ import annotations

import re
import stat
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ASKED = [
    requirement
    for group in (PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values())
    for requirement in map(Requirement, group)
    if requirement.name != "orbitloop"
]
COPYLEFT = re.compile(r"\b(A|L)?GPL|Affero|GNU (Lesser |Library )?General Public|SSPL|Commons Clause", re.IGNORECASE)


def pins() -> dict[str, str]:
    """Return the lock's versions by canonical name."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    rows = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in rows}


def needed() -> set[str]:
    """Return the canonical names of all installed distributions that orbitloop needs, directly or through others."""
    found: set[str] = set()
    todo = [canonicalize_name(r.name) for r in ASKED]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(requirement.name))
    return found


def licence(name: str) -> str:
    """Return what a distribution says of its licence, shortest form that it gives first."""
    about = metadata.metadata(name)
    classifiers = [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
    plain = (about.get("License") or "").splitlines()
    return " ".join([about.get("License-Expression") or "", *classifiers, *plain[:1]]).strip()


@pytest.mark.parametrize("requirement", ASKED, ids=str)
def test_each_direct_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    pinned = pins().get(canonicalize_name(requirement.name))
    assert pinned is not None, f"{requirement.name} is not in requirements.lock"
    assert requirement.specifier.contains(Version(pinned)), f"{requirement} against {pinned}"


def test_the_lock_names_each_distribution_once_in_order_and_no_local_build() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", row) for row in rows)
    names = [canonicalize_name(row.split("==")[0]) for row in rows]
    assert names == sorted(set(names))


def test_all_that_the_package_needs_is_pinned() -> None:
    platforms_own = re.compile(r"nvidia-|cuda-|triton|colorama")
    assert {n for n in needed() if not platforms_own.match(n)} <= set(pins())


@pytest.mark.parametrize("name", sorted(needed()))
def test_no_dependency_is_under_a_copyleft_licence(name: str) -> None:
    if name.startswith("nvidia-"):
        pytest.skip("comes with the package index's torch on Linux; NVIDIA's own terms, not needed")
    assert licence(name), f"{name} does not state a licence"
    assert not COPYLEFT.search(licence(name)), f"{name}: {licence(name)}"


def test_the_wheel_carries_every_file_that_the_package_reads() -> None:
    globs = PROJECT["tool"]["setuptools"]["package-data"]["orbitloop"]
    source = ROOT / "src" / "orbitloop"
    carried = {file for pattern in globs for file in source.glob(pattern)}
    files = (f for f in source.rglob("*") if f.is_file() and "__pycache__" not in f.parts)  # numba caches there, too
    others = {f for f in files if f.suffix != ".py"}
    assert others - carried == set()


def test_the_check_script_runs_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
