"""The compiled loop of the matrix profile: nearest earlier window, by Euclidean distance, exact."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True)
def left_profile(  # type: ignore[no-untyped-def]  # numba reads no annotations
    values, window, lag_min, lag_max, seam
):
    """Return (P,) squared distances of each window to its nearest earlier one, `lag_min` to `lag_max` samples before.

    Walks along diagonals, so that a distance follows from its neighbour by one term out and one in; a sum is taken afresh every
    1,024 steps, since the rounding of such a chain adds up. A window without an earlier one gets infinity.
    Windows over the seam, where one recording ends before sample `seam` and another begins, are like nothing: none is compared.
    """
    count = values.shape[0] - window + 1
    best = np.full(count, np.inf)
    for lag in range(lag_min, min(lag_max, count - 1) + 1):
        total = 0.0
        for i in range(count - lag):
            if i % 1024 == 0:
                total = 0.0
                for k in range(window):
                    total += (values[i + k] - values[i + lag + k]) ** 2
            else:
                total += (values[i + window - 1] - values[i + lag + window - 1]) ** 2
                total -= (values[i - 1] - values[i + lag - 1]) ** 2
            if (i < seam < i + window) or (i + lag < seam < i + lag + window):
                continue
            if total < best[i + lag]:
                best[i + lag] = total
    return best


def left_distances(values: npt.NDArray[np.float64], window: int, memory: int, seam: int = 0) -> npt.NDArray[np.float64]:
    """Return (N - window + 1,) distances to the nearest window from window / 4 to `memory` samples before.

    The exclusion of a quarter window is the custom of matrix profiles (Yeh et al. 2016; stumpy): neighbours in time are alike.
    """
    squared: npt.NDArray[np.float64] = left_profile(np.ascontiguousarray(values), window, -(-window // 4) + 1, memory, seam)
    return np.sqrt(np.maximum(squared, 0.0))
