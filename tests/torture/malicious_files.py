"""Attacks by file formats: A22 to A27. An update holds no archive, no pickle and no graph; these try every door all the same.

Doors that take outside bytes: a bundle as it arrives, metadata alone, a signed payload, a signed block of a payload, a weights
file (`load_weights`), a model folder (`open_model`), and a graph (`open_engine`). A canary file tells whether any code ran.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import resource
import struct
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from malicious_content import exactly, framed, signed
from malicious_world import MOST_CPU_S, Variant, Watch, base, deliver, good_bundle_is_taken, latest, target
from torture_section import Outcome, Section, Tick

from orbitloop.delta.blocks import Block, write_blocks
from orbitloop.delta.bundle import pack_bundle
from orbitloop.errors import OrbitloopError
from orbitloop.onboard.weights import load_weights, save_weights
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE

MOST_BYTES = 24 << 20


@dataclass(frozen=True)
class Opened:
    """One malicious file at a door that is not the link: a weights file, a graph, or a whole model folder."""

    name: str
    door: Callable[[bytes], object]
    data: bytes


class Canary:
    """Unpickling it writes a file; nobody may."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "it ran"))


@cache
def canary_path() -> Path:
    return Path(tempfile.mkdtemp(prefix="canary-")) / "ran"


def link_doors(name: str, data: bytes) -> list[Variant]:
    """Return the deliveries of one file through all that the satellite hears."""
    found = [
        Variant(f"{name}, as a bundle", data, "bundle"),
        Variant(f"{name}, as metadata", data, ".", kind="trust"),
        Variant(f"{name}, as a signed payload", signed(data), "."),
    ]
    shape = base()["conv0.weight"].shape
    block = framed(write_blocks([Block("conv0.weight", "exact", shape, data)])) if len(data) < 1 << 22 else None
    return found + ([Variant(f"{name}, as a signed block", signed(block), "conv0.weight")] if block else [])


def file_doors(name: str, data: bytes) -> list[Opened]:
    return [
        Opened(f"{name}, as weights", load_weights, data),
        Opened(f"{name}, as {WEIGHTS_FILE} of a folder", _folder_with_weights, data),
        Opened(f"{name}, as {GRAPH_FILE} of a folder", _folder_with_graph, data),
    ]


@cache
def good_model() -> tuple[bytes, bytes, dict[str, Any]]:
    """Return graph, weights file and weights of a small model of ours."""
    import engine_models

    return engine_models.graph(), save_weights(engine_models.weights()), engine_models.weights()


def _folder_with_weights(data: bytes) -> object:
    return _folder(good_model()[0], data)


def _folder_with_graph(data: bytes) -> object:
    return _folder(data, good_model()[1])


def _folder(graph: bytes, weights: bytes) -> object:
    from orbitloop.apps.models import open_model

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / GRAPH_FILE).write_bytes(graph)
        (Path(name) / WEIGHTS_FILE).write_bytes(weights)
        return open_model(Path(name), 1, "onnxruntime")


def engine_door(data: bytes) -> object:
    """Open a graph with the good model's weights, and look at one tile: a bomb may go off only then."""
    from orbitloop.onboard.adapters.engines import open_engine

    engine = open_engine("onnxruntime", data, good_model()[2])
    return engine.infer(np.zeros((1, *([engine.metadata.preprocessing.tile_px] * 2), 3), np.uint8))


def try_door(tried: Opened, watch: Watch) -> list[str]:
    tracemalloc.start()
    before_kb, begin_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        tried.door(tried.data)
        bad = ["ACCEPTED"]
    except OrbitloopError as error:
        bad = [] if error.what else ["no reason"]
    except Exception as error:
        bad = [f"raised {type(error).__name__}: {str(error)[:150]}"]
    cpu_s, peak = time.process_time() - begin_s, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) << 10
    watch.cpu_s, watch.peak_bytes = max(watch.cpu_s, cpu_s), max(watch.peak_bytes, peak)
    bad += [f"took {cpu_s:.1f} s"] if cpu_s > MOST_CPU_S else []
    bad += [f"took {peak} bytes, {grown} resident"] if max(peak, grown - (64 << 20)) > MOST_BYTES + 6 * len(tried.data) else []
    return [f"{tried.name}: {line}" for line in bad]


