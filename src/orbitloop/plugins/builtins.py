"""The built-in plug-ins, by kind and name, as `module:attribute`. Nothing here is imported until it is asked for.

A labeller is composed by the ground from a data set or a teacher model, and so has no built-in that parameters alone build.
"""

from __future__ import annotations

from orbitloop.plugins.kinds import DeltaCodec, Labeller, Miner, Monitor, Screen, Selector

KINDS: dict[str, type] = {
    "screen": Screen,
    "miner": Miner,
    "selector": Selector,
    "codec": DeltaCodec,
    "labeller": Labeller,
    "monitor": Monitor,
}
"""The Protocol of each kind. Third parties register under the entry-point group `orbitloop.<kind>`."""

BUILTINS: dict[str, dict[str, str]] = {
    "screen": {
        "cheap": "orbitloop.algorithms.screening:Cheap",
        "none": "orbitloop.algorithms.screening:KeepAll",
    },
    "miner": {
        "always": "orbitloop.algorithms.mining.baselines:Always",
        "cross-entropy": "orbitloop.algorithms.mining.sedna:CrossEntropy",
        "ibt": "orbitloop.algorithms.mining.sedna:Ibt",
        "never": "orbitloop.algorithms.mining.baselines:Never",
        "random": "orbitloop.algorithms.mining.baselines:RandomShare",
        "threshold": "orbitloop.algorithms.mining.sedna:Threshold",
        "uncertainty": "orbitloop.algorithms.mining.uncertainty:Uncertainty",
    },
    "selector": {
        "fifo": "orbitloop.algorithms.selection.baselines:Fifo",
        "random": "orbitloop.algorithms.selection.baselines:RandomOrder",
        "value": "orbitloop.algorithms.selection.value:Value",
        "value-diversity": "orbitloop.algorithms.selection.value:ValueDiversity",
    },
    "codec": {
        "compact": "orbitloop.delta.make:Compact",
        "exact": "orbitloop.delta.codecs:Exact",
        "zstd": "orbitloop.delta.codecs:Zstd",
    },
    "labeller": {},
    "monitor": {
        "ensemble": "orbitloop.ground.health.ensemble:Ensemble",
        "forecast": "orbitloop.algorithms.health.forecast:Forecast",
        "matrix-profile": "orbitloop.ground.health.profile:MatrixProfile",
        "patterns": "orbitloop.algorithms.health.patterns:Patterns",
        "streaming": "orbitloop.algorithms.health.streaming:Streaming",
        "windowed-forest": "orbitloop.ground.health.forest:WindowedForest",
    },
}
