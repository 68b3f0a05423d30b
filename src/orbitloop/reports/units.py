"""Numbers as a person reads them. A figure that is absent, not finite or beyond the calendar is an en dash, never an error.

Bytes are decimal (1 kB = 1000 B), as links are. Accuracies, fractions inside, are shown in points of 100.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

ABSENT = "–"
MINUS = "\N{MINUS SIGN}"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def human_bytes(count: float | None) -> str:
    """Write a size with three significant digits: `41.2 MB`."""
    if count is None or not math.isfinite(count):
        return ABSENT
    sign, size = (MINUS if count < 0 else ""), abs(float(count))
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    digits = 0 if unit == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{sign}{size:.{digits}f} {_UNITS[unit]}"


def human_rate(rate_bps: float | None) -> str:
    """Write a rate with as many digits as it has: `100 Mbit/s`."""
    if rate_bps is None or not math.isfinite(rate_bps):
        return ABSENT
    rate, unit = float(rate_bps), 0
    while rate >= 999.5 and unit < 4:
        rate, unit = rate / 1000, unit + 1
    return f"{rate:.3g} {('', 'k', 'M', 'G', 'T')[unit]}bit/s"


def round_bytes(count: float) -> str:
    """Write a size that is a round number, as on an axis: `10 kB`."""
    return re.sub(r"\.0+ ", " ", human_bytes(count))


def human_count(count: float | None) -> str:
    """Write a count with thin spaces between thousands, or in millions: `8.7 M`."""
    if count is None or not math.isfinite(count):
        return ABSENT
    if abs(count) >= 1e6:
        return f"{count / 1e6:.1f} M"
    return f"{count:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def points(value: float | None) -> str:
    """Write an accuracy (fraction) in points of 100: `86.8`."""
    return f"{value * 100:.1f}" if value is not None and math.isfinite(value) else ABSENT


def round_points(value: float) -> str:
    """Write a round accuracy, as on an axis: `80`, `72.5`."""
    return f"{value * 100:.1f}".removesuffix(".0")


def gain(value: float | None) -> str:
    """Write a difference of accuracies in points, always with its sign: `+17.6`."""
    if value is None or not math.isfinite(value):
        return ABSENT
    rounded = round(value * 100, 1)
    return f"{'+' if rounded > 0 else MINUS if rounded < 0 else '±'}{abs(rounded):.1f}"


def percent(share: float | None) -> str:
    """Write a share; more digits where it comes close to 0 or 1, so that 99.96 % does not become all of it."""
    if share is None or not math.isfinite(share):
        return ABSENT
    value = share * 100
    edge = min(abs(value), abs(100 - value))
    digits = 2 if 0 < edge < 1 else 1 if 0 < edge < 10 else 0
    return f"{value:.{digits}f} %".replace("-", MINUS)


def times(ratio: float | None) -> str:
    """Write how many times smaller or larger: `1:84`-style ratios are read as `84 times`."""
    if ratio is None or not math.isfinite(ratio) or ratio <= 0:
        return ABSENT
    return f"{ratio:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") + "×" if ratio >= 10 else f"{ratio:.1f}×"


def duration(seconds: float | None) -> str:
    """Write a span of time by its two leading units: `2 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    sign, left = (MINUS if seconds < 0 else ""), abs(seconds)
    if left < 59.95:
        return f"{sign}{left:.1f} s" if left < 9.95 and left % 1 else f"{sign}{left:.0f} s"
    minutes = round(left / 60)
    if minutes < 60:
        return f"{sign}{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{sign}{hours} h {minutes} min" if minutes else f"{sign}{hours} h"
    days, hours = divmod(round(left / 3600), 24)
    return f"{sign}{days} d {hours} h" if hours else f"{sign}{days} d"


def utc(at_s: float | None, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """Write UTC seconds by a `strftime` form."""
    if at_s is None or not math.isfinite(at_s):
        return ABSENT
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return ABSENT


def plain_text(text: str, limit: int = 200) -> str:
    """Make text from outside safe to print: no control or direction characters, no new lines, a bounded length."""
    clean = _CONTROL.sub(" ", text).encode("utf-8", "replace").decode()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
