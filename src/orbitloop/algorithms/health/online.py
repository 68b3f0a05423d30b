"""A classifier that learns in flight: each sample is predicted first, then its label is learnt. For device states, such as
whether a camera may look out, from what else is on board.

Recursive least squares with forgetting (Haykin, Adaptive Filter Theory, ch. 10) on random Fourier features (Rahimi and Recht
2007), classes weighted by the inverse of their share so far, so that the rare class counts. Bounded: `features`^2 x 8 bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class OnlineClassifier:
    """Two classes, a vector of `inputs` values a sample, scaled to about -1..1.

    Raises:
        ValueError: a number is out of range.
    """

    summary = "Recursive least squares on random features, predict before learn. Flies."

    def __init__(
        self, inputs: int, rng: np.random.Generator, *, features: int = 64, width: float = 0.7, forgetting: float = 0.999
    ) -> None:
        if not (inputs >= 1 and 2 <= features <= 2048 and width > 0 and 0.9 <= forgetting <= 1):
            raise ValueError("features lie in 2..2048, width over 0, forgetting in 0.9..1")
        self._directions = rng.normal(size=(features, inputs)) / width
        self._phases = rng.uniform(0, 2 * np.pi, features)
        self._weights = np.zeros(features + 1)
        self._inverse = np.eye(features + 1) * 10.0
        self._seen = np.ones(2)
        self._forgetting = forgetting

    def predict(self, values: FloatArray) -> bool:
        """Return the class of one sample (inputs,)."""
        return bool(self._features(values) @ self._weights > 0)

    def learn(self, values: FloatArray, label: bool) -> None:
        """Take the label of one sample."""
        x = self._features(values)
        self._seen[int(label)] += 1
        weight = float(self._seen.sum() / (2 * self._seen[int(label)]))
        px = self._inverse @ x
        gain = weight * px / (self._forgetting + weight * float(x @ px))
        self._weights += gain * ((1.0 if label else -1.0) - float(x @ self._weights))
        self._inverse = (self._inverse - np.outer(gain, px)) / self._forgetting
        # Rounding makes it lopsided with the years, and what is never excited grows without end.
        self._inverse = np.clip((self._inverse + self._inverse.T) / 2, -1e6, 1e6)

    @property
    def state_bytes(self) -> int:
        """Bytes that this object keeps."""
        return sum(a.nbytes for a in (self._directions, self._phases, self._weights, self._inverse, self._seen))

    def _features(self, values: FloatArray) -> FloatArray:
        waves = np.cos(self._directions @ values + self._phases) * np.sqrt(2.0 / len(self._phases))
        return np.append(waves, 1.0)


def prequential(predicted: npt.NDArray[np.bool_], labels: npt.NDArray[np.bool_]) -> float:
    """Return the balanced accuracy of (N,) predictions: the mean of both classes' recalls; of one class alone its recall."""
    recalls = [float((predicted[labels == kind] == kind).mean()) for kind in (False, True) if (labels == kind).any()]
    return float(np.mean(recalls))
