"""Owns which datasets a tree shows, under which names, and which number tells its folders from another's."""

from dataclasses import dataclass, field

from onefs.catalogue.interface import Rows
from onefs.catalogue.revisions import Rule, Shown, shown


@dataclass(frozen=True, slots=True)
class View:
    """A rule that says which datasets are shown. `number` tells the folders of different views apart."""

    number: int = 0
    rule: Rule = field(default_factory=Rule)

    def shown(self, rows: Rows) -> Shown:
        """For each row of a session the path that it is shown under, None for a hidden one."""
        return shown(rows, self.rule)
