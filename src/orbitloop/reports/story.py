"""The mission told in a terminal and in Markdown: one line per round, and a paragraph that says what came of it.

Left to others: the figures (`mission`), the page (`html`). Names come from outside, so they are stripped of control characters
and never read as markup, neither Rich's nor Markdown's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from orbitloop.reports.mission import MissionReport
from orbitloop.reports.rounds import Round, UpdateSummary
from orbitloop.reports.units import ABSENT, duration, gain, human_bytes, human_count, percent, plain_text, points, utc

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_COLUMNS = ("#", "time (UTC)", "sent", "down", "labels", "new", "old", "up", "outcome")


def change(before: float | None, after: float | None) -> str:
    """Write an accuracy before and after, in points: `69.2 → 77.1`."""
    if before is None and after is None:
        return ABSENT
    return f"{points(before)} → {points(after)}"


def summary(report: MissionReport) -> str:
    """Say in a paragraph what the mission did and what it gained."""
    return " ".join(sentence for sentence in _sentences(report) if sentence)


def _sentences(report: MissionReport) -> Iterable[str]:
    sizes, accuracy = report.bytes, report.accuracy
    if not report.complete:
        yield "This is a partial report: the run was interrupted."
    if sizes.not_sent is not None:
        yield (
            f"In {duration(report.finished_at_s - report.started_at_s)} the mission captured {human_bytes(sizes.captured)} "
            f"and sent {human_bytes(sizes.downlinked)} down: {percent(sizes.not_sent)} of the captured bytes were not sent."
        )
    if accuracy.new_gain is not None:
        yield (
            f"{plain_text(accuracy.metric)} on the new domains went from {points(accuracy.new_before)} to "
            f"{points(accuracy.new_after)} ({gain(accuracy.new_gain)} points){_gap(report)}."
        )
    if accuracy.old_gain is not None:
        yield f"On the old domains it went from {points(accuracy.old_before)} to {points(accuracy.old_after)}."
    if report.update_share is not None:
        count = sum(r.update is not None for r in report.rounds)
        yield (
            f"{count} update{'s' if count > 1 else ''} of {percent(report.update_share)} of the full model's size "
            f"({human_bytes(report.model.bytes)}) on average; {human_bytes(sizes.uplinked)} went up in all."
        )

    if report.model.form_ap50 is not None:
        yield (
            f"On board it computes in {plain_text(report.model.form)}: AP50 {points(report.model.form_ap50)} on the frozen "
            f"base scenes, {points(report.model.float_ap50)} as trained."
        )


def update_words(update: UpdateSummary) -> str:
    """Say how long an update takes to send, and what of it is what."""
    parts = []
    if update.seconds is not None:
        passes = (
            "not within the mission" if update.passes is None else f"{update.passes} pass{'es' if update.passes > 1 else ''}"
        )
        parts.append(f"{duration(update.seconds)} to send, {passes}")
    if update.payload_bytes is not None:
        parts.append(f"{human_bytes(update.payload_bytes)} are the change, the rest says whom to believe and for whom it is")
    kinds = ", ".join(f"{kind} {human_bytes(size)}" for kind, size in update.bytes_by_kind.items())
    return "; ".join([*parts, kinds] if kinds else parts)


def _gap(report: MissionReport) -> str:
    recovered = report.accuracy.gap_recovered
    if recovered is None:
        return ""
    return f", {percent(recovered)} of the gap to full fine-tuning with all labels ({points(report.accuracy.new_ceiling)})"


def _cells(r: Round) -> tuple[str, ...]:
    return (
        str(r.round),
        utc(r.started_at_s, "%d %b %H:%M"),
        human_count(r.samples_sent),
        human_bytes(r.bytes_down),
        human_count(r.labels),
        change(r.accuracy_before.new, r.accuracy_after.new),
        change(r.accuracy_before.old, r.accuracy_after.old),
        human_bytes(r.bytes_up),
        r.outcome,
    )


def story_table(report: MissionReport) -> Table:
    """Return the story as a Rich table that fits a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_footer=bool(report.rounds))
    table.title = Text(f"{plain_text(report.mission, 60)}: {plain_text(report.accuracy.metric, 12)} by round")
    # Of the whole mission, like the bytes: what comes after the last round began is in none of them.
    totals = (
        "",
        "all",
        human_count(report.counts.received),
        human_bytes(report.bytes.downlinked),
        human_count(report.counts.labelled),
        change(report.accuracy.new_before, report.accuracy.new_after),
        change(report.accuracy.old_before, report.accuracy.old_after),
        human_bytes(report.bytes.uplinked),
        "" if report.complete else "partial",
    )
    for name, total in zip(_COLUMNS, totals, strict=True):
        left = name in ("time (UTC)", "outcome")
        table.add_column(name, Text(total), justify="left" if left else "right", no_wrap=name != "outcome")
    for r in report.rounds:
        *plain, outcome = _cells(r)
        table.add_row(*map(Text, plain), Text(outcome, style=_style(outcome)))
    return table


