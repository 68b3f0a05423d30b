"""Read an ephemeris message with the `oem` package, print its states and some between them, and write it again in both forms.

Arguments: the message, seconds after the first state as a JSON list, a folder for `theirs.oem` and `theirs.xml`.
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")
from astropy.time import Time, TimeDelta  # type: ignore[import-not-found]  # noqa: E402
from oem import OrbitEphemerisMessage  # type: ignore[import-not-found]  # noqa: E402

message = OrbitEphemerisMessage.open(sys.argv[1])
segments = []
for segment in message.segments:
    states = list(segment.states)
    first = states[0].epoch
    asked = [first + TimeDelta(s, format="sec") for s in json.loads(sys.argv[2])]
    between = [segment(Time(when)) for when in asked] if asked else []
    segments.append(
        {
            "metadata": {key: str(segment.metadata[key]) for key in segment.metadata},
            "times": [state.epoch.isot for state in states],
            "states": [[*map(float, state.position), *map(float, state.velocity)] for state in states],
            "between": [[*map(float, state.position), *map(float, state.velocity)] for state in between],
            "covariances": [covariance.matrix.tolist() for covariance in segment.covariances],
        }
    )
message.save_as(f"{sys.argv[3]}/theirs.oem", file_format="kvn")
message.save_as(f"{sys.argv[3]}/theirs.xml", file_format="xml")
print(json.dumps(segments))
