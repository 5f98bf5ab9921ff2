"""Runs of decode steps in closed form: how long `k` steps of one batch take, and which step covers an instant.

While a batch keeps its sequences, a step takes ``a + c * context`` with their summed context, which grows by `growth`
tokens a step: an arithmetic progression. Measured times bend at knots of the context, so a run is a few progressions.
"""

from __future__ import annotations

from bisect import bisect_left
from math import ceil, floor, inf, sqrt


class DecodeStepTime:
    """Seconds of a decode step of one batch size as a piecewise linear function of its summed context.

    Attributes
    ----------
    ends : summed context at the end of each piece, the last one infinite [token].
    a, c : intercept [s] and slope [s/token] of each piece.
    """

    __slots__ = ("a", "c", "ends")

    def __init__(self, ends: list[float], a: list[float], c: list[float]):
        self.ends, self.a, self.c = ends, a, c

    @classmethod
    def straight(cls, a: float, c: float) -> DecodeStepTime:
        """One piece."""
        return cls([inf], [a], [c])

    @classmethod
    def through(cls, contexts: list[float], seconds: list[float]) -> DecodeStepTime:
        """Interpolate between points and extrapolate the outermost pieces."""
        c = [(t - s) / (y - x) for x, y, s, t in zip(contexts, contexts[1:], seconds, seconds[1:], strict=False)]
        a = [s - slope * x for x, s, slope in zip(contexts, seconds, c, strict=False)]
        return cls([*contexts[1:-1], inf], a, c)

    def step_s(self, context: float) -> float:
        """Seconds of one step at a summed context."""
        i = bisect_left(self.ends, context)
        return self.a[i] + self.c[i] * context

    def span_s(self, context: float, growth: float, steps: int) -> float:
        """Seconds of `steps` consecutive steps, the first one at `context`."""
        i = bisect_left(self.ends, context)
        total = 0.0
        while True:
            first, bend, end = self.a[i] + self.c[i] * context, self.c[i] * growth, self.ends[i]
            here = steps if end == inf else min(steps, floor((end - context) / growth) + 1)
            total += here * first + bend * (here * (here - 1) / 2)
            if here == steps:
                return total
            steps -= here
            context += growth * here
            i = bisect_left(self.ends, context, i)

    def boundary(self, context: float, growth: float, elapsed_s: float) -> int:
        """Fewest steps (at least one) that together take `elapsed_s` or longer."""
        i = bisect_left(self.ends, context)
        past_s, done, at = 0.0, 0, context
        while True:
            first, bend, end = self.a[i] + self.c[i] * at, self.c[i] * growth, self.ends[i]
            here = inf if end == inf else floor((end - at) / growth) + 1
            if here == inf or past_s + here * first + bend * (here * (here - 1) / 2) >= elapsed_s:
                break
            past_s += here * first + bend * (here * (here - 1) / 2)
            done, at = done + int(here), at + growth * here
            i = bisect_left(self.ends, at, i)
        left_s, p = elapsed_s - past_s, first - bend / 2
        # bend/2 k^2 + p k = left; in this form it does not cancel, whatever the sign of the bend.
        root = sqrt(max(p * p + 2 * bend * left_s, 0.0))
        k = max(1, done + ceil(2 * left_s / (p + root)) if left_s > 0 else done)
        # The square root is one ulp off at an exact boundary.
        while k > 1 and self.span_s(context, growth, k - 1) >= elapsed_s:
            k -= 1
        while self.span_s(context, growth, k) < elapsed_s:
            k += 1
        return k
