"""Telemetry files into memory, bounded: CSV with a header, and .npz, read without pickle and without trust in its headers.

CSV: one row a sample, one column a channel; a column called time, times_s, timestamp or utc holds UTC seconds or ISO 8601; a
column `label` is left out; an empty cell is a missing sample. NPZ: each numeric array of one dimension is a channel, of two a
block of channels (`name.0`, `name.1` ...); `times_s` the times. `train_value` and `test_value` (the layout of SMAP/MSL) are the
nominal and the judged part of one scaled channel.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbitloop.apps.files import read_bounded
from orbitloop.clock import parse_utc_s
from orbitloop.errors import TelemetryError
from orbitloop.ground.health.telemetry import Telemetry

MAX_BYTES = 256 << 20
MAX_SAMPLES = 10_000_000
MAX_CHANNELS = 2_000
TIMES = ("time", "times", "times_s", "time_s", "timestamp", "utc")
LABELS = ("label",)
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<>|=]?(?:b1|[iu][1248]|f[248]|U\d{1,4}))', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>\d{1,12}(?:,|, \d{1,12}))\), \}\s*"
)
"""The header of a .npy as numpy writes it."""


@dataclass(frozen=True, slots=True)
class TelemetryFile:
    """What is to be judged, and the nominal part where the file itself has one. `scaled`: values come in -1..1."""

    judged: Telemetry
    nominal: Telemetry | None = None
    scaled: bool = False


def read_telemetry(path: Path) -> TelemetryFile:
    """Read a .csv or .npz file.

    Raises:
        TelemetryError: not readable, too large, malformed, or of another kind; says where.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".npz"):
        raise TelemetryError("telemetry is read from .csv or .npz", where=str(path), remedy="convert it")
    data = read_telemetry_bytes(path)
    return parse_csv(data, str(path)) if kind == ".csv" else parse_npz(data, path.stem, str(path))


def read_telemetry_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        TelemetryError: no such file, not readable, or over 256 MB.
    """
    return read_bounded(path, MAX_BYTES, TelemetryError, "give the path of a telemetry file; split one over 256 MB in time")


def parse_csv(data: bytes, where: str = "<csv>") -> TelemetryFile:
    """Read telemetry from the bytes of a CSV file with a header.

    Raises:
        TelemetryError: malformed; says the line. Never anything else.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TelemetryError("it is not UTF-8 text", where=f"{where}, line {line}") from error
    rows = csv.reader(io.StringIO(text))
    try:
        header = [name.strip() for name in next(rows, [])]
        columns = _columns(header, where)
        times, values = _cells(rows, header, columns, where)
    except csv.Error as error:
        raise TelemetryError(f"it is not CSV ({error})", where=f"{where}, line {rows.line_num}") from error
    channels = tuple(header[n] for n in columns)
    array = np.array(values, np.float64).reshape(-1, len(columns))
    return TelemetryFile(_telemetry(channels, np.array(times, np.float64) if times else None, array, where))


def parse_npz(data: bytes, name: str = "channel", where: str = "<npz>") -> TelemetryFile:
    """Read telemetry from the bytes of an .npz file.

    Raises:
        TelemetryError: malformed. Never anything else.
    """
    arrays = unpack_npz(data, where)
    if {"train_value", "test_value"} <= arrays.keys():
        parts = [_numbers(arrays[key], key, where).reshape(len(arrays[key]), -1) for key in ("train_value", "test_value")]
        if parts[0].shape[1] != parts[1].shape[1]:
            raise TelemetryError("train_value and test_value have other widths", where=where)
        channels = _block(name, parts[0].shape[1])
        nominal, judged = (_telemetry(channels, None, part, where) for part in parts)
        return TelemetryFile(judged, nominal, scaled=True)
    times = next((_numbers(arrays.pop(key), key, where) for key in TIMES if key in arrays), None)
    names: list[str] = []
    blocks: list[npt.NDArray[np.float64]] = []
    for key, array in arrays.items():
        if key in LABELS or array.dtype.kind not in "fiub":
            continue
        block = _numbers(array, key, where)
        names += [key] if block.ndim == 1 else _block(key, block.shape[1])
        blocks.append(block.reshape(len(block), -1))
    if len({len(block) for block in blocks}) > 1:
        raise TelemetryError("its arrays have different lengths", where=where, remedy="one length for all channels")
    if not blocks:
        raise TelemetryError("it holds no numeric array", where=where)
    return TelemetryFile(_telemetry(tuple(names), times, np.concatenate(blocks, axis=1), where))


