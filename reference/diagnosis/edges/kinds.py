"""Every kind of mistake at an operation, by its name."""

from reference.diagnosis.edges.convolutions import CONVOLUTIONS
from reference.diagnosis.edges.handed import HANDED
from reference.diagnosis.edges.mistakes import MISTAKES
from reference.diagnosis.edges.patterns import OF_ARRAYS, PATTERNS

KINDS = MISTAKES | HANDED | PATTERNS | CONVOLUTIONS | OF_ARRAYS
