"""What a hypothesis has found: which arrays it explains, and by which number."""

from dataclasses import dataclass, field

from reference.diagnosis.codes import Code
from reference.diagnosis.fitting import Interval


@dataclass(frozen=True)
class Found:
    """A hypothesis that explains some leaves.

    Attributes:
        details: what it says of which of them.
        shared: whether it says the same of all.
        fitted: whether it takes a number that means nothing by itself.
        number: that was fitted, if it is the same for all.
    """

    code: Code
    details: dict[frozenset[int], str] = field(default_factory=dict)
    shared: bool = True
    fitted: bool = False
    number: Interval | None = None

    @property
    def leaves(self) -> frozenset[int]:
        """All that it explains."""
        return frozenset().union(*self.details)
