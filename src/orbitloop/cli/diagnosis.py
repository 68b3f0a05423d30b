"""The checks of `orbitloop doctor`: each looks at one thing and returns one finding; none changes anything.

A check that breaks is itself a finding: whatever it raises (a broken wheel raises anything) becomes a `fail` with its text.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from orbitloop.errors import OrbitloopError

MIN_MEMORY_BYTES = 2 << 30
MIN_DISK_BYTES = 2 << 30
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;\[]*)(?:;\s*(.*))?")
_REINSTALL = "make env, or pip install -e '.[ground]'"
# Older than this code: then certificates, TLE ages and file times make no sense.
_BORN_S = 1_767_225_600.0  # 2026-01-01
_TOO_LATE_S = 4_102_444_800.0  # 2100-01-01


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARN = "warn"
    """Slower, or something is left out."""
    FAIL = "fail"
    """Stands in the way of running."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's. `remedy` is empty where all is well."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "verdict": self.verdict.value, "found": self.found, "remedy": self.remedy}


def examine(data_dir: Path, missions_dir: Path) -> list[Finding]:
    """Run every check, in an order that finds causes before effects."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", python_version),
        *((name, lambda n=name, w=wanted: dependency(n, w)) for name, wanted in requirements()),
        ("cores", cores),
        ("memory", memory),
        ("disk", disk),
        ("clock", clock),
        ("training", torch_works),
        ("bf16", bf16),
        ("accelerator", accelerator),
        ("thread waiting", thread_waiting),
        ("onnx session", onnx_session),
        ("max-pool padding", max_pool),
        ("engines", engines),
        ("scene files", scene_files),
        ("reports home", reports_home),
        ("webp", webp),
        ("accuracy measure", coco),
        ("signatures", signatures),
        ("plug-ins", plug_ins),
        ("model cache", cache),
        ("data sets", lambda: data_sets(data_dir)),
        ("missions", lambda: missions(missions_dir)),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # a broken wheel or machine may raise anything; it is what we are here to find
        return Finding(name, Verdict.FAIL, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}", _REINSTALL)


def python_version() -> Finding:
    """3.11 or later."""
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding("python", Verdict.OK if good else Verdict.FAIL, found, "" if good else "use Python 3.11 or later")


def requirements() -> list[tuple[str, str]]:
    """Return (distribution, pin) of everything that the core and the ground segment need, from our own metadata."""
    found = []
    for line in importlib.metadata.requires("orbitloop") or []:
        match = _REQUIREMENT.fullmatch(line)
        if match and (not match[3] or "ground" in match[3]):
            found.append((match[1], match[2].strip()))
    return found


def dependency(name: str, wanted: str) -> Finding:
    """Installed, in a version that fits its pin."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, Verdict.FAIL, f"not installed (needs {wanted or 'any'})", _REINSTALL)
    if fits(version, wanted):
        return Finding(name, Verdict.OK, version)
    return Finding(name, Verdict.FAIL, f"{version} (needs {wanted})", _REINSTALL)


