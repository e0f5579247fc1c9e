"""`Spread`: random delays, so that many machines that began together do not ask a server together."""

from dataclasses import dataclass, field
from random import Random

EXPIRY_SHARE = 0.1
"""How much longer than asked for tables may go without a check, as a share of their expiry."""
PAUSE_SHARE = 0.25
"""How much longer than computed a back-off may be."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Draws delays. With `first_max_s` 0 there are none, and all times are exact."""

    first_max_s: float = 0.0
    """The longest delay of a first check."""
    chance: Random = field(default_factory=Random)

    def draw(self) -> float:
        """A number from 0 to 1, for one delay."""
        return self.chance.random() if self.first_max_s else 0.0

    def longer_s(self, pause_s: float) -> float:
        """A back-off, and up to `PAUSE_SHARE` of it more."""
        return pause_s * (1 + PAUSE_SHARE * self.draw())
