"""What holds over the whole tree: layers, what is light, sizes of files, and what no file may contain."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "orbitloop"
MODULES = sorted(SOURCE.rglob("*.py"))
FLIES = ("records", "plugins", "algorithms", "delta", "trust", "link", "onboard")
HEAVY = (
    "torch",
    "onnx",
    "pydantic",
    "sgp4",
    "yaml",
    "typer",
    "rich",
    "jinja2",
    "pycocotools",
    "fastapi",
    "sqlalchemy",
    "skyfield",
)
GROUND_ONLY = ("ground", "orbit", "resources", "reports", "sim", "apps", "cli")
MAX_LINES = 450


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def imported_by(modules: list[str]) -> set[str]:
    """Import modules in a fresh process and return the names of everything that is loaded then."""
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(modules)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def flying() -> list[str]:
    return [dotted(p) for p in MODULES if p.relative_to(SOURCE).parts[0] in FLIES]


def test_what_flies_loads_nothing_heavy_and_nothing_of_the_ground():
    loaded = imported_by(flying())
    assert "orbitloop.onboard.adapters.onnx_engine" in loaded
    assert {name for name in loaded if name.split(".")[0] in HEAVY} == set()
    assert {name for name in loaded if name.startswith(tuple(f"orbitloop.{p}" for p in GROUND_ONLY))} == set()


def test_the_process_on_board_is_as_light():
    """The detector is a composition root, and flies: of the whole project it loads only what flies, and itself."""
    loaded = imported_by(["orbitloop.apps.detector", "orbitloop.apps.detector_client"])
    assert {name for name in loaded if name.split(".")[0] in (*HEAVY, "PIL", "cryptography", "rasterio")} == set()
    apps = {name for name in loaded if name.startswith("orbitloop.apps.")}
    assert all(name.startswith("orbitloop.apps.detector") for name in apps)
    ground = tuple(f"orbitloop.{package}" for package in GROUND_ONLY if package != "apps")
    assert {name for name in loaded if name.startswith(ground)} == set()


@pytest.mark.parametrize("package", FLIES)
def test_each_package_that_flies_imports_by_itself(package):
    """Also first: a cycle shows only in the order of imports that trips over it."""
    modules = [name for name in flying() if name.startswith(f"orbitloop.{package}")]
    assert imported_by(list(reversed(modules)))


def test_every_module_imports():
    names = [dotted(p) for p in MODULES if p.name != "__main__.py"]
    assert set(names) <= imported_by(names)


def test_the_layers_hold():
    program = Path(sys.executable).with_name("lint-imports")
    command = str(program) if program.exists() else shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_layers_name_every_package():
    text = (ROOT / ".importlinter").read_text()
    for folder in SOURCE.iterdir():
        if (folder / "__init__.py").exists():
            assert re.search(rf"\b{folder.name}\b", text), f"{folder.name} has no layer"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_is_short_says_what_it_is_for_and_holds_nothing_forbidden(path):
    text = path.read_text()
    tree = ast.parse(text)
    charter = ast.get_docstring(tree) or ""
    assert charter, "a module's docstring is its charter"
    lines = text.count("\n")
    assert lines <= MAX_LINES or "long because" in charter.lower(), f"{lines} lines, and no reason at the top"
    assert forbidden(tree) == []


def forbidden(tree: ast.Module) -> list[str]:
    """Return what runs foreign bytes as code: pickle in any form, eval, exec, a shell, YAML's full loaders."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in ("pickle", "shelve", "marshal", "dill")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("pickle", "shelve", "marshal", "dill"):
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("eval", "exec", "torch.load", "torch.save", "os.system", "yaml.load", "yaml.unsafe_load", "os.popen"):
                found.append(name)
            unsafe = [k.arg for k in node.keywords if k.arg in ("shell", "allow_pickle") and ast.unparse(k.value) != "False"]
            found += [f"{name}({argument}=...)" for argument in unsafe]
    return found


def test_what_is_forbidden_is_found():
    bad = "import pickle\nfrom marshal import loads\neval('1')\nf(shell=True)\nnp.load(p, allow_pickle=True)\ntorch.load(p)\n"
    assert len(forbidden(ast.parse(bad))) == 6


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return MODULES
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_no_file_names_a_path_of_one_machine():
    places = re.compile(rb"(?<![\w.])/(?:work|root|Users/[a-z]+)/")
    kinds = (".py", ".md", ".yaml", ".yml", ".toml", ".json", ".txt", ".cfg", ".html", "")
    texts = [p for p in tracked() if p.is_file() and p.suffix in kinds and p != Path(__file__)]
    assert [str(p.relative_to(ROOT)) for p in texts if places.search(p.read_bytes())] == []


def test_nothing_large_is_tracked():
    """Data sets and models are made or fetched, never committed."""
    large = [(str(p.relative_to(ROOT)), p.stat().st_size) for p in tracked() if p.is_file() and p.stat().st_size > 1 << 20]
    assert large == []


def test_no_core_reads_a_clock():
    """Time is an argument: only the rim and the wall-clock figures of a run may ask what time it is."""
    may = ("sim", "cli", "apps")
    bad = []
    for path in MODULES:
        parts = path.relative_to(SOURCE).parts
        if parts[0] in may or "adapters" in parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "time.time",
                "time.monotonic",
                "datetime.now",
                "datetime.utcnow",
                "time.sleep",
            ):
                bad.append(f"{dotted(path)}:{node.lineno}")
    assert bad == []
