"""The report as one HTML file that opens offline: style, charts and pictures are inside it, and it runs no script.

A content security policy forbids every request and every style but our own sheet (by its hash). Jinja2 escapes what the
template prints; charts escape what they draw. Left to others: what is shown (`views`), how it looks (`static/report.css`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from orbitloop.reports import views
from orbitloop.reports.mission import SCHEMA, MissionReport
from orbitloop.reports.story import change, summary, update_words
from orbitloop.reports.units import duration, gain, human_bytes, human_count, percent, plain_text, points, utc

_FOLDER = files("orbitloop.reports")


def _template(name: str) -> str:
    return _FOLDER.joinpath("templates", name).read_text("utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "bytes": human_bytes,
        "count_text": human_count,
        "duration": duration,
        "gain": gain,
        "percent": percent,
        "points": points,
        "utc": utc,
        "clean": plain_text,
    }
    environment.globals |= {"change": change, "tensor_rows": views.tensor_rows, "update_words": update_words}
    return environment


def unbroken(words: str) -> str:
    """Keep each number on one line with its unit."""
    return re.sub(r"(?<=\d) (?=%|(?:[kMGTPE]?B|points?|d|h|min|s)\b)", "\N{NO-BREAK SPACE}", words)


def content_policy(css: str) -> str:
    """Return the policy for a page whose only style sheet is `css`: no script, no request, pictures only from within."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def render_html(report: MissionReport, pictures: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        report: complete or partial.
        pictures: sample id -> WebP bytes, for the gallery.
    """
    css = _FOLDER.joinpath("static/report.css").read_text("utf-8")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            schema=SCHEMA,
            digest=report.digest(),
            css=Markup(css),
            policy=content_policy(css),
            summary=unbroken(summary(report)),
            tiles=views.tiles(report),
            accuracy=views.accuracy_chart(report),
            domains=views.domain_rows(report),
            bytes_chart=views.bytes_chart(report),
            funnel=views.funnel_chart(report),
            passes=views.passes_chart(report),
            map=views.map_chart(report),
            track_span_s=views.track_span_s(report),
            battery=views.battery_chart(report),
            cards=views.cards(report, pictures),
            colours=views.satellite_colours(report),
        )
    )