def unpack_npz(data: bytes, where: str) -> dict[str, npt.NDArray[np.generic]]:
    """Return the arrays of an .npz file by name; each header must fit the bytes behind it before memory is taken.

    Raises:
        TelemetryError: malformed, too large, or an array of objects. Never anything else.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_CHANNELS or sum(m.file_size for m in members) > MAX_BYTES:
                raise ValueError(f"it unpacks to over {MAX_BYTES >> 20} MB or {MAX_CHANNELS} arrays")
            for member in members:
                with archive.open(member) as file:
                    raw = file.read(min(member.file_size, MAX_BYTES) + 1)
                arrays[member.filename.removesuffix(".npy")] = _array(raw)
    # zipfile raises many kinds on foreign bytes; each means the same here.
    except (zipfile.BadZipFile, zlib.error, ValueError, TypeError, KeyError, EOFError, OSError) as error:
        raise TelemetryError(f"it is not an .npz of numbers ({error})", where=where) from error
    except (NotImplementedError, RuntimeError, MemoryError, OverflowError, IndexError, AttributeError) as error:
        raise TelemetryError(f"it is not an .npz of numbers ({type(error).__name__})", where=where) from error
    return arrays


def _array(raw: bytes) -> npt.NDArray[np.generic]:
    """Read a .npy by its own rules: numpy's reader evaluates the header as Python and takes memory by its word."""
    if raw[:6] != b"\x93NUMPY" or raw[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise ValueError("an array has no header that is known")
    start = 10 if raw[6] == 1 else 12
    begin = start + int.from_bytes(raw[8:start], "little")
    header = _HEADER.fullmatch(raw[start:begin])
    if header is None:
        raise ValueError("an array's header is malformed, or it is none of numbers or text in one or two dimensions")
    shape = tuple(int(n) for n in header["shape"].replace(b" ", b"").split(b",") if n)
    dtype = np.dtype(header["dtype"].decode("ascii"))
    rest = raw[begin:]
    if math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError("an array's header does not fit its bytes")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if header["fortran"] == b"True" else "C")


def _columns(header: list[str], where: str) -> list[int]:
    if not any(header):
        raise TelemetryError("it has no header", where=f"{where}, line 1", remedy="name the columns in the first line")
    seen: set[str] = set()
    for name in header:
        if not name or name in seen:
            what = f"the column {name!r} stands there twice" if name else "a column has no name"
            raise TelemetryError(what, where=f"{where}, line 1", remedy="give each column one name")
        seen.add(name)
    columns = [n for n, name in enumerate(header) if name.lower() not in (*TIMES, *LABELS)]
    if not columns:
        raise TelemetryError("it has no channel", where=f"{where}, line 1", remedy="add a column of values")
    return columns


def _cells(rows: object, header: list[str], columns: list[int], where: str) -> tuple[list[float], list[float]]:
    at = next((n for n, name in enumerate(header) if name.lower() in TIMES), None)
    times: list[float] = []
    values: list[float] = []
    for row in rows:  # type: ignore[attr-defined]
        if not row:
            continue
        place = f"{where}, line {rows.line_num}"  # type: ignore[attr-defined]
        if len(row) != len(header):
            raise TelemetryError(f"{len(row)} cells under {len(header)} columns", where=place)
        if at is not None:
            times.append(time_of(row[at].strip(), place))
        values += [_value(row[n].strip(), header[n], place) for n in columns]
        if len(values) > MAX_SAMPLES * 4:
            raise TelemetryError("it holds too many samples", where=place, remedy="split it in time")
    return times, values


