"""Health reports as pictures: from what was found to the plain arrays that `reports.plots.telemetry` draws."""

from __future__ import annotations

import numpy as np

from orbitloop.apps.health import HealthReport
from orbitloop.apps.health_beacons import SilenceReport
from orbitloop.reports.plots.telemetry import Row, silence_picture, telemetry_picture
from orbitloop.resources.health import TelemetryLimitsSpec


def picture_of(report: HealthReport, limits: TelemetryLimitsSpec, title: str, kind: str) -> bytes:
    """Draw a telemetry report as `png` or `svg`.

    Raises:
        DataError: matplotlib is not installed.
    """
    known = {one.channel: one for one in limits.channels}
    rows = []
    for n, name in enumerate(report.telemetry.channels):
        limit = known.get(name)
        nominal, judged = report.nominal.values[:, n], report.telemetry.values[:, n]
        soft, hard = (limit.soft, limit.hard) if limit else (None, None)
        rows.append(Row(name, nominal, judged, report.scores[:, n], tuple(report.events[name]), soft, hard))
    cut = len(report.nominal)
    if report.telemetry.timed and report.nominal.timed:
        seconds = np.concatenate([report.nominal.times_s, report.telemetry.times_s])
        unit_s, unit = (86400, "days") if seconds[-1] - seconds[0] > 3 * 86400 else (3600, "hours")
        times, axis = (seconds - report.telemetry.times_s[0]) / unit_s, f"{unit} since the judged part began"
    else:
        times, axis = np.arange(-cut, len(report.telemetry), dtype=np.float64), "samples since the judged part began"
    count = sum(len(runs) for runs in report.events.values())
    subtitle = f"green: nominal; red: {count} events by {report.method}, bar {report.rule.factor:g}"
    return telemetry_picture(
        title=title, subtitle=subtitle, rows=rows, times=times, axis=axis, bar=report.rule.factor, kind=kind
    )


def picture_of_silence(report: SilenceReport, title: str, kind: str) -> bytes:
    """Draw the suspicion of all satellites of a history.

    Raises:
        DataError: matplotlib is not installed.
    """
    begin_s = report.history[0].at_s
    histories = {}
    for one in report.satellites:
        states = [state for state in report.history if state.satellite == one.satellite]
        times = np.array([(state.at_s - begin_s) / 86400 for state in states])
        histories[one.satellite] = (times, np.array([state.phi for state in states]))
    return silence_picture(
        title=f"{title}: suspicion by missed passes",
        histories=histories,
        suspected=report.suspected_phi,
        failed=report.failed_phi,
        kind=kind,
    )
