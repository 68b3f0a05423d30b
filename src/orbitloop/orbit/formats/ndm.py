"""CCSDS navigation data messages as ordered fields: what `ndm_kvn` and `ndm_xml` read and write, and modules of messages
use.

What a message means is left to its own module (`omm`, `opm`, `oem`, and the conjunction message). Here it is fields, each
with keyword, value, unit, line and the XML group that holds it; comments are fields called COMMENT, at their place. The
tables say which group a data keyword stands in (502.0-B-3 sections 3 to 5; 508.0-B-1 section 3; 505.0-B-3).

Text from outside is bounded in characters, lines, line length and depth. Whatever is wrong is raised as the one error class
that the caller names, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from orbitloop.errors import OrbitloopError

MAX_CHARACTERS: Final = 256 << 20
MAX_LINES: Final = 4_000_000
MAX_LINE_CHARACTERS: Final = 4096

COMMENT: Final = "COMMENT"
ErrorClass = Callable[..., OrbitloopError]
"""A class of `errors`, called as `cls(what, where=..., remedy=...)`."""


@dataclass(frozen=True, slots=True)
class Field:
    """One keyword with its value as written; `keyword` is empty for a line of an ephemeris in KVN, which has none.

    `line` counts from 1 (0: not read from a text). `group` is the XML element around the field inside its section
    (`stateVector`, `covarianceMatrix` ...), empty when it stands in the section itself.
    """

    keyword: str
    value: str
    unit: str = ""
    line: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Metadata and the data that it speaks of, each in the order of the text."""

    metadata: tuple[Field, ...]
    data: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class NdmMessage:
    """One message. `kind` is OPM, OMM, OEM or CDM; `relative` is the CDM's part about both objects, else empty."""

    kind: str
    version: str
    header: tuple[Field, ...] = ()
    relative: tuple[Field, ...] = ()
    segments: tuple[Segment, ...] = ()
    line: int = 0

    def fields(self) -> Iterator[Field]:
        """Yield every field in the order of the text."""
        yield from self.header
        yield from self.relative
        for segment in self.segments:
            yield from segment.metadata
            yield from segment.data

    def comments(self) -> tuple[str, ...]:
        """Return all comments in the order of the text, wherever they stand."""
        return tuple(field.value for field in self.fields() if field.keyword == COMMENT)


def _table(**groups: str) -> dict[str, str]:
    return {keyword: group for group, keywords in groups.items() for keyword in keywords.split()}


_SPACECRAFT = "MASS SOLAR_RAD_AREA SOLAR_RAD_COEFF DRAG_AREA DRAG_COEFF"
_XYZ = ("X", "Y", "Z", "X_DOT", "Y_DOT", "Z_DOT")
COVARIANCE_KEYWORDS: Final = tuple(f"C{a}_{b}" for i, a in enumerate(_XYZ) for b in _XYZ[: i + 1])
"""The lower triangle of a state's covariance in OPM, OMM and OEM, row by row."""
_COVARIANCE = " ".join(("COV_REF_FRAME", *COVARIANCE_KEYWORDS))
_ANGLES = "INCLINATION RA_OF_ASC_NODE ARG_OF_PERICENTER"
_STATE = "X Y Z X_DOT Y_DOT Z_DOT"

