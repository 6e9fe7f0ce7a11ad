"""How long the causes of one mismatch are looked for, and what was left out when that was over."""

import math
import time

import numpy as np

SECONDS = 30.0  # by default


class Limit:
    """A limit in seconds on the search for causes, which begins when it is first asked.

    It is looked at between one step and the next, so that a search ends a step after it is over.

    Args:
        seconds: how long; 0 for no search, infinite for no limit.

    Raises:
        TypeError: `seconds` is no real number.
        ValueError: it is negative, or not a number.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        """Begin with nothing left out."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float | np.number):
            got = type(seconds).__name__
            raise TypeError(f"explain_seconds must be a real number, got {got}")
        if not seconds >= 0:
            raise ValueError(f"explain_seconds must be a number of at least 0, got {seconds}")
        self.seconds = float(seconds)
        self._end = math.inf if seconds else 0.0
        self._left_out: list[str] = []
        self._failed: list[str] = []

    def begin(self) -> None:
        """Count from now on, if it was not begun before."""
        if self._end == math.inf:
            self._end = time.monotonic() + self.seconds

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        self.begin()
        return time.monotonic() >= self._end

    def part(self, fraction: float) -> "Limit":
        """Give the limit of a search that leaves the rest of the time that is left to others."""
        self.begin()
        part = Limit(self.seconds)
        now = time.monotonic()
        part._end = now + fraction * (self._end - now)
        part._left_out, part._failed = self._left_out, self._failed
        return part

    def leave_out(self, what: str) -> None:
        """Note what was not tried, once."""
        if what not in self._left_out:
            self._left_out.append(what)

    def fail(self, what: str, error: Exception) -> None:
        """Note that a search failed, which leaves the verdict, and what other searches find."""
        self._failed.append(
            f"the verdict stands, but the search for {what} failed, which is a fault of the "
            f"checker: {type(error).__name__}: {error}"
        )

    def warnings(self) -> list[str]:
        """Say what failed, and what was left out, unless nothing was asked for."""
        if not self._left_out or not self.seconds:
            return list(self._failed)
        ended = f"the search for causes ended after {self.seconds:g} seconds"
        left_out = ", and ".join(self._left_out)
        more = "explain_seconds gives it more"
        return [*self._failed, f"{ended} and left out {left_out}; {more}"]


class Tries:
    """What is tried until a limit is over.

    Attributes:
        left: how many tries it left out.
    """

    def __init__(self, limit: Limit) -> None:
        """Begin with nothing left out."""
        self.limit, self.left = limit, 0

    def has_time(self, count: int = 1) -> bool:
        """Say whether time is left for so many tries; or else count them as left out."""
        over = self.limit.is_over
        self.left += count * over
        return not over
