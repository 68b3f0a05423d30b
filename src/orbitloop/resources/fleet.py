"""Satellites and ground stations: where they are, what they can send, what energy they have.

A satellite's orbit stands in one of three forms, told apart by their fields. Turning it into states is the orbit package's
work; here only what can be seen without propagating is checked (ranges, TLE checksums, the fields that an OMM must have).
What a satellite's energy and temperature follow from stands in `power` and `thermal`.

Defaults describe a 12U CubeSat of the Tiansuan class: a Raspberry Pi as computer (4.8 W), 25 W of panels.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator
from pydantic.alias_generators import to_camel

from orbitloop.resources.meta import Integral, Many, Parameters, Resource, Section, Share, Text, UtcText, later, wrong

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


Band = Literal["VHF", "UHF", "L", "S", "C", "X", "Ku", "K", "Ka", "V", "Optical"]


class BandRates(Section):
    """What a radio carries in one band."""

    band: Band
    """The band, by its IEEE letter."""
    uplink_bps: float = Field(default=0.0, ge=0, le=1e12)
    """Rate from a station to the satellite, bit/s; 0 = it does not receive there."""
    downlink_bps: float = Field(default=0.0, ge=0, le=1e12)
    """Rate from the satellite to a station, bit/s; 0 = it does not send there."""


class Crosslinks(Section):
    """Links to other satellites."""

    rate_bps: float = Field(gt=0, le=1e12)
    """Rate of one link, bit/s, either way."""
    max_range_km: float = Field(default=5000.0, gt=0, le=100_000)
    """Beyond this distance there is no link, km."""
    terminals: Annotated[int, Field(ge=1, le=16), Integral] = 1
    """How many links can stand at a time."""
    acquisition_s: float = Field(default=0.0, ge=0, le=3600)
    """Time that a link takes to stand, s."""
    transmit_w: float = Field(default=0.0, ge=0, le=1e6)
    """What a terminal draws while it sends, W."""


class Processor(Section):
    """A part that computes."""

    kind: Literal["CPU", "NPU", "GPU"]
    """What it is."""
    name: Text = ""
    """What it is called."""
    count: Annotated[int, Field(ge=1, le=1024), Integral] = 1
    """How many of them there are."""
    tops: float = Field(default=0.0, ge=0, le=1e6)
    """Greatest rate of one, 10^12 operations a second (int8); 0 = not given."""
    tops_per_w: float = Field(default=0.0, ge=0, le=1e6)
    """Operations per energy at that rate, 10^12 operations a second per watt; 0 = not given."""


Axis = Annotated[tuple[float, float, float], Many, Field(json_schema_extra={"$comment": "three numbers"})]


class Panel(Section):
    """One flat solar panel, by its area and where it looks."""

    area_m2: float = Field(gt=0, le=10_000)
    """Area of the cells, m2."""
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.28
    """Share of the sunlight that becomes electric power at 28 degrees C, new."""
    normal: Axis = (0.0, 0.0, -1.0)
    """Where its front looks, in the frame of the orbit: x along the flight, y opposite to the orbit's angular momentum, z to
    the Earth's centre. [0, 0, -1] looks away from the Earth."""
    tracks_sun: bool = False
    """It is turned to the sun by a drive, whatever the attitude."""

    @field_validator("normal")
    @classmethod
    def _has_a_direction(cls, normal: tuple[float, float, float]) -> tuple[float, float, float]:
        if not 1e-6 < sum(value * value for value in normal) < 1e12:
            raise wrong("normal has no direction", "write three numbers that are not all zero, such as [0, 0, -1]")
        return normal


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
    panels: Annotated[tuple[Panel, ...], Many] = later(())
    """Panels by area and direction; their power then follows from the sun's direction, and `panelW` is not used."""
    attitude: Literal["nadir", "sun"] = later("nadir")
    """How the satellite is turned: `nadir` keeps its z axis to the Earth, `sun` turns every panel's front to the sun."""
    harvest_efficiency: Annotated[float, Field(gt=0, le=1)] = later(1.0)
    """Share of the panels' power that reaches the bus (peak-power tracker, wires)."""
    degradation_per_year: float = later(0.0, ge=0, le=0.5)
    """Share of the panels' power that is lost with each year in orbit."""
    age_years: float = later(0.0, ge=0, le=50)
    """How long the satellite has been in orbit at the mission's start, years."""
    charge_efficiency: Annotated[float, Field(gt=0, le=1)] = later(1.0)
    """Share of what goes into the battery that is stored."""
    discharge_efficiency: Annotated[float, Field(gt=0, le=1)] = later(1.0)
    """Share of what is taken from the store that comes out of the battery."""
    max_soc: Annotated[float, Field(gt=0, le=1)] = later(1.0)
    """State of charge at which charging ends."""
    max_charge_w: float | None = later(None, gt=0, le=1e6)
    """Most that the battery takes, W; default no limit. What is above it is not harvested."""
    max_depth: Annotated[float, Field(gt=0, le=1)] | None = later(None)
    """Greatest depth of discharge that the battery's life allows, as a share of the capacity; a forecast warns beyond it."""
    aocs_w: float = later(0.0, ge=0, le=1e6)
    """What attitude control draws all the time, W."""
    heater_w: float = later(0.0, ge=0, le=1e6)
    """What the heaters draw in the Earth's shadow, W."""
    compute_duty: Share = later(0.0)
    """Share of the time in which the payload computes, for forecasts; a run counts what it really computes."""

    @model_validator(mode="after")
    def _ends_agree(self) -> Power:
        if self.min_soc >= self.max_soc:
            raise wrong(f"minSoc {self.min_soc:g} is not below maxSoc {self.max_soc:g}", "leave room between the two")
        if self.initial_soc > self.max_soc:
            raise wrong(f"initialSoc {self.initial_soc:g} is above maxSoc {self.max_soc:g}", "start at maxSoc or below")
        return self


