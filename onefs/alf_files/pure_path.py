"""`PureALFPath`: a path that knows the ALF parts in it, and does not look at the disk."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Self, TypeVar
from uuid import UUID

from onefs import alf
from onefs.alf_files import parts, spec
from onefs.alf_files.parts import AnyPath, filename_parts, full_path_parts
from onefs.one_errors import ALFInvalid

Day = date
"""`datetime.date`, where a path's own `date` hides it."""


class _Part:
    """A part of a path, "" if it is absent."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, path: "PureALFPath", kind: type) -> str:
        return parts.that_fit(path.as_posix())[self._name] or ""


class _Parts:
    """Several parts of a path, "" where they are absent."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __get__(self, path: "PureALFPath", kind: type) -> tuple[str, ...]:
        found = parts.that_fit(path.as_posix())
        return tuple(found[name] or "" for name in self._names)


class PureALFPath(PurePath):
    """A path with the ALF parts in it as attributes, "" where they are absent, and methods that change them.

    What cannot be changed so raises `ALFInvalid`.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A path of this class; of `PurePosixALFPath` if none is named."""
        if cls is PureALFPath:
            cls = PurePosixALFPath  # type: ignore[assignment]
        return super().__new__(cls, *args, **kwargs)

    # -- parts ---------------------------------------------------------------------------------------------------

    lab = _Part("lab")
    subject = _Part("subject")
    date = _Part("date")
    sequence = _Part("number")
    collection = _Part("collection")
    revision = _Part("revision")
    namespace = _Part("namespace")
    object = _Part("object")
    attribute = _Part("attribute")
    timescale = _Part("timescale")
    extra = _Part("extra")
    session_parts = _Parts(parts.SESSION_PARTS)
    dataset_name_parts = _Parts(parts.FILE_PARTS)
    alf_parts = _Parts(parts.ALL_PARTS)

    def parse_alf_path(self, as_dict: bool = True) -> Any:
        """All parts of the path, None where absent, as a dict or tuple."""
        found = parts.that_fit(self.as_posix())
        return found if as_dict else tuple(found.values())

    def parse_alf_name(self, as_dict: bool = True) -> Any:
        """The parts of the file name, None where absent, as a dict or tuple."""
        return filename_parts(self.name, as_dict=as_dict, assert_valid=False)

    def is_valid_alf(self) -> bool:
        """Whether it is the name of a dataset, the path of one in a session, or that of a folder in a session."""
        return parts.in_path(spec.as_posix(self)) is not None

    def is_dataset(self) -> bool:
        """Whether the last part is a dataset's name."""
        return spec.is_valid(spec.as_posix(self).rpartition("/")[2])

    def is_session_path(self) -> bool:
        """Whether it is the path of a session's folder."""
        return spec.is_session_path(self)

    # -- sessions and labs ---------------------------------------------------------------------------------------

    def session_path(self) -> Self | None:
        """The session folder that it is, or is in; None if there is none."""
        session = alf.find_session(self.as_posix())
        if session is None or alf.calendar_date(session["date"]) is None:
            return None
        return type(self)(session.string[: session.end()])

    def session_path_short(self, include_lab: bool = False) -> str | None:
        """`[lab/]subject/date/number`, None if it is in no session."""
        *lab, subject, day, number = self.session_parts
        return "/".join(filter(None, (*(lab if include_lab else ()), subject, day, number))) or None

    def relative_to_session(self) -> Self:
        """The path from its session on. Raises `ALFInvalid` if it is in none."""
        session = self.session_path()
        if session is None:
            raise ALFInvalid(f"{self.as_posix()!r} is in no session's folder.")
        return self.relative_to(session)

    def relative_to_lab(self) -> Self:
        """The path from below `lab/Subjects` on. Raises `ALFInvalid` if that is not in it."""
        lab = self._lab_span()
        if lab is None:
            raise ALFInvalid(f"{self.as_posix()!r} has no folder Subjects with a lab above it.")
        return type(self)(self.as_posix()[lab[1] :])

    def without_lab(self) -> Self:
        """The path without `lab/Subjects`; itself if that is not in it."""
        path, lab = self.as_posix(), self._lab_span()
        return self if lab is None else type(self)(path[: lab[0]] + path[lab[1] :])

    def _lab_span(self) -> tuple[int, int] | None:
        """Where `lab/Subjects/` stands: before the session if there is one."""
        path = self.as_posix()
        session = alf.find_session(path)
        if session:
            return (session.start(), session.start("subject")) if session["lab"] else None
        lab = alf.LAB_IN_PATH.search(path)
        return lab.span() if lab else None

    def with_lab(self, lab: str, strict: bool = False) -> Self:
        """With another lab, or with one where there was none; that raises `ALFInvalid` if `strict`."""
        if strict and self.session_path() and not self.lab:
            raise ALFInvalid(f"{self.as_posix()!r} has no lab to replace.")
        return self._with_session(lab=lab or "")

    def with_subject(self, subject: str) -> Self:
        """With another subject."""
        return self._with_session(subject=subject)

    def with_date(self, date: "str | Day") -> Self:
        """With another date, given as such or as `YYYY-MM-DD`."""
        day = date.isoformat()[:10] if isinstance(date, Day) else str(date)
        if alf.calendar_date(day) is None:
            raise ALFInvalid(f"{day!r} is no date as YYYY-MM-DD.")
        return self._with_session(date=day)

    def with_sequence(self, number: int | str) -> Self:
        """With another number of the session, filled up to three digits."""
        if not str(number).isdecimal():
            raise ALFInvalid(f"{number!r} is no number of a session.")
        return self._with_session(number=f"{int(number):03d}")

    def with_padded_sequence(self) -> Self:
        """With the number of the session filled up to three digits."""
        return self._with_session(number=self.sequence.zfill(3))

    def _with_session(self, **changes: str) -> Self:
        session = alf.find_session(self.as_posix())
        if session is None:
            raise ALFInvalid(f"{self.as_posix()!r} is in no session's folder.")
        wanted = session.groupdict() | changes
        lab = "" if wanted["lab"] is None else alf.LAB_SPEC.format_map(wanted)
        folder = f"{lab}{wanted['subject']}/{wanted['date']}/{wanted['number']}"
        found = alf.SESSION.fullmatch(folder)
        if found is None or found.groupdict() != wanted:
            raise ALFInvalid(f"{folder!r} is no path of a session.")
        before, behind = session.string[: session.start()], session.string[session.end() :]
        return type(self)(f"{before}{folder}{behind}")

    # -- collections and revisions -------------------------------------------------------------------------------

    def with_collection(self, collection: AnyPath | None) -> Self:
        """In another collection; None or "" is the session's root."""
        return self._in_folder(collection=spec.as_posix(collection) or None if collection else None)

    def with_revision(self, revision: str) -> Self:
        """In another revision, or in one where there was none."""
        return self._in_folder(revision=revision)

    def without_revision(self) -> Self:
        """In the same collection, without a revision."""
        return self._in_folder(revision=None)

    def _in_folder(self, **changes: str | None) -> Self:
        """The file, or the folder, in another place in the same session."""
        known = full_path_parts(self, as_dict=True)
        session = alf.find_session(self.as_posix())
        if session is None:
            raise ALFInvalid(f"{self.as_posix()!r} is in no session's folder.")
        wanted = {name: known[name] for name in parts.FOLDER_PARTS} | changes
        revision = None if wanted["revision"] is None else alf.REVISION_SPEC.format_map(wanted)
        folder = "/".join(part for part in (wanted["collection"], revision) if part is not None)
        if parts.in_place(folder) != wanted:
            raise ALFInvalid(f"{folder!r} is no collection and revision.")
        return type(self)(session.string[: session.end()], folder, self.name if known["object"] else "")

    # -- file names ----------------------------------------------------------------------------------------------

    def with_namespace(self, ns: str | None) -> Self:
        """With another namespace; None or "" for none."""
        return self._renamed(namespace=ns or "")

    def with_object(self, obj: str) -> Self:
        """With another object."""
        return self._renamed(object=obj)

    def with_attribute(self, attr: str) -> Self:
        """With another attribute."""
        return self._renamed(attribute=attr)

    def with_timescale(self, timescale: str | None) -> Self:
        """With another timescale; None or "" for none."""
        return self._renamed(timescale=timescale or "")

    def with_extra(self, extra: str | Iterable[str] | None, append: bool = False) -> Self:
        """With other extra parts, or with these behind those that are there; None or "" for none."""
        given = [extra] if isinstance(extra, str) else [*(extra or ())]
        return self._renamed(extra=".".join(filter(None, [self.extra if append else "", *given])))

    def with_extension(self, ext: str) -> Self:
        """With another extension, given without a dot."""
        return self._renamed(extension=ext)

    def _renamed(self, **changes: str) -> Self:
        known = alf.parse_file_name(self.name, parts.FILE)
        if known is None:
            raise ALFInvalid(f"{self.as_posix()!r} has no file name of ALF.")
        wanted = replace(known, **changes)
        if alf.parse_file_name(wanted.text, parts.FILE) != wanted:
            raise ALFInvalid(f"{wanted.text!r} is no file name of ALF with these parts.")
        return self.with_name(wanted.text)

    def with_uuid(self, uuid: UUID | str, strict: bool = False) -> Self:
        """With a dataset's UUID before the extension, in place of one that is there; another one raises if `strict`."""
        if not spec.is_valid(self.name):
            raise ALFInvalid(f"{self.as_posix()!r} has no file name of ALF.")
        return with_id(self, uuid, strict)

    def without_uuid(self) -> Self:
        """Without the dataset's UUID before the extension."""
        return self.with_name(alf.without_uuid(self.name)) if self.name else self


class PurePosixALFPath(PureALFPath, PurePosixPath):
    """A `PureALFPath` of Linux and macOS."""

    __slots__ = ()


class PureWindowsALFPath(PureALFPath, PureWindowsPath):
    """A `PureALFPath` of Windows."""

    __slots__ = ()


Pure = TypeVar("Pure", bound=PurePath)


def with_id(path: Pure, uuid: UUID | str, strict: bool) -> Pure:
    """A path with a UUID before the extension, in place of one that is there; another one raises if `strict`."""
    plain = alf.without_uuid(path.name)
    try:
        name = alf.archive_path(plain, UUID(str(uuid)))
    except ValueError:
        raise ALFInvalid(f"{uuid!r} is no UUID.", terse=True) from None
    if strict and path.name not in (plain, name):
        raise ALFInvalid(f"{path.name!r} has another UUID than {uuid}.", terse=True)
    return path.with_name(name)
