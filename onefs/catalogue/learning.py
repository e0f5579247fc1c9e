"""`Learning`: applies each answer of the database to a live catalogue."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from operator import attrgetter
from uuid import UUID

from onefs import alf
from onefs.catalogue.changes import Changes
from onefs.catalogue.editions import edition_of, is_text
from onefs.catalogue.layout import LeftOut, LeftOutTally, Reason
from onefs.catalogue.learned_columns import LearnedRow, PlainColumns, overlaid
from onefs.catalogue.live_folders import ROOT, FolderNews, LiveFolders
from onefs.catalogue.live_sessions import LiveSessions
from onefs.catalogue.records import Dataset, Session
from onefs.catalogue.session_rows import AGGREGATES, RESERVED, refusal, standing
from onefs.catalogue.sharing import SharedRows
from onefs.catalogue.snapshot import MOST_BYTES, NO_EID, Folder, Snapshot

SUBJECTS = "Subjects"
_log = logging.getLogger(__name__)
NO_SESSION = Session(NO_EID, "", "", date.min, 0, "", "")
"""What stands for the session of datasets that have none."""

Question = tuple[str, ...]
"""What is asked, and about what: `("subjects", lab)`. Answers to the same question take each other's place."""

LABS: Question = ("labs",)
AGGREGATED: Question = ("aggregates",)