_DATA: dict[str, dict[str, str]] = {
    "OPM": _table(
        stateVector="EPOCH " + _STATE,
        keplerianElements=f"SEMI_MAJOR_AXIS ECCENTRICITY {_ANGLES} TRUE_ANOMALY MEAN_ANOMALY GM",
        spacecraftParameters=_SPACECRAFT,
        covarianceMatrix=_COVARIANCE,
        maneuverParameters="MAN_EPOCH_IGNITION MAN_DURATION MAN_DELTA_MASS MAN_REF_FRAME MAN_DV_1 MAN_DV_2 MAN_DV_3",
    ),
    "OMM": _table(
        meanElements=f"EPOCH SEMI_MAJOR_AXIS MEAN_MOTION ECCENTRICITY {_ANGLES} MEAN_ANOMALY GM",
        spacecraftParameters=_SPACECRAFT,
        tleParameters="EPHEMERIS_TYPE CLASSIFICATION_TYPE NORAD_CAT_ID ELEMENT_SET_NO REV_AT_EPOCH BSTAR BTERM "
        "MEAN_MOTION_DOT MEAN_MOTION_DDOT AGOM",
        covarianceMatrix=_COVARIANCE,
    ),
    "OEM": {},
    "CDM": _table(
        odParameters="TIME_LASTOB_START TIME_LASTOB_END RECOMMENDED_OD_SPAN ACTUAL_OD_SPAN OBS_AVAILABLE OBS_USED "
        "TRACKS_AVAILABLE TRACKS_USED RESIDUALS_ACCEPTED WEIGHTED_RMS",
        additionalParameters="AREA_PC AREA_DRG AREA_SRP MASS CD_AREA_OVER_MASS CR_AREA_OVER_MASS THRUST_ACCELERATION SEDR",
        stateVector=_STATE,
    ),
}
KINDS: Final = tuple(_DATA)
_CDM_COVARIANCE = re.compile(r"C(?:[RTN](?:DOT)?|DRG|SRP|THR)_(?:[RTN](?:DOT)?|DRG|SRP|THR)")
RELATIVE_STATE: Final = re.compile(r"RELATIVE_(?:POSITION|VELOCITY)_[RTN]")
HEADER_KEYWORDS: Final = frozenset(("CREATION_DATE", "ORIGINATOR", "MESSAGE_ID", "MESSAGE_FOR", "CLASSIFICATION"))
USER_DEFINED: Final = "USER_DEFINED_"


def group_of(kind: str, keyword: str) -> str:
    """Return the XML group that holds a data keyword; empty for one that is no data keyword of that kind of message."""
    if keyword.startswith(USER_DEFINED):
        return "userDefinedParameters"
    if kind == "CDM" and _CDM_COVARIANCE.fullmatch(keyword):
        return "covarianceMatrix"
    return _DATA[kind].get(keyword, "")


def groups(fields: Iterable[Field]) -> Iterator[tuple[str, list[Field]]]:
    """Cut a section at its groups: (name, fields), in order; a group whose first keyword comes again begins anew.

    Comments go with the field that follows them, those at the end with what stands before.
    """
    run: list[Field] = []
    waiting: list[Field] = []
    first = ""
    for field in fields:
        if field.keyword == COMMENT:
            waiting.append(field)
            continue
        if run and (field.group != run[-1].group or (field.group and field.keyword == first != "")):
            yield run[-1].group, run
            run = []
        if not run:
            first = field.keyword
        run += [*waiting, field]
        waiting = []
    if run or waiting:
        yield (run or waiting)[-1].group, run + waiting


def looks_like_xml(text: str) -> bool:
    """Tell the forms apart by the first character."""
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def one_line(text: str) -> str:
    """Return a value without line breaks, its inner spaces kept."""
    return " ".join(part.strip() for part in text.splitlines()).strip()


def check_size(text: str, where: str, error: ErrorClass) -> None:
    """Refuse a text that is too large.

    Raises:
        error: it is.
    """
    if len(text) > MAX_CHARACTERS:
        raise error(f"text has {len(text)} characters, over {MAX_CHARACTERS}", where=where)
    if (lines := text.count("\n")) > MAX_LINES:
        raise error(f"text has {lines} lines, over {MAX_LINES}", where=where)


def only_message(messages: list[NdmMessage], where: str, error: ErrorClass) -> NdmMessage:
    """Return the one message.

    Raises:
        error: there is none, or several.
    """
    if len(messages) != 1:
        raise error(f"holds {len(messages)} messages where one belongs", where=where)
    return messages[0]
