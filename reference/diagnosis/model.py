"""What a model that is known adds to the diagnosis, beyond what holds for any loss.

That is what only it can say: its own likely bugs, and what a check of it could not have seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.found import Found


class Model(Protocol):
    """A model that a check looks like it is of."""

    def warnings(self) -> list[str]:
        """Say what the check could not have seen.

        Every check asks, a right gradient's too, so this costs no more than a look at arrays that
        are there already.
        """

    def causes(self) -> Iterator[Cause]:
        """List the model's likely bugs that would give the gradient that was handed in.

        Only a mismatch asks. The model makes sure that the loss is its own: `recognise` has seen
        no more than the arguments.
        """

    def code_of(self, found: Found) -> Code:
        """Give the model's own code for what a hypothesis for any loss has found, or else its."""

    def code_of_operation(self, cause: Cause) -> Code:
        """Give the model's own code for an operation that is differentiated wrongly, or else its.

        It is asked only after `causes`.
        """

    @property
    def data_factors(self) -> Mapping[float, Code]:
        """What a factor of the data term means, beyond what it means for any loss."""

    @property
    def penalty_factors(self) -> Sequence[float]:
        """The weight decay, if there is one; else any number among the arguments may be it."""