class Learning:
    """A live catalogue's folders and sessions, and what was told of them. Not for several threads at once."""

    def __init__(self, base: Snapshot | None) -> None:
        self._base = base
        self.folders = LiveFolders(base)
        self.sessions = LiveSessions(base)
        self.without_lab: frozenset[str] = frozenset()
        self.told_sessions: dict[UUID, None] = {}
        self.told_datasets: dict[UUID, None] = {}
        self.session_of_dataset: dict[UUID, UUID] = {}
        self._tallies: dict[Question, LeftOutTally] = {}
        self._others: list[tuple[int, int]] = []  # rows of sessions whose datasets became others: before, now
        self._counts: tuple[int, int, int] | None = None
        self._columns: PlainColumns | None = None

    def news(self) -> Changes:
        """What changed since this was last asked, which is to be after each answer."""
        self._counts = self._columns = None
        folders, self.folders.news = self.folders.news, FolderNews()
        others, self._others = self._others, []
        return Changes(tuple(others), tuple(folders.gone), tuple(folders.new))

    def left_out(self) -> Mapping[str, LeftOut]:
        """Rows that cannot stand in the tree, by reason: those of the tables, and those of the answers."""
        total = LeftOutTally()
        for told in (self._base.left_out if self._base else {}, *(tally.totals() for tally in self._tallies.values())):
            for reason, left in told.items():
                total.add(Reason(reason), left.count, left.examples)
        return total.totals()

    def stands(self, row: int) -> bool:
        """Whether a session's row is the one that stands in the tree."""
        folder = self.sessions.folder(row)
        return row in self.folders.folder(folder).sessions and self.folders.stands(folder)

    def find(self, *parts: str) -> int | None:
        """The row of the folder at a path."""
        row = ROOT
        for part in parts:
            folder = self.folders.child(row, part)
            if folder is None:
                return None
            row = folder.row
        return row

    def questions_about(self, row: int, name: str | None = None) -> list[Question]:
        """What to ask to know a folder's children, or whether it has the one of this name."""
        match self.folders.parts(row):
            case ():
                if name is None:
                    return [LABS, AGGREGATED]
                return [AGGREGATED] if name == AGGREGATES else [] if name in RESERVED else [LABS]
            case (lab, top) if top == SUBJECTS:
                return [("subjects", lab)]
            case (lab, top, subject) | (lab, top, subject, _) if top == SUBJECTS:
                return [("sessions", lab, subject)]
            case (subject,) | (subject, _) if subject in self.without_lab:
                return [("sessions", "", subject)]
        return []

    # -- answers -------------------------------------------------------------------------------------------------

    def labs(self, question: Question, labs: Iterable[str], without_lab: Iterable[str] | None) -> None:
        """All labs; and the subjects without one, None if the database was not asked for such."""
        tally = self._tally(question)
        kept = {folder.name: folder.row for folder in self._beside_labs(without_lab is None)}
        for lab in _names(labs, "lab", RESERVED, tally):
            kept[lab] = self.folders.place(ROOT, lab)
            self.folders.place(kept[lab], SUBJECTS)
        if without_lab is not None:
            self.without_lab = frozenset(_names(without_lab, "subject", RESERVED, tally))
            kept |= {subject: self.folders.place(ROOT, subject) for subject in self.without_lab}
        self.folders.keep(ROOT, kept)
        self.folders.redate(ROOT)

    def _beside_labs(self, keeps_subjects: bool) -> Iterable[Folder]:
        for folder in self.folders.children(ROOT):
            is_lab = self.folders.child(folder.row, SUBJECTS) is not None
            if folder.name == AGGREGATES or (keeps_subjects and not is_lab):
                yield folder

    def subjects(self, question: Question, lab: str, subjects: Iterable[str]) -> None:
        """All subjects of a lab."""
        parent = self.find(lab, SUBJECTS)
        if parent is not None:
            names = _names(subjects, "subject", frozenset(), self._tally(question))
            self.folders.keep(parent, {name: self.folders.place(parent, name) for name in names})
            self.folders.redate(parent)

    def sessions_of(self, question: Question, lab: str, subject: str, sessions: Iterable[Session]) -> None:
        """All sessions of a subject. Those of other subjects, which a broad search also finds, say nothing here."""
        parent = self.find(lab, SUBJECTS, subject) if lab else self.find(subject)
        if parent is None:
            return
        own = [session for session in sessions if (session.lab, session.subject) == (lab, subject)]
        tally = self._tally(question)
        days: dict[str, int] = {}
        numbers: dict[int, dict[str, int]] = {}
        for path, on_path in groupby(standing(_usable(own, tally), tally), key=attrgetter("path")):
            *_, day, number = path.split("/")
            days[day] = self.folders.place(parent, day)
            row = self.folders.place(days[day], number)
            numbers.setdefault(days[day], {})[number] = row
            own_rows = [self._learn(session, row) for session in on_path]
            self._stand(own_rows, row, self.sessions.session(own_rows[0]).date)
        self.folders.keep(parent, days | self._other_children(parent, lab))
        for day_row, kept in numbers.items():
            self.folders.keep(day_row, kept)
            self.folders.redate(day_row)
        self.folders.redate(parent)

    def session(self, eid: UUID, told: Session | None) -> None:
        """Apply the answer about one eid: its session, or None if there is none."""
        row = self.sessions.of_eid(eid)
        if told is not None:
            self._take_sessions([told])
        elif row is not None:
            self._leave(self.sessions.folder(row), row)

    def sessions_of_ref(self, day: date, number: int, subject: str, told: Iterable[Session]) -> None:
        """Apply the answer about a reference: all sessions of a date, number and subject."""
        told = list(told)
        eids = {session.eid for session in told}
        for row in self.sessions.of_ref(day, number, subject):
            known = self.sessions.session(row)
            if (known.date, known.number, known.subject) == (day, number, subject) and known.eid not in eids:
                self._leave(self.sessions.folder(row), row)
        self._take_sessions(told)

    def eids_at(self, path: str) -> list[UUID]:
        """The eids of the sessions at a path."""
        return [self._eid(row) for row in self._rows_at(path)]

    def _rows_at(self, path: str) -> Sequence[int]:
        folder = self.find(*path.split("/"))  # a folder that has gone still knows its sessions
        return () if folder is None else self.folders.folder(folder).sessions

    def _take_sessions(self, told: Iterable[Session]) -> None:
        """Put sessions at their paths, beside others there."""
        for session in _usable(told, LeftOutTally()):  # the others are counted when their subject's are listed
            others = [row for row in self._rows_at(session.path) if self._eid(row) != session.eid]
            *above, number = session.path.split("/")
            day, is_back = ROOT, False
            for name in above:
                is_back = self.folders.child(day, name) is None
                day = self.folders.place(day, name)
            if is_back:  # but not the sessions that stood in it when it went
                self.folders.keep(day, {})
            folder = self.folders.place(day, number)
            self._stand([*others, self._learn(session, folder)], folder, session.date)
            self.folders.redate(day)
            self.folders.redate(self.folders.folder(day).parent)

    def _other_children(self, subject: int, lab: str) -> dict[str, int]:
        """What else stands in a subject's folder: a lab may have the name of a subject without one."""
        other = None if lab else self.folders.child(subject, SUBJECTS)
        return {SUBJECTS: other.row} if other else {}

    def _learn(self, session: Session, folder: int) -> int:
        """Update a session, and remove it from the folder where it was; returns its new row."""
        before, row = self.sessions.learn(session, folder)
        self.told_sessions[session.eid] = None
        if before is not None and self.sessions.folder(before) != folder:
            self._leave(self.sessions.folder(before), before)
        return row

    def _stand(self, rows: Iterable[int], folder: int, day: date) -> None:
        """Set the sessions of a folder."""
        self.folders.set_sessions(folder, sorted(rows, key=lambda row: self._eid(row).bytes), day)
        self._tally_shared(folder)

    def _eid(self, row: int) -> UUID:
        return self.sessions.session(row).eid

    def _tally_shared(self, folder: int) -> None:
        """Count the known datasets that a folder cannot show because of another session on its path."""
        question = ("shared", str(folder))
        before = self._tallies.pop(question, None)
        there = self.folders.folder(folder).sessions
        rows = [row for row in there if self.sessions.can_tell(row)] if len(there) > 1 else []
        if len(rows) > 1:
            path, tally = "/".join(self.folders.parts(folder)), self._tally(question)
            for reason, (part, i) in SharedRows([self.sessions.rows(row, path) for row in rows]).left_out:
                tally.add(reason, 1, [f"{part.id(i)} {part.rel_paths[i]!r}"])
            if before is None or before.counts != tally.counts:
                for why, told in tally.totals().items():
                    _log.warning("Not in the tree at %s: %d × %s, such as %s", path, told.count, why, told.examples[0])

    def _leave(self, folder: int, session: int) -> None:
        """Remove a session from its folder; and the folder, and the day's, if they are empty then."""
        there = self.folders.folder(folder)
        if session not in there.sessions or not self.folders.stands(folder):
            return
        if there.others:
            self.folders.set_sessions(folder, [row for row in there.sessions if row != session], there.date)
            return
        day = there.parent
        self.folders.remove(folder)
        above = self.folders.folder(day).parent
        if not self.folders.children(day):
            self.folders.remove(day)
        self.folders.redate(day)
        self.folders.redate(above)

    def datasets_of(self, question: Question, eid: UUID, datasets: Iterable[Dataset]) -> None:
        """All datasets of a session."""
        self._take_datasets(question, eid, [dataset for dataset in datasets if dataset.eid == eid])

    def dataset(self, session: Session | None, datasets: Iterable[Dataset]) -> None:
        """Apply the answer about one dataset: its session, if it has one, and all datasets there."""
        if session is None:
            self.aggregates(AGGREGATED, datasets)
            return
        self._take_sessions([session])
        if self.sessions.of_eid(session.eid) is not None:
            self.datasets_of(("datasets", str(session.eid)), session.eid, datasets)

    def add(self, sessions: Iterable[Session], datasets: Iterable[Dataset]) -> None:
        """Some sessions, and some datasets of known ones: other datasets there stay."""
        self._take_sessions(sessions)
        by_eid: dict[UUID, dict[UUID, Dataset]] = {}
        for dataset in datasets:
            by_eid.setdefault(dataset.eid or NO_EID, {})[dataset.id] = dataset
        for eid, told in by_eid.items():
            row = self.sessions.of_eid(eid)
            if row is None and eid != NO_EID:
                continue
            together = told if row is None else {each.id: each for each in self._datasets(row)} | told
            if eid == NO_EID:
                self.aggregates(AGGREGATED, together.values())
            else:
                self.datasets_of(("datasets", str(eid)), eid, together.values())

    def _datasets(self, row: int) -> Iterator[Dataset]:
        """The known datasets of a session's row."""
        if self.sessions.can_tell(row):
            rows = self.sessions.rows(row, "/".join(self.folders.parts(self.sessions.folder(row))))
            yield from (rows.dataset(i) for i in range(len(rows)))

    def aggregates(self, question: Question, datasets: Iterable[Dataset]) -> None:
        """All datasets of no session."""
        own = [dataset for dataset in datasets if dataset.eid is None]
        known = self.find(AGGREGATES)
        if not own and known is None:
            return
        if known is None:
            folder = self.folders.place(ROOT, AGGREGATES)
            _, row = self.sessions.learn(NO_SESSION, folder)
            self.folders.set_sessions(folder, [row], None)
        self._take_datasets(question, NO_EID, own)
        row_now = self.sessions.of_eid(NO_EID)
        told = None if row_now is None else self.sessions.edition(row_now)
        folder_now = self.find(AGGREGATES)
        if told and not told.ids and folder_now is not None:
            self.folders.remove(folder_now)

    def _take_datasets(self, question: Question, eid: UUID, datasets: Iterable[Dataset]) -> None:
        edition = edition_of(datasets, self._tally(question))
        stood = self.sessions.of_eid(eid)
        before, row = self.sessions.learn_datasets(eid, edition)
        self.told_datasets[eid] = None
        self.session_of_dataset.update(dict.fromkeys(edition.ids, eid))
        if before != row:
            self._others.append((before, row))
        folder = self.folders.folder(self.sessions.folder(row))
        if stood != row and stood in folder.sessions:
            rows = [row if each == stood else each for each in folder.sessions]
            self.folders.set_sessions(folder.row, rows, folder.date)
        self._tally_shared(folder.row)

    def _tally(self, question: Question) -> LeftOutTally:
        tally = self._tallies[question] = LeftOutTally()
        return tally

    # -- counts --------------------------------------------------------------------------------------------------

    def counts(self) -> tuple[int, int, int]:
        """Sessions and datasets known so far, and the sum of the known sizes in bytes, at most `MOST_BYTES`."""
        if self._counts is None:
            base = (self._base.n_sessions, self._base.n_datasets, self._base.total_bytes) if self._base else (0, 0, 0)
            sessions, datasets, size_bytes = (sum(column) for column in zip(base, *self._differences(), strict=True))
            self._counts = sessions, datasets, min(max(size_bytes, 0), MOST_BYTES)
        return self._counts

    def columns(self) -> PlainColumns:
        """The columns to search in: those of the tables, and what was learned beyond them."""
        if self._columns is None:
            rows = sorted({row for row in self.folders.sessions() if self.stands(row)})
            learned = [LearnedRow(row, self.sessions.session(row), self.sessions.known_datasets(row)) for row in rows]
            index = self._base.index if self._base else None
            self._columns = overlaid(index, self.folders.lost_sessions(), learned)
        return self._columns

    def _differences(self) -> Iterator[tuple[int, int, int]]:
        """What to add to the counts of the tables."""
        for row in set(self.folders.lost_sessions()):
            n_datasets, size_bytes = self.sessions.size_in_base(row)
            yield -self._counted(row), -n_datasets, -size_bytes
        for row in {row for row in self.folders.sessions() if self.stands(row)}:
            yield self._counted(row), *self.sessions.known_size(row)

    def _counted(self, row: int) -> int:
        """1 for a session, 0 for the row that stands for the aggregates."""
        return 0 if self._eid(row) == NO_EID else 1


def _names(names: Iterable[str], what: str, reserved: frozenset[str], tally: LeftOutTally) -> list[str]:
    """Names that can stand in the tree, each once."""
    usable = []
    for name in dict.fromkeys(names):
        if name in reserved:
            tally.add(Reason.SESSION_RESERVED, 1, [f"{what} {name!r}"])
        elif name and not (is_text(name) and alf.is_safe_part(name)):
            tally.add(Reason.SESSION_UNSAFE, 1, [f"{what} {name!r}"])
        elif name:
            usable.append(name)
    return usable


def _usable(sessions: Iterable[Session], tally: LeftOutTally) -> Iterator[Session]:
    """Sessions that can stand in the tree, by the rules of the index."""
    for session in sessions:
        reason = None if session.eid.int else Reason.SESSION_ID
        reason = reason or refusal(session.lab, session.subject, session.date, session.number)
        if reason:
            place = f"lab {session.lab!r}, subject {session.subject!r}, date {session.date}, number {session.number}"
            tally.add(reason, 1, [f"{session.eid} {place}"])
        else:
            yield replace(session, task_protocol=_writable(session.task_protocol), projects=_writable(session.projects))


def _writable(text: str) -> str:
    return text.encode(errors="replace").decode()
