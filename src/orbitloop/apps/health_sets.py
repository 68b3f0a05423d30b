"""Labelled telemetry sets from disk: SMAP/MSL (channels with expert-labelled anomalies), OPS-SAT (attitude and device states).

Layouts are those of the project's data folder. Judging them belongs to `ground.health`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from orbitloop.algorithms.health.alarms import AlarmRule
from orbitloop.algorithms.health.online import OnlineClassifier, prequential
from orbitloop.apps.health_files import parse_csv, parse_npz, read_telemetry_bytes
from orbitloop.errors import DataError, TelemetryError
from orbitloop.ground.health.evaluation import Evaluation, LabelledChannel, judge, split
from orbitloop.ground.health.scoring import Interval
from orbitloop.plugins.kinds import Monitor
from orbitloop.plugins.registry import default_registry

SMAP_MSL, OPSSAT = "telemetry_smap_msl", "telemetry_opssat_fdir"
DEVICES = ("hd_camera", "optical_rx", "star_tracker")


def read_labels(data: bytes, where: str) -> dict[str, list[Interval]]:
    """Return labelled intervals by channel, in the file's order.

    Raises:
        TelemetryError: malformed; says the line. Never anything else.
    """
    labels: dict[str, list[Interval]] = {}
    try:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8")))
        for row in rows:
            place = f"{where}, line {rows.line_num}"
            try:
                name, first, last = row["channel"], int(row["start"]), int(row["end"])
                if not name or not 0 <= first <= last < 1 << 31:
                    raise ValueError("an interval is out of range")
            except (KeyError, TypeError, ValueError) as error:
                raise TelemetryError(f"a label is malformed ({error})", where=place) from error
            labels.setdefault(name, []).append((first, last))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TelemetryError(f"it is not a CSV of labels ({error})", where=where) from error
    if not labels:
        raise TelemetryError("it holds no label", where=where, remedy="columns: channel, start, end")
    return labels


def labelled_names(folder: Path) -> list[str]:
    """Return the channels that have labels, in order of their names.

    Raises:
        DataError: no such set there.
        TelemetryError: its labels are malformed.
    """
    path = folder / "labels.csv"
    if not path.is_file():
        raise DataError(
            "no labelled telemetry lies there", where=str(folder), remedy="name a folder with labels.csv and channels/"
        )
    return sorted(read_labels(read_telemetry_bytes(path), str(path)))


def read_channel(folder: Path, name: str) -> LabelledChannel:
    """Read one channel of a set in the layout of SMAP/MSL.

    Raises:
        TelemetryError: malformed, or without a nominal part.
    """
    path = folder / "labels.csv"
    events = read_labels(read_telemetry_bytes(path), str(path)).get(name, [])
    file = folder / "channels" / f"{name}.npz"
    found = parse_npz(read_telemetry_bytes(file), name, str(file))
    if found.nominal is None:
        raise TelemetryError("it has no train_value and test_value", where=str(file))
    return LabelledChannel(name, found.nominal.values[:, 0], found.judged.values[:, 0], tuple(events), follows=False)


def read_device(folder: Path, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return attitude quaternions (N, 4) and the device's state (N,) bool, in the order of time.

    Raises:
        TelemetryError: malformed.
    """
    path = folder / f"{device}.csv"
    data = read_telemetry_bytes(path)
    quaternions = parse_csv(data, str(path)).judged.select(("x0", "x1", "x2", "x3")).values
    labels = parse_csv(data.replace(b",label", b",state", 1), str(path)).judged.select(("state",)).values[:, 0]
    if not np.isfinite(quaternions).all() or not np.isin(labels, (0.0, 1.0)).all():
        raise TelemetryError("a sample is missing, or a label is neither 0 nor 1", where=str(path))
    return quaternions, labels == 1.0


def evaluate_channels(
    folder: Path, method: str, part: str = "all", progress: Callable[[int, int, str], None] | None = None
) -> Evaluation:
    """Score a monitor, with its own rule, on the channels of a set.

    Args:
        folder: the set.
        method: a monitor's name.
        part: `dev`, `test` (`ground.health.evaluation.split`) or `all`.
        progress: is told (done, total, channel).

    Raises:
        DataError: no such set there.
        TelemetryError: malformed, or too short for the monitor.
        PluginError: no such monitor.
    """
    names = labelled_names(folder)
    dev, test = split(names)
    chosen = {"dev": dev, "test": test}.get(part, names)
    registry = default_registry()
    results = []
    for n, name in enumerate(chosen):
        if progress:
            progress(n, len(chosen), name)
        monitor = cast(Monitor, registry.create("monitor", method))
        results.append(judge(read_channel(folder, name), monitor, getattr(monitor, "rule", AlarmRule())))
    return Evaluation(tuple(results))


def is_devices(folder: Path) -> bool:
    """Return whether a folder is laid out as OPS-SAT's devices."""
    return all((folder / f"{device}.csv").is_file() for device in DEVICES)


def evaluate_devices(folder: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Predict each device's state from the attitude, sample by sample, learning each label after it was predicted.

    Beside the balanced accuracy over all samples stand that of the first 500, and `persistence`: what saying the last label
    again would reach, which the classifier does not see.

    Raises:
        TelemetryError: malformed.
    """
    rows = []
    for device in DEVICES:
        quaternions, labels = read_device(folder, device)
        attitude = quaternions * np.where(quaternions[:, :1] < 0, -1.0, 1.0)  # q and -q are one attitude
        classifier = OnlineClassifier(4, np.random.default_rng(seed))
        predicted = np.zeros(len(labels), bool)
        for n, row in enumerate(attitude):
            predicted[n] = classifier.predict(row)
            classifier.learn(row, bool(labels[n]))
        rows.append(
            {
                "device": device,
                "samples": len(labels),
                "balanced_accuracy": prequential(predicted, labels),
                "first_500": prequential(predicted[:500], labels[:500]),
                "persistence": prequential(np.concatenate([labels[:1], labels[:-1]]), labels),
                "state_bytes": classifier.state_bytes,
            }
        )
    return rows