def _style(outcome: str) -> str:
    if outcome == "confirmed":
        return "green"
    return "yellow" if "gate" in outcome else "red" if outcome in ("rolled back", "refused") else ""


def markdown_text(words: str) -> str:
    """Escape text for Markdown: it stands there as it is, and starts neither a tag nor a cell."""
    return _MARKDOWN.sub(r"\\\1", plain_text(words))


def _markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def to_markdown(report: MissionReport) -> str:
    """Return the story as Markdown: summary, rounds, bytes, accuracy, verdicts, and what it takes to make it again."""
    parts = [f"# {markdown_text(report.mission)}", markdown_text(report.summary), markdown_text_of(summary(report))]
    parts += [f"> {markdown_text(note)}" for note in report.notes]
    parts += ["## Rounds", _markdown_table(_COLUMNS, (map(markdown_text, _cells(r)) for r in report.rounds))]
    parts += ["## Accuracy", _accuracy_table(report), "## Bytes", _bytes_table(report)]
    updates = [_update(r.update, r.round) for r in report.rounds if r.update is not None]
    if updates:
        parts += ["## Updates", "\n".join(updates)]
    verdicts = [_verdict(r) for r in report.rounds if r.gate is not None]
    if verdicts:
        parts += ["## Verdicts of the gate", "\n".join(verdicts)]
    parts += ["## Provenance", f"Seed {report.seed}, digest `{report.digest()}`, model {markdown_text(report.model.name)}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_text_of(paragraph: str) -> str:
    """Escape our own paragraph, which may be longer than a name."""
    return _MARKDOWN.sub(r"\\\1", plain_text(paragraph, 4000))


def _accuracy_table(report: MissionReport) -> str:
    rows = []
    for name, scores in ((report.accuracy.metric, report.accuracy), ("AP", report.accuracy.ap)):
        values = (scores.new_before, scores.new_after, scores.new_ceiling, scores.old_before, scores.old_after)
        rows.append((markdown_text(name), *map(points, values)))
    return _markdown_table(("metric", "new before", "new after", "new ceiling", "old before", "old after"), rows)


def _bytes_table(report: MissionReport) -> str:
    sizes = report.bytes
    rows = [("captured (uncompressed)", human_bytes(sizes.captured)), ("sent down", human_bytes(sizes.downlinked))]
    rows += [(f"down: {markdown_text(kind)}", human_bytes(n)) for kind, n in sizes.downlinked_by_kind.items()]
    rows += [("sent up", human_bytes(sizes.uplinked))]
    rows += [(f"up: {markdown_text(kind)}", human_bytes(n)) for kind, n in sizes.uplinked_by_kind.items()]
    return _markdown_table(("what", "bytes"), [*rows, ("one full model", human_bytes(sizes.full_model))])


def _update(update: UpdateSummary, number: int) -> str:
    words = update_words(update)
    return f"- Version {update.version} of round {number}: **{human_bytes(update.bytes)}**" + (f"; {words}" if words else "")


def _verdict(r: Round) -> str:
    assert r.gate is not None
    reasons = "; ".join(markdown_text(reason) for reason in r.gate.reasons) or "no reason given"
    return f"- Round {r.round}: **{'passed' if r.gate.passed else 'held'}**. {reasons}"
