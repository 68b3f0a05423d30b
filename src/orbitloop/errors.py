"""One family of errors. Each says what is wrong, where, and what to do; each kind has a documented exit code.

Ports re-raise what they catch in this family, so that a user meets no other traceback. `docs/reference/exit-codes.md` lists
the codes, and a test holds the list against this file.
"""

from __future__ import annotations


class OrbitloopError(Exception):
    """Base of every error that a user may see.

    Args:
        what: what is wrong, one sentence without a full stop.
        where: file, line and field, or the part of the system; empty when there is no place.
        remedy: what the user can do about it; empty when nothing can be done.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        cure = f"\n  -> {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{cure}"


class ManifestError(OrbitloopError):
    """A mission or resource file is not what it should be (file, line, field)."""

    exit_code = 10


class LabelError(OrbitloopError):
    """A label file (COCO, YOLO) is malformed or does not fit its images."""

    exit_code = 11


class ImageError(OrbitloopError):
    """Bytes are not an image that we accept: truncated, too large, of an unknown kind."""

    exit_code = 12


class ModelError(OrbitloopError):
    """A model's graph, weights or metadata are malformed or do not fit each other."""

    exit_code = 13


class ExportError(ModelError):
    """The exported model does not compute what the trained one does (parity gate)."""

    exit_code = 14


class UpdateError(OrbitloopError):
    """An update is refused: malformed, wrong base, wrong result, bad signature, not for this satellite."""

    exit_code = 15


class TrustError(UpdateError):
    """A signature is missing, wrong, or by a key that is not trusted."""

    exit_code = 16


class ElementsError(OrbitloopError):
    """Orbital elements are malformed, or cannot be propagated to the asked time."""

    exit_code = 17


class LinkError(OrbitloopError):
    """Bytes received over the link are malformed, or the link is used against its contract."""

    exit_code = 18


class WireError(OrbitloopError):
    """A record's wire form is malformed, truncated, corrupt or of an unknown version."""

    exit_code = 19


class PluginError(OrbitloopError):
    """A plug-in is unknown, registered twice, or does not fulfil its contract."""

    exit_code = 20


class DataError(OrbitloopError):
    """A data set is absent, empty, or holds nothing of what a mission asks for."""

    exit_code = 21


class TrainingError(OrbitloopError):
    """Training cannot start or has diverged."""

    exit_code = 22


class StateError(OrbitloopError):
    """Saved state (run folder, slot, cache) is corrupt or belongs to something else."""

    exit_code = 23


class BusyError(OrbitloopError):
    """A running process has no room for this request just now; nothing was lost but this request, which may come again."""

    exit_code = 24


class BudgetError(OrbitloopError):
    """The budget of this period (tiles, joules, CPU seconds) does not allow what is asked for."""

    exit_code = 25


class ConjunctionError(OrbitloopError):
    """A conjunction data message is malformed, or an encounter cannot be judged from what is given."""

    exit_code = 26


class PlanningError(OrbitloopError):
    """A planning problem contradicts itself, or has no plan within its limits."""

    exit_code = 27


class TelemetryError(OrbitloopError):
    """Telemetry is malformed, or too little of it is there to judge a satellite's health."""

    exit_code = 28