def files_section(name: str, aim: str, made: Callable[[], tuple[list[Variant], list[Opened]]], quick: int = 8) -> Section:
    def run(count: int, tick: Tick) -> Outcome:
        arrived, opened = made()
        every: list[Variant | Opened] = [*arrived, *opened]
        watch, bad = Watch(), good_bundle_is_taken()
        if len({v.name for v in every}) < max(20, len(every)):
            bad.append(f"only {len({v.name for v in every})} of {len(every)} variants are distinct, 20 are wanted")
        if count < FULL:  # a quick look takes its sample from everywhere
            every = every[:: max(1, len(every) // max(1, count))]
        if opened and not bad:
            good_model()
            engine_door(good_model()[0])
        rss_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for done, one in enumerate(every, 1):
            bad += deliver(one, watch) if isinstance(one, Variant) else try_door(one, watch)
            if canary_path().exists():
                bad.append(f"{one.name}: CODE RAN")
                canary_path().unlink()
            tick(done)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_kb) >> 10
        bad += [f"resident memory grew by {grown} MB"] if grown > 400 else []
        note = f"{len(every)} variants; {watch.told}; resident +{grown} MB"
        return Outcome(len(every), tuple(bad[:12]), len(bad), note)

    return Section(f"malicious {name}", aim, run, FULL, quick)


FULL = 20


def zipped(names: dict[str, bytes], *, mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return out.getvalue()


def tarred(kind: bytes, name: str, target_name: str = "", mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target_name
        archive.addfile(entry)
    return out.getvalue()


def a22_archives() -> tuple[list[Variant], list[Opened]]:
    plain = {"graph.onnx": b"x", "weights.safetensors": b"y"}
    forms = {
        "a zip": zipped(plain),
        "a zip in a zip in a zip": zipped({"a.zip": zipped({"b.zip": zipped(plain)})}),
        "a zip with a symbolic link": zipped({"weights.safetensors": b"/etc/passwd"}, mode=0o120777),
        "a zip with a device": zipped({"weights.safetensors": b""}, mode=0o060666),
        "a zip with absolute paths": zipped({"/etc/orbitloop": b"x"}),
        "a zip with ..": zipped({"../../weights.safetensors": b"x"}),
        "a zip with backslashes": zipped({"..\\..\\x": b"x"}),
        "a zip with a drive": zipped({"C:\\x": b"x"}),
        "a zip with a case clash": zipped({"Weights": b"1", "weights": b"2"}),
        "a zip with trailing dots": zipped({"weights.": b"1", "weights..": b"2", "weights ": b"3"}),
        "a zip with 100,000 entries": _many_entries(100_000),
        "a tar with a symbolic link": tarred(tarfile.SYMTYPE, "weights.safetensors", "/etc/passwd"),
        "a tar with a hard link": tarred(tarfile.LNKTYPE, "weights.safetensors", "../../etc/passwd"),
        "a tar with a character device": tarred(tarfile.CHRTYPE, "zero"),
        "a tar with a block device": tarred(tarfile.BLKTYPE, "sda"),
        "a tar with a fifo": tarred(tarfile.FIFOTYPE, "pipe"),
        "a tar with ..": tarred(tarfile.REGTYPE, "../../x"),
        "a packed tar": tarred(tarfile.REGTYPE, "x", mode="w:gz"),
    }
    arrived = [v for name, data in forms.items() for v in link_doors(name, data)]
    opened = [o for name, data in list(forms.items())[:4] + list(forms.items())[10:13] for o in file_doors(name, data)]
    for name in (
        "/etc/passwd",
        "../conv0.weight",
        "conv0.weight\0",
        "CONV0.weight",
        "conv0.weight.",
        "conv0.weight/",
        "conv0.weight ",
    ):
        data = exactly({"conv0.weight": target(6)["conv0.weight"]}, {"conv0.weight": name})
        arrived.append(Variant(f"a tensor named {name!r}", signed(data), "not in the base"))
    return arrived, opened


@cache
def _many_entries(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for i in range(count):
            archive.writestr(zipfile.ZipInfo(f"{i}"), b"")
    return out.getvalue()


@cache
def zeros_frame(megabytes: int, *, sized: bool = True, window_log: int | None = None) -> bytes:
    """Return a zstd frame of zeros."""
    if window_log:
        options = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=sized)
        maker = zstandard.ZstdCompressor(compression_params=options)
    else:
        maker = zstandard.ZstdCompressor(level=3, write_content_size=sized)
    out = io.BytesIO()
    with maker.stream_writer(out, closefd=False, size=megabytes << 20 if sized else -1) as writer:
        for _ in range(megabytes):
            writer.write(bytes(1 << 20))
    return out.getvalue()


def lying(frame: bytes, size: int) -> bytes:
    """Return a frame whose header states another content size (8-byte field)."""
    head = frame[:4] + bytes((0xE0 | (frame[4] & 0x1F),))
    fields = zstandard.get_frame_parameters(frame)
    assert fields.content_size
    return head + size.to_bytes(8, "little") + frame[zstandard.frame_header_size(frame) :]


def a23_bombs() -> tuple[list[Variant], list[Opened]]:
    arrived: list[Variant] = []
    shape = base()["conv0.weight"].shape
    raw = 4 * base()["conv0.weight"].size
    frames = {
        "1 GB of zeros": zeros_frame(1024),
        "100 MB, size not said": zeros_frame(100, sized=False),
        "a window of 128 MB": zeros_frame(200, window_log=27),
        "one byte more than belongs": zstandard.ZstdCompressor().compress(bytes(raw + 1)),
        "one byte less": zstandard.ZstdCompressor().compress(bytes(raw - 1)),
        "two frames": zstandard.ZstdCompressor().compress(bytes(raw)) * 2,
        "a frame that says too little": lying(zeros_frame(1024), raw),
        "a frame that says 2^63": lying(zeros_frame(1), 1 << 63),
        "a bomb in a bomb": zstandard.ZstdCompressor().compress(zeros_frame(1024)),
        "a skippable frame": b"\x50\x2a\x4d\x18" + struct.pack("<I", 1 << 31),
    }
    for name, frame in frames.items():
        block = framed(write_blocks([Block("conv0.weight", "exact", shape, b"\x01" + frame)]))
        arrived.append(Variant(f"a block of {name}", signed(block), "conv0.weight|result differs"))
        arrived.append(
            Variant(
                f"metadata of {name}", pack_bundle(frame, latest().path, latest().content, latest().payload), "metadata|bundle"
            )
        )
        arrived.append(Variant(f"metadata alone of {name}", frame, ".", kind="trust"))
    packed_zeros = {
        "gzip": gzip.compress(bytes(64 << 20)),
        "zlib": zlib.compress(bytes(64 << 20), 9),
        "a zip": zipped({"x": bytes(64 << 20)}),
        "a zip of 200 zips": zipped({str(i): zipped({"x": bytes(1 << 20)}) for i in range(200)}),
        "a zip with overlapping entries": _overlapping(),
        "the whole bundle in zstd": zstandard.ZstdCompressor().compress(latest().bundle()),
    }
    arrived += [v for name, data in packed_zeros.items() for v in link_doors(name, data)]
    for table_bytes in (1 << 20, (1 << 20) + 1, 1 << 31, (1 << 32) - 1):
        packed_table = b"\x01" + zeros_frame(1)
        section = struct.pack("<II", table_bytes, len(packed_table)) + packed_table
        arrived.append(Variant(f"a table said to be {table_bytes} bytes", signed(framed(section)), "."))
    opened = [o for name in ("gzip", "a zip") for o in file_doors(name, packed_zeros[name])]
    return arrived, opened


def _overlapping() -> bytes:
    """Return a zip whose 1,000 entries are all the same data (after D. Fifield's zip bomb, much smaller)."""
    data = bytearray(zipped({"a": bytes(1 << 20)}))
    end = data.rindex(b"PK\x05\x06")
    start = data.index(b"PK\x01\x02")
    row = bytes(data[start:end])
    many = row * 1000
    tail = bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 1000, 1000)
    tail[12:16] = struct.pack("<I", len(many))
    return bytes(data[:start]) + many + bytes(tail)


def a24_pickles() -> tuple[list[Variant], list[Opened]]:
    evil = Canary(canary_path())
    forms = {f"pickle protocol {n}": pickle.dumps(evil, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)}
    forms |= {f"a bare opcode stream by {how}": data for how, data in _opcodes().items()}
    array = io.BytesIO()
    np.save(array, np.array([evil], object), allow_pickle=True)
    forms["an .npy of objects"] = array.getvalue()
    several = io.BytesIO()
    np.savez(several, weights=np.array([evil], object), allow_pickle=True)
    forms["an .npz of objects"] = several.getvalue()
    forms["a .pt (zip with data.pkl)"] = zipped({"archive/data.pkl": pickle.dumps(evil), "archive/version": b"3"})
    forms["an old .pt (pickles in a row)"] = pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickle.dumps(evil)
    forms["joblib, zlib"] = zlib.compress(pickle.dumps(evil))
    forms["joblib, gzip"] = gzip.compress(pickle.dumps(evil))
    raw = pickle.dumps(evil)
    forms["a pickle behind a safetensors header"] = struct.pack("<Q", 2) + b"{}" + raw
    header = json.dumps(
        {"__metadata__": {"x": raw.hex()}, "conv0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    )
    forms["a pickle in a header's metadata"] = struct.pack("<Q", len(header)) + header.encode() + raw[:4]
    arrived = [v for name, data in forms.items() for v in link_doors(name, data)]
    opened = [o for name, data in forms.items() for o in file_doors(name, data)]
    return arrived, [
        o for o in opened if o.name != "a pickle in a header's metadata, as weights"
    ]  # text, and a tensor: no model


def _opcodes() -> dict[str, bytes]:
    path = str(canary_path()).encode()
    reduce = b"cos\nsystem\n(S'touch " + path + b"'\ntR."
    return {
        "os.system": reduce,
        "builtins.eval": b"cbuiltins\neval\n(S'open(\"" + path + b'","w")\'\ntR.',
        "INST": b"(S'touch " + path + b"'\nios\nsystem\n.",
        "a frame in front": b"\x80\x04\x95" + struct.pack("<Q", len(reduce)) + reduce,
    }


def a25_safetensors() -> tuple[list[Variant], list[Opened]]:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    body = bytes(16)

    def made(header: Any, data: bytes = body, length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    two = json.dumps({"a": one})[:-1].encode() + b"," + json.dumps({"a": one | {"data_offsets": [8, 16]}})[1:].encode()
    second = {"b": one | {"data_offsets": [8, 16]}}
    forms = {
        "overlapping": made({"a": one, "b": one}),
        "half overlapping": made({"a": one, "b": one | {"data_offsets": [4, 12]}}),
        "a gap": made({"a": one, "b": one | {"data_offsets": [12, 20]}}, bytes(20)),
        "out of range": made({"a": one | {"data_offsets": [0, 1 << 40], "shape": [1 << 38]}}),
        "offsets backwards": made({"a": one | {"data_offsets": [8, 0]}}),
        "offsets below zero": made({"a": one | {"data_offsets": [-8, 0]}}),
        "offsets over 2^64": made({"a": one | {"data_offsets": [0, 1 << 65]}}),
        "a length of 2^63": made({"a": one}, length=1 << 63),
        "a length of 2^64 - 1": made({"a": one}, length=(1 << 64) - 1),
        "a length of 0": made({"a": one}, length=0),
        "a length one too long": made({"a": one}, b"", length=len(json.dumps({"a": one})) + 1),
        "a name twice": made(two),
        "100 MB of header": made(b"{" + b" " * (100 << 20) + b"}"),
        "2 MB of header": made(b'{"a":' + b" " * (2 << 20) + json.dumps(one).encode() + b"}"),
        "a shape that overflows": made({"a": one | {"shape": [1 << 62, 1 << 62]}}),
        "a shape below zero": made({"a": one | {"shape": [-2]}}),
        "a shape of text": made({"a": one | {"shape": ["2"]}}),
        "a dtype of its own": made({"a": one | {"dtype": "O"}}),
        "a dtype that is a list": made({"a": one | {"dtype": ["F32"]}}),
        "F64": made({"a": one | {"dtype": "F64", "shape": [1]}}),
        "BF16": made({"a": one | {"dtype": "BF16", "shape": [4]}}),
        "no dtype": made({"a": {"shape": [2], "data_offsets": [0, 8]}}),
        "bytes that nobody names": made({"a": one}),
        "no data": made({"a": one}, b""),
        "JSON 100,000 deep": made(b'{"a":' * 100_000),
        "a list for a header": made([one]),
        "a number of 5,000 digits": made(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}'),
        "not UTF-8": made(b'{"\xff\xfe":1}'),
        "NaN in the header": made(b'{"a":NaN}'),
        "cut": made({"a": one, **second})[:-3],
        "only a length": struct.pack("<Q", 8),
        "one byte": b"\x00",
    }
    opened = [o for name, data in forms.items() for o in file_doors(name, data)[:2]]
    return [v for name, data in list(forms.items())[:8] for v in link_doors(name, data)[2:3]], opened


def a26_external() -> tuple[list[Variant], list[Opened]]:
    """Graphs that want their tensors from files of the attacker's choice."""
    import onnx

    secret = Path(tempfile.mkdtemp(prefix="secret-")) / "secret.bin"
    secret.write_bytes(bytes(1 << 20))
    (secret.parent / "link.bin").symlink_to(secret)
    (secret.parent / "hard.bin").hardlink_to(secret)
    places = {
        "..": "../../../../../../../../../etc/passwd",
        "an absolute path": str(secret),
        "a symbolic link": str(secret.parent / "link.bin"),
        "a hard link": str(secret.parent / "hard.bin"),
        "another name": "weights.bin",
        "a folder": "/etc",
        "a device": "/dev/zero",
        "proc": "/proc/self/environ",
        "a URL": "http://127.0.0.1/x",
        "a file URL": "file:///etc/passwd",
        "memory": "*/_ORT_MEM_ADDR_/*",
        "nothing": "",
        "the weights by ./": "./weights.safetensors",
        "the weights by x/..": "x/../weights.safetensors",
        "the weights and NUL": "weights.safetensors\0/etc/passwd",
        "the weights, another case": "Weights.safetensors",
    }
    graphs: dict[str, bytes] = {}
    for how, place in places.items():
        for which in (0, 5):
            model = onnx.load_from_string(good_model()[0])
            _external(model.graph.initializer, which)["location"].value = place
            graphs[f"{how}, tensor {which}"] = model.SerializeToString()
    graphs |= _injections(onnx)
    opened = [Opened(name, engine_door, data) for name, data in graphs.items()]
    opened += [Opened(f"{name}, in a folder", _folder_with_graph, data) for name, data in list(graphs.items())[:12]]
    return [v for name, data in list(graphs.items())[:3] for v in link_doors(name, data)], opened


def _external(initializers: Any, which: int) -> dict[str, Any]:
    outside = [t for t in initializers if t.data_location == 1]
    return {e.key: e for e in outside[which].external_data}


def _injections(onnx: Any) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, value in (
        ("location", "/etc/passwd"),
        ("__class__", "x"),
        ("basepath", "/etc"),
        ("checksum", "0"),
        ("location ", "x"),
    ):
        model = onnx.load_from_string(good_model()[0])
        entry = next(t for t in model.graph.initializer if t.data_location == 1).external_data.add()
        entry.key, entry.value = key, value
        if key == "location":
            found["the location twice"] = model.SerializeToString()
    for name in (
        "raw data beside it",
        "external and said to be inside",
        "an attribute's tensor outside",
        "a constant made external",
    ):
        model = onnx.load_from_string(good_model()[0])
        outside = next(t for t in model.graph.initializer if t.data_location == 1)
        if name == "raw data beside it":
            outside.raw_data = bytes(64)
        elif name == "external and said to be inside":
            outside.data_location = 0
        elif name == "an attribute's tensor outside":
            attribute = model.graph.node[0].attribute.add()
            attribute.name, attribute.type = "value", 4
            attribute.t.CopyFrom(outside)
        else:
            inside = next(t for t in model.graph.initializer if t.data_location == 0)
            inside.ClearField("raw_data")
            inside.data_location = 1
            entry = inside.external_data.add()
            entry.key, entry.value = "location", "/etc/passwd"
        found[name] = model.SerializeToString()
    return found


def a27_graphs() -> tuple[list[Variant], list[Opened]]:
    """Graphs that never end, take all memory, or run code of others."""
    import onnx
    from onnx import TensorProto, helper

    def changed(edit: Callable[[Any], None]) -> bytes:
        model = onnx.load_from_string(good_model()[0])
        edit(model)
        data: bytes = model.SerializeToString()
        return data

    def node(model: Any, op: str, inputs: list[str], **attributes: Any) -> None:
        model.graph.node.append(helper.make_node(op, inputs, [f"bomb-{len(model.graph.node)}"], **attributes))

    def constant(model: Any, name: str, values: list[int]) -> str:
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, [])],
    )
    forms: dict[str, bytes] = {}
    for trips in (2**40, 2**62, 10**6):
        forms[f"a loop of {trips}"] = changed(lambda m, t=trips: node(m, "Loop", [constant(m, "trips", [t]), ""], body=body))
    forms["a scan"] = changed(lambda m: node(m, "Scan", ["image"], body=body, num_scan_inputs=1))
    forms["an if"] = changed(lambda m: node(m, "If", ["image"], then_branch=body, else_branch=body))
    for op in (
        "ConstantOfShape",
        "RandomNormal",
        "Expand",
        "Tile",
        "Range",
        "EyeLike",
        "OneHot",
        "MatMul",
        "Einsum",
        "Gather",
        "NonZero",
    ):
        attributes = {"shape": [10**6, 10**6]} if op == "RandomNormal" else {"equation": "i,j->ij"} if op == "Einsum" else {}
        forms[f"{op} of 10^12"] = changed(
            lambda m, o=op, a=attributes: node(m, o, ["image", constant(m, "big", [10**6, 10**6])], **a)
        )
    for domain in ("com.microsoft", "ai.onnx.ml", "ai.onnx.contrib", "evil.example", "com.microsoft.nchwc", "ai.onnx.training"):
        forms[f"an operation of {domain}"] = changed(lambda m, d=domain: node(m, "Conv", ["image"], domain=d))
        if domain != "com.microsoft":
            forms[f"an opset of {domain}"] = changed(
                lambda m, d=domain: (m.opset_import.append(helper.make_opsetid(d, 1)), node(m, "PyOp", ["image"], domain=d))[1]
            )
    for name, sizes in (
        ("resize by 1,000", [1.0, 1.0, 1000.0, 1000.0]),
        ("resize by 10^9", [1.0, 1.0, 1e9, 1e9]),
        ("resize by NaN", [1.0, 1.0, np.nan, 2.0]),
    ):
        forms[name] = changed(lambda m, s=sizes: _replace_constant(m, "l19.scales", s))
    forms["pads of a million"] = changed(lambda m: node(m, "Conv", ["image", "conv00.weight"], pads=[10**6] * 4))
    forms["strides of 2^62"] = changed(lambda m: node(m, "MaxPool", ["image"], kernel_shape=[2, 2], strides=[2**62, 2**62]))
    forms["a function"] = changed(
        lambda m: m.functions.append(
            helper.make_function(
                "x", "f", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 17)]
            )
        )
    )
    forms["a giant constant"] = changed(
        lambda m: m.graph.initializer.append(
            helper.make_tensor("giant", TensorProto.FLOAT, [5 << 20], bytes(20 << 20), raw=True)
        )
    )
    forms["a constant of 2^60"] = changed(lambda m: _shape_lie(m, TensorProto, [1 << 30, 1 << 30]))
    forms["5,000 operations"] = changed(lambda m: [node(m, "Sigmoid", ["image"]) for _ in range(5000)])
    forms["a sparse tensor"] = changed(lambda m: m.graph.sparse_initializer.add())
    forms["a cycle"] = changed(lambda m: m.graph.node.append(helper.make_node("Add", ["image", "loop-2"], ["loop-2"])))
    opened = [Opened(name, engine_door, data) for name, data in forms.items()]
    return [], opened


def _replace_constant(model: Any, name: str, values: list[float]) -> None:
    from onnx import TensorProto, helper

    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values))


def _shape_lie(model: Any, kinds: Any, shape: list[int]) -> None:
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type = "giant", kinds.FLOAT
    tensor.dims.extend(shape)
    tensor.raw_data = b"1234"


def sections() -> tuple[Section, ...]:
    aim = "0 accepted, bounded memory and time"
    return (
        files_section("A22 archives", aim, a22_archives),
        files_section("A23 bombs", aim, a23_bombs),
        files_section("A24 pickle", "no opcode is ever run", a24_pickles),
        files_section("A25 safetensors", aim, a25_safetensors),
        files_section("A26 external data", "refused outright, no file opened", a26_external),
        files_section("A27 graph bombs", aim, a27_graphs),
    )
