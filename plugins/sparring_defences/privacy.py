"""What noisy gradient steps cost in privacy."""

from __future__ import annotations

ORDERS = (*range(2, 64), *range(64, 513, 32))
"""Renyi orders that are tried; integers, for which the bound is a finite sum."""


def privacy_cost(noise: float, share: float, steps: int, delta: float) -> float:
    """The epsilon of `steps` steps with noise multiplier `noise`, each of which takes every row with probability
    `share`.

    Renyi divergence of the sampled Gaussian mechanism (Mironov, Talwar & Zhang 2019, section 3.3) at integer orders,
    and its translation (Balle et al. 2020, theorem 21), the least over all orders.
    """
    import numpy as np
    from scipy.special import gammaln, logsumexp

    found = []
    for order in ORDERS:
        k = np.arange(order + 1)
        chosen = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            unsampled = np.where(order - k == 0, 0.0, (order - k) * np.log1p(-share))
        terms = chosen + unsampled + k * np.log(share) + k * (k - 1) / (2 * noise**2)
        divergence = steps * float(logsumexp(terms)) / (order - 1)
        found.append(divergence + np.log1p(-1 / order) - (np.log(delta) + np.log(order)) / (order - 1))
    return max(0.0, float(min(found)))


def noise_for(epsilon: float, delta: float, share: float, steps: int) -> float:
    """The least noise multiplier, to 1 %, with which `steps` steps cost at most `epsilon`.

    Raises:
        ValueError: no noise up to 10,000 is enough.
    """
    low, high = 0.1, 0.1
    while privacy_cost(high, share, steps, delta) > epsilon:
        low, high = high, 2 * high
        if high > 1e4:
            raise ValueError(f"no noise makes {steps} steps ({epsilon:g}, {delta:g})-private")
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        enough = privacy_cost(middle, share, steps, delta) <= epsilon
        low, high = (low, middle) if enough else (middle, high)
    return high