def fits(version: str, wanted: str) -> bool:
    """Say whether a version lies within a pin of `==`, `>=`, `<` clauses; the build tag (`+cpu`) does not count."""
    have = _release(version)
    for clause in filter(None, (c.strip() for c in wanted.split(","))):
        operator, bound = clause.rstrip("0123456789.*"), _release(clause.lstrip("=<>!~ "))
        width = max(len(have), len(bound))
        a, b = have + (0,) * (width - len(have)), bound + (0,) * (width - len(bound))
        good = {"==": a == b, ">=": a >= b, "<=": a <= b, "<": a < b, ">": a > b, "!=": a != b}.get(operator.strip(), True)
        if not good:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def cores() -> Finding:
    """Two or more."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count >= 2:
        return Finding("cores", Verdict.OK, str(count))
    return Finding("cores", Verdict.WARN, str(count), "trainings take twice as long; set Mission.threads=1")


def memory() -> Finding:
    """Enough of it free."""
    info = Path("/proc/meminfo")
    rows = dict(line.split(":", 1) for line in info.read_text().splitlines()) if info.is_file() else {}
    if "MemAvailable" not in rows:
        return Finding("memory", Verdict.OK, "not known on this system")
    free = int(rows["MemAvailable"].split()[0]) * 1024
    if free >= MIN_MEMORY_BYTES:
        return Finding("memory", Verdict.OK, f"{free / 1e9:.1f} GB free")
    return Finding("memory", Verdict.WARN, f"{free / 1e9:.1f} GB free", "stop other programs, or use a smaller Model.width")


def disk() -> Finding:
    """Enough of it free, here and where the cache is."""
    free = min(shutil.disk_usage(_existing(p)).free for p in (Path.cwd(), _cache_dir()))
    if free >= MIN_DISK_BYTES:
        return Finding("disk", Verdict.OK, f"{free / 1e9:.1f} GB free")
    return Finding("disk", Verdict.WARN, f"{free / 1e9:.1f} GB free", "free some, or give another --out and ORBITLOOP_CACHE")


def clock() -> Finding:
    """Neither before this code was written nor absurdly late."""
    now_s = time.time()
    found = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    if _BORN_S <= now_s < _TOO_LATE_S:
        return Finding("clock", Verdict.OK, found)
    return Finding("clock", Verdict.WARN, found, "set the system's clock")


def torch_works() -> Finding:
    """It multiplies, and with how many threads."""
    import torch

    product = float((torch.ones(4, 4) @ torch.ones(4, 4)).sum())
    found = f"torch computes, {torch.get_num_threads()} threads"
    return Finding("training", Verdict.OK if product == 64.0 else Verdict.FAIL, found, "" if product == 64.0 else _REINSTALL)


def bf16() -> Finding:
    """Training computes in bfloat16: does it work, and does the processor do it by itself?"""
    import torch

    one = torch.ones(8, 8, dtype=torch.bfloat16)
    if float((one @ one).sum()) != 512.0:
        return Finding("bf16", Verdict.FAIL, "wrong result", "use the torch that is pinned: make env")
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(errors="replace").split()) if info.is_file() else set()
    native = sorted(flags & {"amx_bf16", "avx512_bf16", "bf16"})
    if native or not flags:
        return Finding("bf16", Verdict.OK, ", ".join(native) or "works")
    return Finding("bf16", Verdict.WARN, "works, not in hardware", "trainings are slower than the figures in the docs")


def accelerator() -> Finding:
    """Whether there is one; none is needed."""
    import torch

    return Finding("accelerator", Verdict.OK, torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none (CPU)")


def thread_waiting() -> Finding:
    """Waiting threads sleep."""
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    if policy.upper() == "PASSIVE":
        return Finding("thread waiting", Verdict.OK, "passive")
    remedy = "on a shared machine: unset OMP_WAIT_POLICY, and orbitloop chooses PASSIVE"
    return Finding("thread waiting", Verdict.WARN, policy or "not set", remedy)


def onnx_session() -> Finding:
    """A graph whose weights are fed in from memory, as a slot is loaded on board."""
    import onnx
    from onnx import TensorProto, helper

    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=[4])
    weight.external_data.add(key="location", value="w.bin")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    session = _session(onnx, node, [4], [4], [weight], {"w": np.arange(4, dtype=np.float32)})
    (out,) = session.run(None, {"x": np.ones(4, np.float32)})
    good = out.tolist() == [1.0, 2.0, 3.0, 4.0]
    found = "external initializers from memory" if good else f"wrong result {out.tolist()}"
    return Finding("onnx session", Verdict.OK if good else Verdict.FAIL, found, "" if good else _REINSTALL)


def max_pool() -> Finding:
    """The runtime pads a max-pool with minus infinity, over negative maps too (some versions padded with zero)."""
    import onnx
    from onnx import helper

    x = -1 - np.random.default_rng(0).random((1, 2, 6, 6), np.float32)
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])
    (out,) = _session(onnx, node, list(x.shape), list(x.shape), [], {}).run(None, {"x": x})
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
    wanted = np.maximum.reduce([padded[..., i : i + 6, j : j + 6] for i in (0, 1) for j in (0, 1)])
    if np.array_equal(out, wanted):
        return Finding("max-pool padding", Verdict.OK, "as numpy")
    return Finding("max-pool padding", Verdict.FAIL, "differs from numpy", "install another onnxruntime within the pin")


def _session(
    onnx: Any, node: Any, shape_in: list[int], shape_out: list[int], initializers: list[Any], values: dict[str, Any]
) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if values:
        fed = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values.values()]
        options.add_external_initializers(list(values), fed)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def engines() -> Finding:
    """Which engines are installed, and that each one can be loaded."""
    from orbitloop.apps.models import engine_versions

    found = engine_versions()
    broken = sorted(name for name, version in found.items() if version.startswith("broken"))
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    remedy = f"pip install --force-reinstall {' '.join(broken)}, or leave --engine at onnxruntime" if broken else ""
    return Finding("engines", Verdict.WARN if broken else Verdict.OK, listed, remedy)


def scene_files() -> Finding:
    """Which scenes can be read; PNG, JPEG and WebP always."""
    from orbitloop.apps.scenes import reader_versions

    found = reader_versions()
    if found:
        return Finding("scene files", Verdict.OK, found)
    return Finding("scene files", Verdict.WARN, "no GeoTIFF, and pictures only as a whole", "pip install 'orbitloop[geo]'")


def reports_home() -> Finding:
    """ONNX Runtime is told not to report its use over the network."""
    if os.environ.get("ORT_DISABLE_TELEMETRY", "") in ("", "0"):
        return Finding("reports home", Verdict.WARN, "ONNX Runtime reports its use", "unset ORT_DISABLE_TELEMETRY")
    return Finding("reports home", Verdict.OK, "off")


def webp() -> Finding:
    """Samples go down as WebP."""
    from orbitloop.records.pixels import decode_image, encode_image

    picture = np.full((16, 16, 3), 128, np.uint8)
    near = np.abs(decode_image(encode_image(picture)).astype(int) - 128).max() < 8
    remedy = "" if near else "install a pillow with WebP, or set IncrementalLearningJob.samples.format=jpeg"
    return Finding("webp", Verdict.OK if near else Verdict.FAIL, "works" if near else "pictures differ", remedy)


def coco() -> Finding:
    """The measure's library finds a perfect score perfect."""
    from orbitloop.ground.metrics import average_precision
    from orbitloop.records.label import Boxes
    from orbitloop.records.prediction import Detections

    box = np.array([[10, 10, 50, 50]], np.float32)
    found = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32))
    score = average_precision([found], [Boxes(box, np.zeros(1, np.int32))], 1).ap50
    good = abs(score - 1) < 1e-6
    return Finding("accuracy measure", Verdict.OK if good else Verdict.FAIL, f"AP50 {score:.3f}", "" if good else _REINSTALL)


