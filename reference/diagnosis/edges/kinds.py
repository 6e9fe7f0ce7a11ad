"""Every kind of mistake, by its name: at an operation, or of several together."""

from reference.diagnosis.edges.convolutions import CONVOLUTIONS
from reference.diagnosis.edges.handed import HANDED
from reference.diagnosis.edges.mistakes import MISTAKES
from reference.diagnosis.edges.orders import ORDERS
from reference.diagnosis.edges.patterns import OF_ARRAYS, PATTERNS
from reference.diagnosis.edges.readers import READERS
from reference.diagnosis.edges.regions import NORMALISED
from reference.diagnosis.edges.selections import SELECTIONS
from reference.diagnosis.edges.skipped import SKIPPED

KINDS = MISTAKES | HANDED | PATTERNS | CONVOLUTIONS | ORDERS | OF_ARRAYS
REGIONS = SKIPPED | SELECTIONS | READERS | NORMALISED
