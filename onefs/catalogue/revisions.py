"""Editions of files, the rule that chooses one of each, and which datasets a view shows: QC limit, as-of date."""

from collections.abc import Hashable, Iterable, Sequence
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


@dataclass(frozen=True, slots=True)
class Chosen:
    """One edition of each file. `rows` are ascending places in the paths that were given.

    `unmarked` are the files of several editions none of which is marked as the default, `doubled` those of which
    several are: for both the greatest was taken. `revisions` are the distinct ones of the chosen rows, sorted.
    """

    rows: list[int]
    unmarked: tuple[str, ...]
    doubled: tuple[str, ...]
    revisions: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each file whose default edition the tables do not decide."""
        return [
            *(f"No default revision for dataset {name}; using the most recent." for name in self.unmarked),
            *(f"Multiple default revisions for dataset {name}; using the most recent." for name in self.doubled),
        ]

    @property
    def mixed(self) -> str:
        """A sentence that names the revisions if there are several, else ""."""
        if len(self.revisions) < 2:
            return ""
        return "Multiple revisions: " + ", ".join(f'"{revision}"' for revision in self.revisions)


def editions(
    rel_paths: Sequence[str],
    defaults: Sequence[bool | None],
    revision: str | None = None,
    sessions: Sequence[Hashable] | None = None,
) -> Chosen:
    """One edition of each file: of the rows whose paths differ in the revision folder only.

    `revision` None takes the one marked as the default; if none or several are, the greatest, of these or of all.
    A text takes the greatest at or before it, however they are marked; "" so takes the one in no revision folder.
    A file of which there is no such edition has none. Revisions are compared as texts. `defaults` may be empty for
    no marks. `sessions` keep the files of several sessions apart.
    """
    limit = None if revision is None else revision.strip("#")
    candidates: dict[Hashable, list[tuple[str, int]]] = {}
    for row, path in enumerate(rel_paths):
        name, this = edition_of(path)
        if limit is None or this <= limit:
            key = name if sessions is None else (sessions[row], name)
            candidates.setdefault(key, []).append((this, row))
    rows, revisions = [], set()
    unmarked: dict[str, None] = {}
    doubled: dict[str, None] = {}
    for those in candidates.values():
        among = those
        if limit is None and len(those) > 1:
            marked = [each for each in those if defaults and defaults[each[1]]]
            among = marked or those
            if len(marked) != 1:
                (doubled if marked else unmarked)[edition_of(rel_paths[those[0][1]])[0]] = None
        this, row = max(among)
        rows.append(row)
        revisions.add(this)
    return Chosen(sorted(rows), tuple(unmarked), tuple(doubled), tuple(sorted(revisions)))


def qc_range(limit: QC = QC.FAIL, ignore_not_set: bool = False) -> range:
    """The QC codes that pass a limit."""
    return range(NOT_SET + ignore_not_set, QC_CODES.index(limit) + 1)


def shown(rows: Rows, rule: Rule) -> Shown:
    """What a rule shows of a session. The QC limit counts first, as for ONE: an edition that it hides is none."""
    passing = qc_range(rule.qc_limit, rule.ignore_qc_not_set)
    found = Shown(
        [
            path if exists and qc in passing else None
            for path, exists, qc in zip(rows.rel_paths, rows.exists, rows.qc, strict=True)
        ]
    )
    if rule.default_only and any("#" in path for path in found if path):
        return _default_editions(found, rows.default_revision, rule.as_of or None)
    if rule.as_of:
        return Shown(path if path is not None and edition_of(path)[1] <= rule.as_of else None for path in found)
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
        reason = f"its edition {revision} is later than {rule.as_of}, up to which editions are shown"
        return reason, "To see it: onefs as-of none, or .onefs/as-of with a later date or text"
    name = shown(rows, rule)[row]
    if name is not None and name != rel_path:
        return f"it is at {name} here", "Leave the #revision# folder out."
    if name is None:
        return "it is not the default edition, which alone is shown here", "Look where every edition is shown."
    return None


def _default_editions(found: Shown, marked: Sequence[bool | None], as_of: str | None) -> Shown:
    """One edition of each file, under the name that all share. A name that is a folder of others gives way to them."""
    rows = [row for row, path in enumerate(found) if path is not None]
    paths = [path for path in found if path is not None]
    one_each = editions(paths, [marked[row] for row in rows] if marked else [], as_of)
    names = {rows[place]: edition_of(paths[place])[0] for place in one_each.rows}
    folders = _folders_above(names.values())
    chosen = Shown([None] * len(found))
    for row, name in names.items():
        if name not in folders:
            chosen[row] = name
    chosen.doubled = one_each.doubled
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
