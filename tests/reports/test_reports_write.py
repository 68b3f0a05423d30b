from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orbitloop.errors import DataError, ImageError, StateError
from orbitloop.records.pixels import encode_image
from orbitloop.reports import write
from orbitloop.reports.story import story_table, summary, to_markdown
from orbitloop.reports.write import read_pictures, read_report, write_report


def printed(table) -> str:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_what_is_written_is_read_again(outcome, tmp_path):
    report, pictures = outcome
    paths = write_report(report, tmp_path / "run", pictures)
    assert read_report(tmp_path / "run") == report == read_report(paths.json)
    assert read_pictures(report, tmp_path / "run") == pictures
    assert paths.html.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert paths.markdown.read_text("utf-8") == to_markdown(report)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["gallery", "report.html", "report.json", "report.md"]
    assert json.loads(paths.json.read_text("utf-8"))["digest"] == report.digest()


def test_writing_twice_gives_the_same_bytes_and_forgets_old_pictures(outcome, tmp_path):
    report, pictures = outcome
    before = {
        p.name: p.read_bytes() for p in (lambda w: (w.json, w.html, w.markdown))(write_report(report, tmp_path, pictures))
    }
    (tmp_path / "gallery" / "mine.txt").write_text("kept")
    paths = write_report(replace(report, gallery=report.gallery[:1]), tmp_path, pictures)
    assert sorted(p.name for p in (tmp_path / "gallery").iterdir()) == sorted(["mine.txt", paths.gallery[0].name])
    again = write_report(report, tmp_path, pictures)
    assert {p.name: p.read_bytes() for p in (again.json, again.html, again.markdown)} == before


def test_a_picture_of_another_kind_becomes_webp(outcome, tmp_path):
    report, _ = outcome
    png = encode_image(np.zeros((16, 16, 3), np.uint8), format="png")
    paths = write_report(report, tmp_path, {report.gallery[0].sample_id: png, "of no sample": b"ignored"})
    assert [p.read_bytes()[8:12] for p in paths.gallery] == [b"WEBP"]
    with pytest.raises(ImageError):
        write_report(report, tmp_path, {report.gallery[0].sample_id: b"no picture"})


def test_a_failed_write_leaves_the_old_report(outcome, tmp_path, monkeypatch):
    report, pictures = outcome
    write_report(report, tmp_path, pictures)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "fsync", full)
    with pytest.raises(StateError, match="No space left"):
        write_report(replace(report, seed=99), tmp_path, pictures)
    assert read_report(tmp_path) == report
    assert not list(tmp_path.rglob(".report-*"))


def test_a_report_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_report(tmp_path)
    (tmp_path / "x" / "report.json").mkdir(parents=True)
    with pytest.raises(DataError):
        read_report(tmp_path / "x")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": "orbitloop.report/1"}', b"1" * 5000]
)
def test_malformed_files(tmp_path, data):
    (tmp_path / "report.json").write_bytes(data)
    with pytest.raises(StateError, match=r"report\.json"):
        read_report(tmp_path)


def test_an_absurd_file(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "MAX_REPORT_BYTES", 10)
    (tmp_path / "report.json").write_bytes(b" " * 11)
    with pytest.raises(DataError, match="larger than"):
        read_report(tmp_path)


@given(st.binary(max_size=64))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_a_report_or_the_one_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "any-report.json"
    file.write_bytes(data)
    with pytest.raises(StateError):
        read_report(file)


def test_cut_files_are_refused(outcome, tmp_path):
    paths = write_report(replace(outcome[0], ground_track=()), tmp_path, {})
    whole = paths.json.read_bytes()
    for size in range(0, len(whole) - 3, len(whole) // 23):
        paths.json.write_bytes(whole[:size])
        with pytest.raises(StateError):
            read_report(paths.json)


def test_the_story_fits_a_terminal(outcome, empty):
    text = printed(story_table(outcome[0]))
    assert max(len(row) for row in text.splitlines()) <= 80
    for said in ("aircraft", "69.2 → 76.8", "confirmed", "held at", "2.31 MB", "12.7 MB", "452 kB", "69.2 → 86.8"):
        assert said in text
    assert "early" in printed(story_table(empty))


def test_the_summary_has_the_figures(outcome, empty):
    words = summary(outcome[0])
    for said in (
        "99.70 % of the captured bytes were not sent",
        "+17.6 points",
        "94.6 % of the gap",
        "91.0 to 93.9",
        "1.3 % of the full",
    ):
        assert said in words
    assert summary(empty) == "This is a partial report: the run was interrupted."


def test_names_are_never_markup_in_a_terminal(outcome):
    text = printed(story_table(replace(outcome[0], mission="[red]x[/red]\x1b[31m[/nope]")))
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
