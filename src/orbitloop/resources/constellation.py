"""Constellations: many satellites by one resource, as a pattern or as a list of real ones.

A Constellation stands for Satellites that share a template. Which these are needs orbital geometry or a file, so it is said by
whoever opens the mission (`manifest.Expand`); after that only the satellites are left, and nothing downstream knows the
difference.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from orbitloop.resources.fleet import SatelliteSpec
from orbitloop.resources.meta import NAME_PATTERN, InnerPath, Integral, Resource, Section, Text, UtcText, wrong

MAX_IMPORTED = 20_000


class WalkerLayout(Section):
    """A Walker pattern i:t/p/f of circular orbits."""

    pattern: Literal["delta", "star"] = "delta"
    """`delta` spreads the planes' nodes over 360 degrees, `star` over 180."""
    inclination_deg: float = Field(ge=0, le=180)
    """Inclination i, degrees."""
    total: Annotated[int, Field(ge=1, le=MAX_IMPORTED), Integral]
    """Satellites t, in all planes together."""
    planes: Annotated[int, Field(ge=1, le=MAX_IMPORTED), Integral]
    """Planes p; they share the satellites evenly."""
    phasing: Annotated[int, Field(ge=0, le=MAX_IMPORTED), Integral] = 0
    """Phasing f, 0 to p - 1: a satellite stands f x 360/t degrees ahead of its neighbour in the plane to the west."""
    altitude_km: float = Field(ge=160, le=36_000)
    """Height over the equatorial radius, km."""
    raan0_deg: float = Field(default=0.0, ge=0, lt=360)
    """Right ascension of the first plane's node, degrees."""
    anomaly0_deg: float = Field(default=0.0, ge=0, lt=360)
    """Place of the first satellite, degrees from its node."""
    epoch: UtcText | None = None
    """When the pattern stands so, ISO 8601 UTC; default the mission's start."""

    @model_validator(mode="after")
    def _shares_out(self) -> WalkerLayout:
        if self.total % self.planes:
            remedy = f"take {max(1, self.total // self.planes) * self.planes} satellites, or another number of planes"
            raise wrong(f"{self.total} satellites do not share out over {self.planes} planes", remedy)
        if self.phasing >= self.planes:
            raise wrong(f"phasing {self.phasing} is out of range", f"stay within 0 to {self.planes - 1}")
        return self


class ImportedSets(Section):
    """Satellites of a file of element sets: TLE with or without names, or OMM as JSON, XML, KVN or CSV."""

    file: InnerPath
    """The file, inside the folder of data."""
    match: Text = "*"
    """Which names are taken: `*` stands for anything, `?` for one character; capitals do not count."""
    limit: Annotated[int, Field(ge=1, le=MAX_IMPORTED), Integral] = 100
    """Most satellites that are taken, in the order of the file."""


class ConstellationSpec(Section):
    """Which satellites there are, and what each is made of."""

    walker: WalkerLayout | None = None
    """A pattern. Give this or `import`."""
    import_: ImportedSets | None = Field(default=None, alias="import")
    """Real satellites from a file. Give this or `walker`."""
    prefix: Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=40)] | None = None
    """What the names of a pattern's satellites begin with; default the constellation's name."""
    satellite: SatelliteSpec = SatelliteSpec()
    """What each satellite is made of: the spec of a Satellite, without `orbit`."""

    @model_validator(mode="after")
    def _one_source(self) -> ConstellationSpec:
        if (self.walker is None) == (self.import_ is None):
            given = "neither walker nor import is given" if self.walker is None else "walker and import are both given"
            raise wrong(given, "give one of the two")
        if "orbit" in self.satellite.model_fields_set:
            raise wrong("the template has an orbit of its own", "leave satellite.orbit out: it follows from walker or import")
        return self


class Constellation(Resource):
    """Many satellites that share a template, by a Walker pattern or from a file of element sets."""

    kind: Literal["Constellation"] = "Constellation"
    spec: ConstellationSpec
