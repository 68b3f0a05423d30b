"""The Earth's gravity in numbers: two sets, which are not to be mixed.

WGS-72 is part of what an element set means: SGP4 and everything that is said of mean elements use it (Hoots & Roehrich 1980,
Spacetrack Report 3; Vallado et al. 2006, AIAA 2006-6753). EGM-96 is for states that were measured or stand in messages
(Vallado, Fundamentals of Astrodynamics, 4th ed., table D-1). Places on the ground are on WGS-84's ellipsoid (`frames`).
"""

from __future__ import annotations

from typing import Final

WGS72_MU_KM3_S2: Final = 398_600.8
WGS72_RADIUS_KM: Final = 6_378.135
WGS72_J2: Final = 0.001_082_616

EGM96_MU_KM3_S2: Final = 398_600.441_8
EGM96_J2: Final = 1.082_626_68e-3
