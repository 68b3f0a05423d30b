"""Satellites and ground stations: where they are, what they can send, what energy they have.

A satellite's orbit stands in one of three forms, told apart by their fields. Turning it into states is the orbit package's
work; here only what can be seen without propagating is checked (ranges, TLE checksums, the fields that an OMM must have).

Defaults describe a 12U CubeSat of the Tiansuan class: a Raspberry Pi as computer (4.8 W), 25 W of panels.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator
from pydantic.alias_generators import to_camel

from orbitloop.resources.meta import Integral, Many, Parameters, Resource, Section, Share, UtcText, wrong

# Above this altitude the J2 drift cannot follow the sun even in a fully retrograde orbit (Vallado, 4th ed., 11.4.1).
MAX_SUN_SYNCHRONOUS_KM = 5974.0
OMM_NUMBERS = ("MEAN_MOTION", "ECCENTRICITY", "INCLINATION", "RA_OF_ASC_NODE", "ARG_OF_PERICENTER", "MEAN_ANOMALY")


class ElementsOrbit(Section):
    """A circular orbit by its elements; without any, a sun-synchronous one at 500 km, 10:30 local time."""

    altitude_km: float = Field(default=500.0, ge=160, le=36_000)
    """Height over the equatorial radius, km."""
    inclination_deg: float | None = Field(default=None, ge=0, le=180)
    """Inclination, degrees. Give this or `sunSynchronous: true`."""
    sun_synchronous: bool = True
    """Take the inclination at which the orbital plane follows the sun. Off as soon as `inclinationDeg` is given."""
    ltan_hours: float | None = Field(default=None, ge=0, lt=24)
    """Local time of the ascending node, hours (10.5 = 10:30), at the epoch. Give this or `raanDeg`; default 10.5, or
    raanDeg 0 if the orbit is not sun-synchronous."""
    raan_deg: float | None = Field(default=None, ge=0, lt=360)
    """Right ascension of the ascending node, degrees. Give this or `ltanHours`."""
    mean_anomaly_deg: float = Field(default=0.0, ge=0, lt=360)
    """Place along the orbit at the epoch, degrees from the ascending node."""
    epoch: UtcText | None = None
    """When the elements hold, ISO 8601 UTC; default the mission's start."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        filled = dict(value)

        def given(field: str) -> Any:
            return value.get(to_camel(field), value.get(field))

        if given("inclination_deg") is not None and given("sun_synchronous") is None:
            filled["sunSynchronous"] = False
        if given("ltan_hours") is None and given("raan_deg") is None:
            follows_sun = filled.get("sunSynchronous", given("sun_synchronous")) is not False
            filled["ltanHours" if follows_sun else "raanDeg"] = 10.5 if follows_sun else 0.0
        return filled

    @model_validator(mode="after")
    def _one_of_each(self) -> ElementsOrbit:
        if self.sun_synchronous and self.inclination_deg is not None:
            raise wrong("inclinationDeg and sunSynchronous: true are both given", "give one of the two")
        if not self.sun_synchronous and self.inclination_deg is None:
            raise wrong("the orbit has no inclination", "give inclinationDeg, or sunSynchronous: true")
        if self.ltan_hours is not None and self.raan_deg is not None:
            raise wrong("ltanHours and raanDeg are both given", "give one of the two")
        if self.sun_synchronous and self.altitude_km > MAX_SUN_SYNCHRONOUS_KM:
            remedy = f"stay under {MAX_SUN_SYNCHRONOUS_KM:.0f} km, or give inclinationDeg"
            raise wrong(f"no orbit at {self.altitude_km:g} km is sun-synchronous", remedy)
        return self


class TleOrbit(Section):
    """An orbit by a two-line element set."""

    tle: Annotated[tuple[str, str], Many, Field(json_schema_extra={"$comment": "two texts"})]
    """The two lines, each 69 characters, in quotes."""

    @field_validator("tle")
    @classmethod
    def _checksums(cls, lines: tuple[str, str]) -> tuple[str, str]:
        for number, line in enumerate(lines, 1):
            if len(line) != 69 or not line.isascii() or not line.startswith(f"{number} "):
                remedy = f"copy the line unchanged: 69 characters that begin with '{number} '"
                raise wrong(f"line {number} of the TLE is malformed ({len(line)} characters)", remedy)
            total = sum(int(c) if c.isdigit() else c == "-" for c in line[:68]) % 10
            if line[68] != str(total):
                raise wrong(f"line {number} of the TLE has the checksum {line[68]}, not {total}", "fetch the elements again")
        if lines[0][2:7] != lines[1][2:7]:
            raise wrong("the two lines of the TLE are of different objects", "take both lines from one set")
        return lines


class OmmOrbit(Section):
    """An orbit by an orbit mean-elements message (CCSDS 502.0-B-3), the form that has room for new catalogue numbers."""

    omm: Parameters
    """The message's key-value pairs, with the standard's names: EPOCH, MEAN_MOTION (rev/day), ECCENTRICITY, INCLINATION,
    RA_OF_ASC_NODE, ARG_OF_PERICENTER, MEAN_ANOMALY (degrees); BSTAR, MEAN_MOTION_DOT and the rest as far as given."""

    @field_validator("omm")
    @classmethod
    def _complete(cls, omm: dict[str, Any]) -> dict[str, Any]:
        missing = [name for name in ("EPOCH", *OMM_NUMBERS) if name not in omm]
        if missing:
            raise wrong(f"the OMM lacks {', '.join(missing)}", "copy the whole message (JSON is YAML)")
        if not isinstance(omm["EPOCH"], str):
            raise wrong("EPOCH of the OMM is not a time", "write it as 2026-08-22T04:14:31.5")
        for name in OMM_NUMBERS:
            if isinstance(omm[name], bool) or not isinstance(omm[name], (int, float)):
                raise wrong(f"{name} of the OMM is not a number", "write a plain number without quotes")
        return omm


