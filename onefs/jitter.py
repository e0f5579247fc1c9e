"""`Jitter`: random delays, so that many machines that began together do not ask a server together."""

from dataclasses import dataclass, field
from random import Random

EXPIRY_SHARE = 0.1
"""The longest delay of a check for newer tables, as a share of their expiry."""
BACK_OFF_SHARE = 0.25
"""The most that is added to a back-off, as a share of it."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """Draws random delays. If `first_max_s` is 0 all delays are 0."""

    first_max_s: float = 0.0
    """The longest delay of a first check, in seconds."""
    random: Random = field(default_factory=Random)

    def draw(self) -> float:
        """A number from 0 to 1, for one delay."""
        return self.random.random() if self.first_max_s else 0.0

    def longer_s(self, pause_s: float) -> float:
        """A back-off with up to `BACK_OFF_SHARE` of it added."""
        return pause_s * (1 + BACK_OFF_SHARE * self.draw())
