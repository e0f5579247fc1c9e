"""`ProgramAccounting`: counts what programs open and read, and says whether one may fetch more."""

import logging

from onefs.errors import CrawlingError
from onefs.recording.processes import Caller, Reader
from onefs.recording.program_usage import Programs
from onefs.recording.recorder import Recorder
from onefs.vfs.journal import Journal

_log = logging.getLogger(__name__)


class ProgramAccounting:
    """Counts what programs open, and warns of those that fetch too much."""

    def __init__(self, programs: Programs, recorder: Recorder, journal: Journal) -> None:
        self._programs = programs
        self._recorder = recorder
        self._journal = journal

    def trust(self, caller: Caller) -> None:
        """Never take a process for a crawler."""
        self._programs.crawlers.trust(caller)

    def refusal(self, caller: Caller, reader: Reader | None) -> CrawlingError | None:
        """Why nothing more is fetched for a program; None if it may go on. `reader` is known while recording."""
        if reader is not None and self._recorder.is_run(reader):
            self.trust(caller)
        crawlers = self._programs.crawlers
        return crawlers.refusal(caller) if crawlers.limit_files else None

    def refused(self, caller: Caller) -> None:
        """Count a file that was refused to a program."""
        self._programs.crawlers.refused(caller)

    def opened(self, caller: Caller, *, is_fetched: bool) -> None:
        """Count a dataset that a program opened. `is_fetched` says that it has to be fetched for that."""
        self._programs.opened(caller, is_fetched=is_fetched)
        warning = self._programs.crawlers.fetched(caller) if is_fetched else None
        if warning is not None:
            _log.warning("%s", warning)
            self._journal.warn(warning)