def signatures() -> Finding:
    """A chain of TUF metadata is signed and believed, and one of other keys is refused."""
    from orbitloop.errors import TrustError
    from orbitloop.ground.authority import Authority
    from orbitloop.ground.repository import carried
    from orbitloop.trust.refresh import Believed, Files, verify_target

    path, content = "probe/model/1", b"probe"
    ours, theirs = (Authority.from_seed(seed, ("probe",), 0.0) for seed in (b"ours", b"theirs"))
    files = Files(carried(ours.release("probe", {path: content}, now_s=0.0), "probe"))
    good = verify_target(Believed.anchor(ours.anchor), files, path, content, tenant="probe").target == content
    try:
        verify_target(Believed.anchor(theirs.anchor), files, path, content, tenant="probe")
        good = False
    except TrustError:
        pass
    return Finding("signatures", Verdict.OK if good else Verdict.FAIL, "TUF, Ed25519", "" if good else _REINSTALL)


def plug_ins() -> Finding:
    """Every registered plug-in can be imported."""
    from orbitloop.plugins.builtins import KINDS
    from orbitloop.plugins.registry import default_registry

    registry = default_registry()
    count = 0
    try:
        for kind in KINDS:
            for name in registry.names(kind):
                registry.load(kind, name)
                count += 1
    except OrbitloopError as error:
        return Finding("plug-ins", Verdict.WARN, error.what, error.remedy)
    return Finding("plug-ins", Verdict.OK, f"{count} can be imported")


def cache() -> Finding:
    """Where trained models are kept: writable, and how large."""
    folder = _cache_dir()
    files = [f for f in folder.rglob("*") if f.is_file()] if folder.is_dir() else []
    size = sum(f.stat().st_size for f in files)
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        where = f"{folder} cannot be written ({error.strerror})"
        return Finding("model cache", Verdict.FAIL, where, "set ORBITLOOP_CACHE to a folder that can")
    return Finding("model cache", Verdict.OK, f"{folder}: {size / 1e6:.0f} MB in {len(files)} files")


def data_sets(folder: Path) -> Finding:
    """Which sets lie in the data folder; the demo needs none."""
    sets = sorted(p.name for p in folder.iterdir() if p.is_dir() and _is_set(p)) if folder.is_dir() else []
    if sets:
        return Finding("data sets", Verdict.OK, f"{folder}: {', '.join(sets)}")
    found = f"none in {folder}" if folder.is_dir() else f"no folder {folder}"
    return Finding("data sets", Verdict.WARN, found, "give --data DIR or set ORBITLOOP_DATA; farmland-demo needs none")


def _is_set(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("annotations.coco.json", "data.yaml", "labels"))


def missions(folder: Path) -> Finding:
    """Every mission file is sound."""
    from orbitloop.apps.missions import open_mission

    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    for file in files:
        try:
            open_mission(file)
        except OrbitloopError as error:
            return Finding("missions", Verdict.WARN, f"{file} is not sound: {error.what}", f"orbitloop validate {file}")
    if files:
        return Finding("missions", Verdict.OK, f"{len(files)} in {folder} are sound")
    return Finding("missions", Verdict.WARN, f"no mission file in {folder}", "give --missions DIR")


def _cache_dir() -> Path:
    from orbitloop.apps.models import cache_folder

    return cache_folder()


def _existing(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path
