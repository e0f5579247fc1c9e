"""Owns what was measured: figures with their bars, the ratios between onefs and its peers, a table and JSON of both."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

ONEFS = "onefs"


@dataclass(frozen=True, slots=True)
class Bar:
    """What onefs has to reach."""

    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {_number(self.limit)}"


def at_most(limit: float) -> Bar:
    """A bar for times and sizes."""
    return Bar(limit)


def at_least(limit: float) -> Bar:
    """A bar for rates."""
    return Bar(limit, at_least=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number: what was done, who did it; `samples` are the single runs of which `value` is the median."""

    work: str
    what: str
    who: str
    value: float
    unit: str
    bar: Bar | None = None
    samples: tuple[float, ...] = ()
    note: str = ""


@dataclass(slots=True)
class Report:
    """All figures of one run, and what has to be known to read them. Without `judges`, no bar is held against them.

    `lists` are printed below the table, each with its title.
    """

    machine: dict[str, Any]
    sizes: dict[str, Any]
    judges: bool = True
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Add a remark, once."""
        if text not in self.notes:
            self.notes.append(text)

    def as_json(self) -> dict[str, Any]:
        """For programs. A ratio is onefs's value divided by the peer's."""
        return {
            "machine": self.machine,
            "sizes": self.sizes,
            "figures": [
                {**asdict(figure), "verdict": self.verdict(figure), "onefs_to_this": self.ratio(figure)}
                for figure in self.figures
            ],
            "notes": self.notes,
            "lists": self.lists,
        }

    def verdict(self, figure: Figure) -> str:
        """Whether a figure's bar is met; "" without a bar, or if the sizes are not the bar's."""
        if figure.bar is None or not self.judges:
            return ""
        return "met" if figure.bar.met_by(figure.value) else "not met"

    def ratio(self, figure: Figure) -> float | None:
        """What onefs measured for the same work in the same unit, divided by a peer's figure."""
        if figure.who == ONEFS or not figure.value:
            return None
        for ours in self.figures:
            if (ours.who, ours.work, ours.what, ours.unit) == (ONEFS, figure.work, figure.what, figure.unit):
                return ours.value / figure.value
        return None

    def rows(self) -> Iterable[tuple[str, ...]]:
        """What the table shows, a row for each figure."""
        for figure in self.figures:
            ratio = self.ratio(figure)
            yield (
                figure.work,
                figure.what,
                figure.who,
                f"{_number(figure.value)} {figure.unit}",
                str(figure.bar or ""),
                self.verdict(figure),
                "" if ratio is None else f"{_number(ratio)} ×",
                figure.note,
            )


COLUMNS = ("work", "what", "who", "figure", "bar", "", "onefs to this", "note")


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"