def _orbit_form(value: Any) -> str:
    if isinstance(value, dict):
        return "tle" if "tle" in value else "omm" if "omm" in value else "elements"
    return "tle" if isinstance(value, TleOrbit) else "omm" if isinstance(value, OmmOrbit) else "elements"


Orbit = Annotated[
    Annotated[ElementsOrbit, Tag("elements")] | Annotated[TleOrbit, Tag("tle")] | Annotated[OmmOrbit, Tag("omm")],
    Discriminator(_orbit_form),
]
ElevationStep = Annotated[
    tuple[Annotated[float, Field(ge=0, le=90)], Share], Many, Field(json_schema_extra={"$comment": "pairs"})
]


class Link(Section):
    """What the radio carries inside a contact window."""

    uplink_bps: float = Field(default=1e6, gt=0, le=1e12)
    """Rate from a station to the satellite, bit/s."""
    downlink_bps: float = Field(default=1e8, gt=0, le=1e12)
    """Rate from the satellite to a station, bit/s."""
    by_elevation: Annotated[tuple[ElevationStep, ...], Many] = ()
    """Share of the rates by elevation: pairs [degrees, share] with rising degrees, each valid from its elevation on. Empty =
    the full rate over the whole pass."""
    guard_s: float = Field(default=5.0, ge=0, le=600)
    """Time lost at either end of a pass to acquisition, s."""
    loss_rate: float = Field(default=0.0, ge=0, le=0.9)
    """Share of the PDUs that are lost on the way."""

    @field_validator("by_elevation")
    @classmethod
    def _rising(cls, steps: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(steps)):
            raise wrong("the elevations do not rise", "order the pairs by degrees, each once")
        return steps


class Power(Section):
    """Battery, panels and what draws from them."""

    battery_wh: float = Field(default=115.0, gt=0, le=1e6)
    """Battery capacity, Wh."""
    panel_w: float = Field(default=25.0, ge=0, le=1e6)
    """Mean power of the panels in sunlight, W."""
    idle_w: float = Field(default=9.0, ge=0, le=1e6)
    """What the bus draws all the time, W."""
    compute_w: float = Field(default=4.8, ge=0, le=1e6)
    """What the payload computer draws in addition while it infers, W."""
    transmit_w: float = Field(default=12.0, ge=0, le=1e6)
    """What the transmitter draws in addition while it sends, W."""
    initial_soc: Share = 0.9
    """State of charge at the start, share of the capacity."""
    min_soc: Share = 0.3
    """Below this state of charge the satellite neither infers nor sends samples."""


class Sensor(Section):
    """The camera."""

    gsd_m: float = Field(default=10.0, gt=0, le=100_000)
    """Ground sample distance, m per pixel."""
    bits_per_band: Annotated[int, Field(ge=1, le=32), Integral] = 8
    """Bits per pixel and band of a raw capture."""


Hardware = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.+-]*[A-Za-z0-9])?$", max_length=64)]


class SatelliteSpec(Section):
    """What a satellite is made of."""

    orbit: Orbit = ElementsOrbit(sun_synchronous=True, ltan_hours=10.5)
    """Where it flies: elements, or `tle`, or `omm`."""
    link: Link = Link()
    """What its radio carries."""
    power: Power = Power()
    """Its energy."""
    sensor: Sensor = Sensor()
    """Its camera."""
    hardware: Hardware = "simulated"
    """What its computer is, as updates must name it: one that is made for other hardware is refused."""
    storage_mb: float = Field(default=512.0, gt=0, le=1e9)
    """Room for samples that wait for a pass, MB (10^6 bytes)."""
    energy_per_tile_j: float = Field(default=2.1, ge=0, le=1e6)
    """Energy that the inference of one tile takes, J. The default was measured in orbit (BUPT-1, YOLOv5-lite on a Raspberry
    Pi)."""


class Satellite(Resource):
    """A satellite that captures, detects, sends samples and takes updates."""

    kind: Literal["Satellite"] = "Satellite"
    spec: SatelliteSpec = SatelliteSpec()


class GroundStationSpec(Section):
    """Where an antenna stands."""

    latitude_deg: float = Field(ge=-90, le=90)
    """Geodetic latitude (WGS84), degrees, north positive."""
    longitude_deg: float = Field(ge=-180, le=180)
    """Longitude, degrees, east positive."""
    altitude_m: float = Field(default=0.0, ge=-500, le=9000)
    """Height over the ellipsoid, m."""
    min_elevation_deg: float = Field(default=10.0, ge=0, lt=90)
    """Below this elevation there is no contact, degrees."""


class GroundStation(Resource):
    """A place that hears the satellites."""

    kind: Literal["GroundStation"] = "GroundStation"
    spec: GroundStationSpec
