"""Event-wise scores of anomaly detection, without point adjustment.

Two schemes. The corrected one is ESA-ADB's (Kotowski et al. 2024, arXiv 2406.17826, after Sehili and Zhang 2023, arXiv
2308.13068): with TP labelled events of which at least one sample is flagged, FN the others, FP runs of flagged samples that
touch no labelled event, FP_t flagged samples outside of every event and N_t all samples outside,

    precision = TP / (TP + FP) * (1 - FP_t / N_t),   recall = TP / (TP + FN),   F_b = (1 + b^2) P R / (b^2 P + R)

so a detector that flags everything has precision 0. The other is Telemanom's (Hundman et al. 2018, its `detector.py`): no
correction, and a flagged run over two events is credited to the first of them only.

Counts of several channels are added, then divided. Intervals are (first, last) sample, both inclusive.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Interval = tuple[int, int]
BETA = 0.5


@dataclass(frozen=True, slots=True)
class EventCount:
    """What a detector found, of one channel or added up over many."""

    found: int = 0
    missed: int = 0
    false_events: int = 0
    false_samples: int = 0
    nominal_samples: int = 0

    def __add__(self, other: EventCount) -> EventCount:
        return EventCount(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    @property
    def precision(self) -> float:
        """Share of the raised events that are true; 0 when nothing was raised."""
        raised = self.found + self.false_events
        return self.found / raised if raised else 0.0

    @property
    def corrected_precision(self) -> float:
        """Precision times the share of the nominal samples that were left in peace (ESA-ADB)."""
        kept = 1.0 - self.false_samples / self.nominal_samples if self.nominal_samples else 1.0
        return self.precision * kept

    @property
    def recall(self) -> float:
        """Share of the labelled events that were found; 0 when there is none."""
        labelled = self.found + self.missed
        return self.found / labelled if labelled else 0.0

    @property
    def f_half(self) -> float:
        """F0.5 of the corrected precision and the recall."""
        return f_beta(self.corrected_precision, self.recall)

    @property
    def f_half_uncorrected(self) -> float:
        """F0.5 of the plain event-wise precision and the recall, as Telemanom counts."""
        return f_beta(self.precision, self.recall)

    def to_json(self) -> dict[str, float | int]:
        counts = {name: getattr(self, name) for name in self.__slots__}
        return counts | {"precision": self.corrected_precision, "recall": self.recall, "f_half": self.f_half}


def f_beta(precision: float, recall: float, beta: float = BETA) -> float:
    """Return the weighted harmonic mean; 0 where both are 0."""
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / below if below > 0 else 0.0


def intervals_of(flags: npt.ArrayLike) -> list[Interval]:
    """Return the runs of true samples of (N,), in order."""
    raised = np.concatenate([[False], np.asarray(flags, bool), [False]])
    edges = np.flatnonzero(raised[1:] != raised[:-1])
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def flags_of(intervals: Iterable[Interval], length: int) -> npt.NDArray[np.bool_]:
    """Return (length,) true inside the intervals, which are cut to the length."""
    flags = np.zeros(length, bool)
    for first, last in intervals:
        flags[max(first, 0) : max(last + 1, 0)] = True
    return flags


def merged(intervals: Iterable[Interval], gap: int = 0) -> list[Interval]:
    """Return disjoint intervals in order: those that overlap, touch, or lie at most `gap` samples apart become one."""
    joined: list[Interval] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + 1 + gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def count_events(raised: Iterable[Interval], labelled: Iterable[Interval], length: int) -> EventCount:
    """Count one channel by the corrected event-wise scheme.

    Args:
        raised: flagged runs; those that touch are one.
        labelled: events; those that overlap are one.
        length: samples of the channel.
    """
    runs, events = merged(raised), _joined_where_overlapping(labelled)
    found = sum(any(_touch(run, event) for run in runs) for event in events)
    false_events = sum(not any(_touch(run, event) for event in events) for run in runs)
    nominal = ~flags_of(events, length)
    false_samples = int(np.count_nonzero(flags_of(runs, length) & nominal))
    return EventCount(found, len(events) - found, false_events, false_samples, int(np.count_nonzero(nominal)))


def count_events_telemanom(raised: Sequence[Interval], labelled: Iterable[Interval]) -> EventCount:
    """Count one channel as Telemanom does: runs in their order, each credited to the first event it touches."""
    events = _joined_where_overlapping(labelled)
    credited: set[int] = set()
    false_events = 0
    for run in raised:
        touched = [n for n, event in enumerate(events) if _touch(run, event)]
        credited.update(touched[:1])
        false_events += not touched
    return EventCount(len(credited), len(events) - len(credited), false_events)


def _touch(one: Interval, other: Interval) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _joined_where_overlapping(intervals: Iterable[Interval]) -> list[Interval]:
    """Join what overlaps; two labelled events that only touch stay two."""
    ordered = sorted(intervals)
    if all(one[1] < other[0] for one, other in itertools.pairwise(ordered)):
        return ordered
    joined: list[Interval] = []
    for first, last in ordered:
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined
