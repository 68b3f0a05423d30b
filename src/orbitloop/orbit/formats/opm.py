"""Orbit Parameter Messages, in and out, KVN and XML: one state at one time, with covariance and planned manoeuvres.

CCSDS 502.0-B-3 section 3. Read past: the osculating Keplerian elements (they say the state again), user-defined parameters.
Times come in UTC whatever system the message has; the numbers stay in the message's frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from orbitloop.errors import ElementsError
from orbitloop.orbit.formats.fields import FieldReader, format_time
from orbitloop.orbit.formats.ndm import COMMENT, Field, NdmMessage, Segment, groups, looks_like_xml
from orbitloop.orbit.formats.ndm_kvn import parse_kvn
from orbitloop.orbit.formats.ndm_xml import parse_xml
from orbitloop.orbit.formats.states import (
    LIMIT,
    POSITION_UNITS,
    STATE_KEYWORDS,
    VELOCITY_UNITS,
    StateCovariance,
    covariance_fields,
    covariance_of,
)
from orbitloop.orbit.frames import FloatArray

_MASS = {"kg": 1.0}
_AREA = {"m**2": 1.0}


@dataclass(frozen=True, slots=True)
class Manoeuvre:
    """A burn: when it begins, how long it lasts (0: at once), the mass it costs (negative), its velocity change in a frame."""

    ignition_s: float
    duration_s: float
    mass_kg: float | None
    frame: str
    dv_km_s: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class OrbitState:
    """What an OPM holds. `r_km` and `v_km_s` (3,) in `frame` about `center`; areas in m^2; None where the message is silent."""

    name: str
    designator: str
    epoch_s: float
    r_km: FloatArray
    v_km_s: FloatArray
    frame: str = "EME2000"
    center: str = "EARTH"
    mass_kg: float | None = None
    drag_area_m2: float | None = None
    drag_coefficient: float | None = None
    sun_area_m2: float | None = None
    sun_coefficient: float | None = None
    covariance: StateCovariance | None = None
    manoeuvres: tuple[Manoeuvre, ...] = ()
    comments: tuple[str, ...] = field(default=())


def parse_opm(text: str, where: str = "") -> OrbitState:
    """Read one message, KVN or XML.

    Raises:
        ElementsError: the message is malformed (line and keyword are named). Never anything else.
    """
    message = (parse_xml if looks_like_xml(text) else parse_kvn)(text, where)
    return state_of_message(message, where)


def state_of_message(message: NdmMessage, where: str = "") -> OrbitState:
    """Return what an OPM says.

    Raises:
        ElementsError: the message is of another kind, or a field of it is wrong.
    """
    if message.kind != "OPM" or len(message.segments) != 1:
        at = f"{where}, line {message.line}" if where else f"line {message.line}"
        raise ElementsError(f"is a {message.kind} where an OPM belongs", where=at)
    segment = message.segments[0]
    meta = FieldReader(segment.metadata, where, line=message.line)
    plain = [one for one in segment.data if one.group != "maneuverParameters"]
    data = FieldReader(plain, where, line=message.line)
    system = meta.text("TIME_SYSTEM")
    frame, epoch_s = meta.text("REF_FRAME"), data.time_s("EPOCH", system)
    units = [POSITION_UNITS] * 3 + [VELOCITY_UNITS] * 3
    state = [data.number(key, -LIMIT, LIMIT, units=unit) for key, unit in zip(STATE_KEYWORDS, units, strict=True)]
    burns = [FieldReader(run, where, line=run[0].line) for name, run in groups(segment.data) if name == "maneuverParameters"]

    def maybe(key: str, units: dict[str, float] | None) -> float | None:
        return data.number(key, 0.0, LIMIT, units=units) if data.text(key, "") else None

    return OrbitState(
        name=meta.text("OBJECT_NAME"),
        designator=meta.text("OBJECT_ID"),
        epoch_s=epoch_s,
        r_km=np.array(state[:3]),
        v_km_s=np.array(state[3:]),
        frame=frame,
        center=meta.text("CENTER_NAME"),
        mass_kg=maybe("MASS", _MASS),
        drag_area_m2=maybe("DRAG_AREA", _AREA),
        drag_coefficient=maybe("DRAG_COEFF", None),
        sun_area_m2=maybe("SOLAR_RAD_AREA", _AREA),
        sun_coefficient=maybe("SOLAR_RAD_COEFF", None),
        covariance=covariance_of(data, epoch_s, frame) if data.text("CX_X", "") else None,
        manoeuvres=tuple(_manoeuvre(burn, system) for burn in burns),
        comments=message.comments(),
    )


def _manoeuvre(burn: FieldReader, system: str) -> Manoeuvre:
    mass = burn.number("MAN_DELTA_MASS", -LIMIT, 0.0, units=_MASS) if burn.text("MAN_DELTA_MASS", "") else None
    x, y, z = (burn.number(f"MAN_DV_{i}", -LIMIT, LIMIT, units=VELOCITY_UNITS) for i in (1, 2, 3))
    return Manoeuvre(
        burn.time_s("MAN_EPOCH_IGNITION", system),
        burn.number("MAN_DURATION", 0.0, LIMIT, units={"s": 1.0}),
        mass,
        burn.text("MAN_REF_FRAME"),
        (x, y, z),
    )


def message_of_state(state: OrbitState, created_s: float, originator: str = "ORBITLOOP") -> NdmMessage:
    """Return a state as a message, version 3.0, in UTC; write it with `ndm.write_kvn` or `ndm.write_xml`."""
    header = (Field("CREATION_DATE", format_time(created_s)), Field("ORIGINATOR", originator))
    metadata = (
        *(Field(COMMENT, text) for text in state.comments),
        Field("OBJECT_NAME", state.name),
        Field("OBJECT_ID", state.designator or "UNKNOWN"),
        Field("CENTER_NAME", state.center),
        Field("REF_FRAME", state.frame),
        Field("TIME_SYSTEM", "UTC"),
    )
    group = "stateVector"
    data = [Field("EPOCH", format_time(state.epoch_s), group=group)]
    for key, value in zip(STATE_KEYWORDS, (*state.r_km, *state.v_km_s), strict=True):
        data.append(Field(key, repr(float(value)), "km/s" if key.endswith("_DOT") else "km", group=group))
    for key, number, unit in (
        ("MASS", state.mass_kg, "kg"),
        ("SOLAR_RAD_AREA", state.sun_area_m2, "m**2"),
        ("SOLAR_RAD_COEFF", state.sun_coefficient, ""),
        ("DRAG_AREA", state.drag_area_m2, "m**2"),
        ("DRAG_COEFF", state.drag_coefficient, ""),
    ):
        if number is not None:
            data.append(Field(key, repr(number), unit, group="spacecraftParameters"))
    if state.covariance is not None:
        data += covariance_fields(state.covariance, state.frame)
    for burn in state.manoeuvres:
        data += _burn_fields(burn)
    return NdmMessage("OPM", "3.0", header, segments=(Segment(metadata, tuple(data)),))


def _burn_fields(burn: Manoeuvre) -> list[Field]:
    group = "maneuverParameters"
    fields = [
        Field("MAN_EPOCH_IGNITION", format_time(burn.ignition_s), group=group),
        Field("MAN_DURATION", repr(burn.duration_s), "s", group=group),
        # The standard wants the keyword; an unknown mass is told as none lost.
        Field("MAN_DELTA_MASS", repr(burn.mass_kg if burn.mass_kg is not None else -0.0), "kg", group=group),
        Field("MAN_REF_FRAME", burn.frame, group=group),
    ]
    return fields + [Field(f"MAN_DV_{i}", repr(v), "km/s", group=group) for i, v in enumerate(burn.dv_km_s, 1)]