Limits = Annotated[tuple[float, float], Many, Field(json_schema_extra={"$comment": "a pair"})]


class Thermal(Section):
    """What the temperatures follow from: three lumps, `panels`, `bus` and `payload`. Every default is a typical value."""

    body_area_m2: float | None = Field(default=None, gt=0, le=10_000)
    """Outer surface of the body, m2; default that of a cube of the satellite's mass at 400 kg/m3."""
    body_absorptivity: Share = 0.45
    """Share of the sunlight that the body's surface takes up (foil and radiators together)."""
    body_emissivity: Share = 0.55
    """Infrared emissivity of the body's surface."""
    panel_area_m2: float | None = Field(default=None, gt=0, le=10_000)
    """Area of the panels, one side, m2; default that of `power.panels`, or what gives `panelW` at 28 %."""
    panel_absorptivity: Share = 0.88
    """Share of the sunlight that the cells' side takes up, electric power included."""
    panel_emissivity: Share = 0.82
    """Infrared emissivity of both sides of the panels."""
    panel_mass_kg_m2: float = Field(default=2.5, gt=0, le=100)
    """Mass of the panels by area, kg/m2."""
    specific_heat_j_kg_k: float = Field(default=900.0, gt=0, le=10_000)
    """Specific heat of everything, J/(kg K); aluminium's."""
    payload_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the mass that is the payload computer with what it is screwed to."""
    payload_bus_w_k: float = Field(default=1.0, ge=0, le=1e4)
    """Conductance between payload and bus, W/K."""
    panel_bus_w_k: float = Field(default=0.1, ge=0, le=1e4)
    """Conductance between panels and bus, W/K."""
    bus_limits_c: Limits = (-10.0, 45.0)
    """Between which temperatures the bus, with its battery, may be, degrees C."""
    payload_limits_c: Limits = (-20.0, 60.0)
    """Between which the payload may be, degrees C."""
    panel_limits_c: Limits = (-100.0, 110.0)
    """Between which the panels may be, degrees C."""

    @field_validator("bus_limits_c", "payload_limits_c", "panel_limits_c")
    @classmethod
    def _in_order(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not -273.15 <= limits[0] < limits[1] <= 1000:
            raise wrong(f"{limits[0]:g} to {limits[1]:g} is no range of temperatures", "write [lowest, highest], degrees C")
        return limits


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
    form: Text = later("")
    """What it looks like, such as 12U or its size."""
    mass_kg: float | None = later(None, gt=0, le=1e6)
    """Mass, kg."""
    bands: Annotated[tuple[BandRates, ...], Many] = later(())
    """What the radio carries in each band. Where given, a station that names its bands hears the satellite only in those that
    both have, at the greatest rate of each direction; the rates of `link` are then not used."""
    crosslinks: Crosslinks | None = later(None)
    """Its links to other satellites; default none."""
    processors: Annotated[tuple[Processor, ...], Many] = later(())
    """What computes on board."""
    thermal: Thermal = later(Thermal())
    """What its temperatures follow from."""

    @field_validator("bands")
    @classmethod
    def _each_band_once(cls, bands: tuple[BandRates, ...]) -> tuple[BandRates, ...]:
        names = [one.band for one in bands]
        for name in names:
            if names.count(name) > 1:
                raise wrong(f"band {name} stands twice", "give each band once")
        if bands and not (any(one.uplink_bps for one in bands) and any(one.downlink_bps for one in bands)):
            raise wrong("the bands carry nothing in one direction", "give uplinkBps and downlinkBps, in one band or in two")
        return bands

    @property
    def best_downlink_bps(self) -> float:
        """The greatest rate to the ground, bit/s."""
        return max((one.downlink_bps for one in self.bands), default=self.link.downlink_bps)

    @property
    def best_uplink_bps(self) -> float:
        """The greatest rate from the ground, bit/s."""
        return max((one.uplink_bps for one in self.bands), default=self.link.uplink_bps)


class Satellite(Resource):
    """A satellite that captures, detects, sends samples and takes updates."""

    kind: Literal["Satellite"] = "Satellite"
    spec: SatelliteSpec = SatelliteSpec()


HorizonPoint = Annotated[
    tuple[Annotated[float, Field(ge=0, lt=360)], Annotated[float, Field(ge=0, lt=90)]],
    Many,
    Field(json_schema_extra={"$comment": "pairs"}),
]


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
    horizon: Annotated[tuple[HorizonPoint, ...], Many] = later(())
    """The skyline where it is above `minElevationDeg`: pairs [azimuth, elevation] with rising azimuths, straight in between
    and around north."""
    antennas: Annotated[int, Field(ge=1, le=1000), Integral] = later(1)
    """How many satellites it can serve at a time."""
    setup_s: float = later(0.0, ge=0, le=3600)
    """Time that an antenna needs from one satellite to the next, s."""
    bands: Annotated[tuple[Band, ...], Many] = later(())
    """Bands that it hears and sends in; empty = whatever the satellite has."""
    provider: Text = later("")
    """Who runs it."""

    @field_validator("horizon")
    @classmethod
    def _around(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(points)):
            raise wrong("the azimuths do not rise", "order the pairs by degrees from north, each once")
        return points

    @field_validator("bands")
    @classmethod
    def _each_once(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(bands)) != len(bands):
            raise wrong("a band stands twice", "give each band once")
        return bands


class GroundStation(Resource):
    """A place that hears the satellites."""

    kind: Literal["GroundStation"] = "GroundStation"
    spec: GroundStationSpec