def time_of(text: str, place: str) -> float:
    """Return UTC seconds of a cell: a number, or ISO 8601.

    Raises:
        TelemetryError: it is neither.
    """
    try:
        found = float(text)
    except ValueError:
        try:
            found = parse_utc_s(text)
        except (ValueError, OverflowError):
            raise TelemetryError(f"{text[:40]!r} is not a time", where=place, remedy="UTC seconds or ISO 8601") from None
    if not math.isfinite(found):
        raise TelemetryError(f"{text[:40]!r} is not a time", where=place, remedy="UTC seconds or ISO 8601")
    return found


def number(text: str, column: str, place: str) -> float:
    """Return a finite number of a cell.

    Raises:
        TelemetryError: it is none.
    """
    found = _value(text, column, place)
    if math.isnan(found):
        raise TelemetryError(f"{text[:40]!r} is not a number", where=f"{place}, {column}")
    return found


def parse_table(data: bytes, columns: tuple[str, ...], where: str) -> list[tuple[str, dict[str, str]]]:
    """Return (place, cells by column) of each row of a CSV text that has these columns, and maybe others.

    Raises:
        TelemetryError: malformed; says the line. Never anything else.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TelemetryError("it is not UTF-8 text", where=where) from error
    rows = csv.reader(io.StringIO(text))
    found = []
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        missing = [name for name in columns if header.count(name) != 1]
        if missing:
            raise TelemetryError(
                f"it has no column {missing[0]!r}, or several", where=f"{where}, line 1", remedy=", ".join(columns)
            )
        places = {name: header.index(name) for name in columns}
        for row in rows:
            if not row:
                continue
            place = f"{where}, line {rows.line_num}"
            if len(row) != len(header):
                raise TelemetryError(f"{len(row)} cells under {len(header)} columns", where=place)
            found.append((place, {name: row[n].strip() for name, n in places.items()}))
    except csv.Error as error:
        raise TelemetryError(f"it is not CSV ({error})", where=f"{where}, line {rows.line_num}") from error
    return found


def _value(text: str, column: str, place: str) -> float:
    if not text:
        return math.nan
    try:
        found = float(text)
    except ValueError:
        raise TelemetryError(f"{text[:40]!r} is not a number", where=f"{place}, {column}") from None
    return found if math.isfinite(found) else math.nan


def _numbers(array: npt.NDArray[np.generic], key: str, where: str) -> npt.NDArray[np.float64]:
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
        raise TelemetryError(f"{key} is not a list of numbers", where=where)
    values = array.astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _block(name: str, width: int) -> list[str]:
    return [name] if width == 1 else [f"{name}.{n}" for n in range(width)]


def _telemetry(
    channels: tuple[str, ...] | list[str],
    times: npt.NDArray[np.float64] | None,
    values: npt.NDArray[np.float64],
    where: str,
) -> Telemetry:
    if len(values) == 0:
        raise TelemetryError("it holds no sample", where=where)
    if len(values) > MAX_SAMPLES or len(channels) > MAX_CHANNELS:
        what = f"it holds over {MAX_SAMPLES} samples or {MAX_CHANNELS} channels"
        raise TelemetryError(what, where=where, remedy="split it")
    if times is None:
        return Telemetry(tuple(channels), np.arange(len(values), dtype=np.float64), values)
    if times.ndim != 1 or len(times) != len(values) or not np.isfinite(times).all():
        raise TelemetryError("its times do not fit its samples", where=where)
    falls = np.flatnonzero(np.diff(times) < 0)
    if len(falls):
        raise TelemetryError(f"time goes back after sample {falls[0]}", where=where, remedy="sort it by time")
    return Telemetry(tuple(channels), times, values, timed=True)
