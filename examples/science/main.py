"""Fits a line to noisy data three times: with numpy, scipy and pandas."""

import numpy as np
import pandas as pd
from scipy import stats


def main() -> None:
    """Prints the slope that each library finds, and fails where they differ."""
    random = np.random.default_rng(seed=7)
    x = np.arange(1_000, dtype=float)
    y = 3.0 * x + 5.0 + random.normal(scale=0.5, size=x.size)

    by_numpy = np.polyfit(x, y, deg=1)[0]
    by_scipy = stats.linregress(x, y).slope
    frame = pd.DataFrame({"x": x, "y": y})
    by_pandas = frame.cov().loc["x", "y"] / frame["x"].var()

    for name, slope in [("numpy", by_numpy), ("scipy", by_scipy), ("pandas", by_pandas)]:
        print(f"{name:<6} slope {slope:.4f}")
    if not np.allclose([by_scipy, by_pandas], by_numpy):
        raise SystemExit("the three slopes differ")


if __name__ == "__main__":
    main()
