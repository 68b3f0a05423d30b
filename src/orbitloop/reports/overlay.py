"""Boxes over a picture, as SVG: what the satellite saw, what is there, what the new model sees; and how many each found.

Three colours that stay apart for colour-blind readers (Okabe and Ito, 2008: orange, sky blue, and white for the truth), and
three line styles besides, so that print in grey tells them apart too. The widest line is drawn first: equal boxes stay visible.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

from orbitloop.reports.svg import num, picture, tag, text, tip

Row = Sequence[float]
MAX_BOXES = 300
MAX_SCORES = 6


def data_uri(webp: bytes) -> str:
    """Return the picture as a data URI."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def iou(a: Row, b: Row) -> float:
    """Return intersection over union of two boxes (x0, y0, x1, y1)."""
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    both = wide * tall
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


def found(labels: Sequence[Row], detections: Sequence[Row], least_iou: float = 0.5) -> int:
    """Count the labels that a detection of the same class matches, best score first, each detection once.

    `labels` rows are (x0, y0, x1, y1, class), `detections` rows (x0, y0, x1, y1, score, class).
    """
    left = list(range(len(labels)))
    for row in sorted(detections, key=lambda r: -r[4]):
        overlaps = [(iou(labels[i], row), i) for i in left if labels[i][4] == row[5]]
        best, index = max(overlaps, default=(0.0, -1))
        if best >= least_iou:
            left.remove(index)
    return len(labels) - len(left)


def boxes_over_picture(
    webp: bytes | None,
    size_px: tuple[int, int],
    *,
    label: str,
    onboard: Sequence[Row] = (),
    labels: Sequence[Row] = (),
    updated: Sequence[Row] = (),
    report_score: float = 0.25,
) -> str:
    """Draw a picture (or its empty frame) with three kinds of boxes; detections below `report_score` are left out."""
    width, height = max(size_px[0], 1), max(size_px[1], 1)
    unit = max(width, height) / 320
    body = [tag("rect", x=0, y=0, width=width, height=height, class_="nopicture")]
    if webp is not None:
        body.append(tag("image", href=data_uri(webp), x=0, y=0, width=width, height=height, preserveAspectRatio="none"))
    else:
        body.append(text(width / 2, height / 2, "picture not kept", "empty", "middle"))
    body.append(_layer("label", usable(labels, 5), unit))
    body.append(_layer("updated", [r for r in usable(updated, 6) if r[4] >= report_score], unit))
    body.append(_layer("onboard", [r for r in usable(onboard, 6) if r[4] >= report_score], unit))
    return picture(width, height, "".join(body), label=label, css="photo")


def usable(rows: Sequence[Row], columns: int) -> list[Row]:
    """Keep rows that have all their numbers, finite."""
    return [r for r in rows if len(r) == columns and all(map(math.isfinite, r))][:MAX_BOXES]


def _layer(kind: str, rows: Sequence[Row], unit: float) -> str:
    words = {"label": "label", "updated": "new model", "onboard": "on board"}[kind]
    casing, boxes, scores = [], [], []
    for row in rows:
        x0, y0, wide, tall = row[0], row[1], max(row[2] - row[0], 0.5), max(row[3] - row[1], 0.5)
        note = tip(words if kind == "label" else f"{words}, score {row[4]:.2f}")
        casing.append(f"M{num(x0)} {num(y0)}h{num(wide)}v{num(tall)}h{num(-wide)}z")
        boxes.append(tag("rect", note, x=x0, y=y0, width=wide, height=tall, class_="box"))
        if kind == "onboard" and len(rows) <= MAX_SCORES:
            y = y0 - 3 * unit if y0 > 14 * unit else y0 + tall + 11 * unit
            scores.append(text(x0, y, f"{row[4]:.2f}", "score"))
    body = tag("path", d="".join(casing), class_="casing") + "".join(boxes) + "".join(scores) if rows else ""
    return tag("g", body, class_=f"layer {kind}", font_size=11 * unit)
