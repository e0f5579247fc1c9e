"""Owns which datasets of a session are shown, and under which names: editions, quality limits, as-of dates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from onefs import alf
from onefs.catalogue.interface import Rows
from onefs.catalogue.records import QC, QC_CODES

NOT_SET = QC_CODES.index(QC.NOT_SET)
_SPLITS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Rule:
    """What is shown: datasets with a QC outcome up to a limit, of editions up to `as_of`, "" for all.

    With `default_only`, a file has one edition, without its `#revision#` folder: of those that the limits leave, the
    one that is marked as the default; the greatest if none is, and of several that are; the greatest at or before an
    `as_of`, however they are marked. Revisions are compared as texts; a file in no such folder has "", the first.
    """

    qc_limit: QC = QC.FAIL
    ignore_qc_not_set: bool = False
    as_of: str = ""
    default_only: bool = False


class Shown(list[str | None]):
    """For each row of a session the path it is shown under, None for a hidden one.

    `doubled` are the names of which several editions are marked as the default.
    """

    doubled: tuple[str, ...] = ()


def shown(rows: Rows, rule: Rule) -> Shown:
    """What a rule shows of a session. The QC limit counts first, as for ONE: an edition that it hides is none."""
    limit, least = QC_CODES.index(rule.qc_limit), NOT_SET + rule.ignore_qc_not_set
    found = Shown(
        path if exists and least <= qc <= limit else None
        for path, exists, qc in zip(rows.rel_paths, rows.exists, rows.qc, strict=True)
    )
    if rule.as_of:
        _hide_later(found, rule.as_of)
    if rule.default_only and any("#" in path for path in found if path):
        return _default_editions(found, [] if rule.as_of else rows.default_revision)
    return found


def why_hidden(rows: Rows, rule: Rule, rel_path: str) -> tuple[str, str] | None:
    """Why a rule shows nothing under a path in a session, and what to do about that; None if nothing hides there."""
    at = [row for row, path in enumerate(rows.rel_paths) if path == rel_path]
    if not at and rule.default_only:
        at = [row for row, path in enumerate(rows.rel_paths) if "#" in path and edition_of(path)[0] == rel_path]
    if not at:
        return None
    row, qc = at[-1], QC_CODES[rows.qc[at[-1]]]
    revision = edition_of(rows.rel_paths[row])[1]
    if not rows.exists[row]:
        return "the archive says that no server has it any more", "Ask the archive's maintainers."
    if rows.qc[row] > QC_CODES.index(rule.qc_limit):
        reason = f"its QC is {qc.name}, and what is worse than {rule.qc_limit.name} is hidden"
        return reason, f"To see it: onefs qc {qc.name}"
    if rule.ignore_qc_not_set and qc is QC.NOT_SET:
        return "it has no QC outcome, and what has none is hidden", "Mount with --ignore-qc-not-set off."
    if rule.as_of and revision > rule.as_of:
        reason = f"its edition {revision} is later than {rule.as_of}, the date that is shown"
        return reason, "To see it: onefs as-of none, or .onefs/as-of with a later date"
    name = shown(rows, rule)[row]
    if name is not None and name != rel_path:
        return f"it is at {name} here", "Leave the #revision# folder out."
    if name is None:
        return "it is not the default edition, which alone is shown here", "Look where every edition is shown."
    return None


def _hide_later(found: Shown, as_of: str) -> None:
    for row, path in enumerate(found):
        if path is not None and edition_of(path)[1] > as_of:
            found[row] = None


def _default_editions(found: Shown, marked: Sequence[bool | None]) -> Shown:
    """One edition of each file, under the name that all share. A name that is a folder of others gives way to them."""
    best: dict[str, tuple[bool, str, int]] = {}
    doubled: dict[str, None] = {}
    for row, path in enumerate(found):
        if path is None:
            continue
        name, revision = edition_of(path)
        this = bool(marked and marked[row]), revision, row
        known = best.get(name)
        if known is not None and this[0] and known[0]:
            doubled[name] = None
        best[name] = this if known is None else max(known, this)
    folders = _folders_above(best)
    chosen = Shown([None] * len(found))
    for name, (_, _, row) in best.items():
        if name not in folders:
            chosen[row] = name
    chosen.doubled = tuple(doubled)
    return chosen


@lru_cache(_SPLITS_KEPT)
def edition_of(rel_path: str) -> tuple[str, str]:
    """The name that all editions of a file share, its path without the #revision# folder, and the revision or ""."""
    if "#" not in rel_path:
        return rel_path, ""
    collection, revision, name = alf.split_relative(rel_path)
    if not revision:
        return rel_path, ""
    return f"{collection}/{name}" if collection else name, revision


def _folders_above(paths: Iterable[str]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders
