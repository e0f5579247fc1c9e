"""`Service`, one mount: builds every part, serves until told to stop, and takes it down."""

import contextlib
import errno
import logging
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import trio
from trio.lowlevel import Task

from onefs import memory
from onefs.archive.archive import Archive, Hooks
from onefs.archive.defaults import Defaults
from onefs.catalogue.records import Dataset
from onefs.catalogue.snapshot import Snapshot
from onefs.daemon import signals, systemd
from onefs.daemon.commands import Controls, commands
from onefs.daemon.file_commands import FileCommands
from onefs.daemon.jobs import Jobs
from onefs.daemon.logs import Log, levels_in_force
from onefs.daemon.orders import Orders
from onefs.daemon.recording import Recording
from onefs.daemon.showing import Showing
from onefs.daemon.watchdog import UnitReporter
from onefs.errors import MountError, OnefsError, UsageError
from onefs.fetch.access import Verify
from onefs.fuse import mounting
from onefs.fuse.adapters import adapter_of, chosen_adapter
from onefs.fuse.counters import Counters
from onefs.fuse.errnos import errno_name
from onefs.fuse.mounters import Mounter
from onefs.fuse.notify import Notifier
from onefs.fuse.operations import Operations
from onefs.fuse.passthrough import NOT_WANTED, Passthrough, no_passthrough
from onefs.jitter import Jitter
from onefs.modes import ALLOWED, Mode, ModeState, check
from onefs.monitoring.kernel_status import KernelStatus
from onefs.monitoring.metrics import Measured, Metrics
from onefs.monitoring.status import Status
from onefs.outages import PAUSE_S
from onefs.recording.crawling import Crawlers
from onefs.recording.program_usage import Programs
from onefs.settings import Settings, settings_text
from onefs.sources.origins import origins
from onefs.sources.releases import Releases
from onefs.sources.source import Source
from onefs.transports.base import Location
from onefs.vfs.control import Daemon, control_directory
from onefs.vfs.filesystem import FileSystem
from onefs.vfs.journal import Journal
from onefs.vfs.nodes import Directory, NodeModes
from onefs.vfs.prefetching import Prefetching

SHORTEST_WAIT_S = 1.0
WAIT_AFTER_FAILURE_S = 60.0
NOT_SERVED = (errno.ENOTCONN, errno.ECONNABORTED)
"""Errors of a mount whose connection has ended."""
_log = logging.getLogger(__name__)


class Service:
    """One mount of one source."""

    def __init__(self, source: Source, settings: Settings, mounter: Mounter, log: Log) -> None:
        """Everything but the mount itself. Raises any `OnefsError` that stands in its way."""
        self._source = source
        self._settings = settings
        self._mounter = mounter
        self._mountpoint = mounter.mountpoint
        self._notifier = Notifier()
        self._journal = Journal(errno_name)
        self._programs = Programs(Crawlers(settings.crawl_warn, settings.crawl_limit))
        hooks = Hooks(
            events=self,
            on_tables=self._adopt,
            jitter=Jitter(settings.refresh_jitter_s),
        )
        self._archive = Archive(source, settings, hooks)
        self._content = self._archive.content
        self._client = self._archive.client
        self._refresher = self._archive.refresher
        self._recording = Recording(
            source.name,
            self._mountpoint,
            source.state_dir,
            self._content.md5_of,
            Defaults(lambda: self._showing.catalogues.at_rest, lambda: self._showing.rule).has,
            self._tables_in_use,
            self._check_outside,
        )
        self._jobs = Jobs(settings.connections)
        counters = Counters()
        most_ahead = settings.connections if settings.prefetch == "auto" else 0
        self._prefetching = Prefetching(self._content, most_ahead, settings.read_ahead_max)
        recorder = self._recording.recorder
        self._metrics = Metrics(
            Measured(self._mountpoint, self._archive, counters, self._jobs, recorder, self._programs, self._prefetching)
        )
        self._status = status = Status(self._mountpoint, self._archive, self._journal, log.place)
        self._showing = Showing(
            self._archive.tables,
            None if source.is_frozen else self._client,
            self._control_directory(status, log),
            source.abilities,
            lambda: self._refresher.state.requested,
            self._refresher.check_before_listing,
            self._heard,
            lambda: self._file_system,
            self._notifier,
            settings,
            self._releases(),
            source.state_dir,
        )
        self._passthrough = Passthrough(recorder, counters, self._no_passthrough())
        self._kernel_status = KernelStatus(mounter, recorder, self._passthrough, counters)
        status.add("kernel", self._kernel_status)
        status.add("shown", self._showing)
        status.add("prefetch", self._prefetching)
        status.add("jobs", self._jobs)
        status.add("recording", self._recording)
        status.add("programs", self._programs)
        status.add("crawlers", self._programs.crawlers)
        self._file_system = FileSystem(
            self._showing.forest(),
            self._content,
            self._journal,
            lambda: self._refresher.state.requested,
            serves_mismatches=Verify(settings.verify) is Verify.WARN,
            recorder=self._recording.recorder,
            modes=NodeModes(stat.S_IFDIR | settings.dir_mode, stat.S_IFREG | settings.file_mode),
            prefetching=self._prefetching,
        )
        self._operations = Operations(
            self._file_system,
            open_wait_s=settings.open_wait_s,
            has_old_pages=self._notifier.has_old_pages,
            programs=self._programs,
            counters=counters,
            passthrough=self._passthrough,
        )
        self.root_task: Task | None = None
        self._failure: MountError | None = None
        """Why the mount had to end."""

    def _no_passthrough(self) -> str:
        """Why the kernel must not read files by itself; "" if it may."""
        if self._settings.passthrough == "off":
            return NOT_WANTED
        is_local = not self._content.may_block
        return no_passthrough(self._source.data_dir, Verify(self._settings.verify), is_local=is_local)

    def _control_directory(self, status: Status, log: Log) -> Directory:
        files = self._file_commands()
        controls = Controls(
            switch=self._switch,
            as_of=lambda date: self._showing.show(as_of=date),
            limit_qc=lambda qc: self._showing.show(qc_limit=qc),
            refresh=self._refresh,
            ask_again=self._ask_again,
            save_tables=self._save_tables,
            load_tables=self._load_tables,
            use_tag=self._refresher.use_tag,
            reset_tables=self._refresher.reset,
            database=self._client,
            record=self._recording.commands(),
        )
        daemon = Daemon(
            status=status.text,
            status_json=status.json,
            metrics=self._metrics.text,
            settings=self._settings_text,
            log=log.text,
            mode=lambda: self._refresher.state.requested,
            pinned=files.pinned_text,
            commands=commands(files, controls),
        )
        return control_directory(daemon, self._journal, self._recording.recorder)

    def _file_commands(self) -> FileCommands:
        orders = Orders(
            self._content,
            lambda: self._refresher.state.requested,
            self._journal.record,
            fetches_at_once=min(self._settings.connections, self._settings.max_transfers),
            has_server=self._source.abilities.has_server,
        )
        return FileCommands(lambda: self._file_system, self._content, self._jobs, orders, self._mountpoint, self._retry)

    def _settings_text(self) -> str:
        """The settings in force, some of which commands change."""
        now = replace(
            self._settings,
            mode=self._refresher.state.requested,
            tag=self._showing.catalogues.tag,
            as_of=self._showing.rule.as_of,
            qc=self._showing.rule.qc_limit.name,
            record=self._recording.is_on,
            log=levels_in_force(),
        )
        if self._client is not None:
            now = replace(now, cache_rest=self._client.cache_rest, default_expiry_s=self._client.default_expiry_s)
        return settings_text(now)

    def _releases(self) -> Releases:
        source = self._source
        tables = None if source.is_frozen else origins(source.tables_url, self._client, self._archive.ranges)
        return Releases(source, tables, lambda: self._refresher.state.requested is not Mode.LOCAL)

    def state_text(self) -> str:
        """The status of the mount, for people. May wait for a disk."""
        return self._status.text()

    @property
    def state(self) -> ModeState:
        """The mode that was asked for, and that in effect."""
        return self._refresher.state

    @property
    def n_transfers(self) -> int:
        """How many files are being fetched."""
        return len(self._content.transfers())

    def _adopt(self, tables: Snapshot) -> Callable[[], None]:
        return self._showing.adopt(tables)

    def run(self, ready: Callable[[], None]) -> None:
        """Mount, say `ready` once the mountpoint answers, serve until unmounted or told to stop by a signal."""
        memory.keep_for_next_time()
        signals.hold()
        try:
            with self._metrics.served_at(self._settings.metrics_listen), self._mounted():
                self._recording.begin(is_on=self._settings.record)
                trio.run(self._serve, ready)
        finally:
            self._jobs.close()
            self._archive.close()
            self._recording.close()

    @contextlib.contextmanager
    def _mounted(self) -> Iterator[None]:
        name = self._mounter.shown_as or self._source.name
        adapter = chosen_adapter(self._settings)
        self._adapter = adapter_of(adapter, self._mounter.mount(name), self._operations, self._passthrough)
        try:
            self._notifier.start(self._adapter)
            self._kernel_status.adapter = self._adapter
            yield
        finally:
            self._notifier.stop()
            self._adapter.close()
            self._mounter.close()

    async def _serve(self, ready: Callable[[], None]) -> None:
        """Serve until unmounted or told to stop. Raises `MountError` itself, in no group."""
        self.root_task = trio.lowlevel.current_root_task()
        with trio.open_signal_receiver(*signals.HEEDED) as received:
            signals.release()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._heed_signals, received, nursery)
                    nursery.start_soon(self._say_ready, ready, nursery)
                    await self._serve_kernel()
                    nursery.cancel_scope.cancel()
            finally:
                signals.hold()
                systemd.notify("STOPPING=1")
        if self._failure is not None:
            raise self._failure

    async def _serve_kernel(self) -> None:
        try:
            await self._adapter.serve()
        except MountError as error:
            self._failure = error
        else:
            _log.info("Unmounted from %s", self._mountpoint)

    async def _say_ready(self, ready: Callable[[], None], nursery: trio.Nursery) -> None:
        try:
            await trio.to_thread.run_sync(os.stat, self._mountpoint, abandon_on_cancel=True)
        except PermissionError:  # the way to it is not this user's; nothing can be asked then
            pass
        except OSError as error:
            if error.errno not in NOT_SERVED:  # else the adapter ends, too
                words = f"{self._mountpoint} is mounted, and does not answer: {error.strerror}."
                self._failure = MountError(words, "Mount with --log debug, and report it with the log.")
                nursery.cancel_scope.cancel()
            return
        is_enough = await trio.to_thread.run_sync(self._mounter.tune, abandon_on_cancel=True)
        self._operations.many_reads_may_wait = is_enough
        _log.info("%s is mounted at %s", self._source.name, self._mountpoint)
        try:
            ready()
        except BrokenPipeError:
            _log.warning("Whoever asked for the mount has gone before it was usable; it is taken down again")
            nursery.cancel_scope.cancel()
            return
        nursery.start_soon(UnitReporter(systemd.manager(), self._source.name, self._mountpoint, self).run)
        if self._source.is_indexed and not self._source.is_just_indexed:
            self._refresher.look_soon()
        await self._renew_when_due()

    async def _renew_when_due(self) -> None:
        while True:
            wait_s = WAIT_AFTER_FAILURE_S
            try:
                wait_s = await trio.to_thread.run_sync(self._refresher.refresh_if_due, abandon_on_cancel=True)
            except Exception:  # noqa: BLE001 - the mount must outlive it
                _log.exception("Unforeseen failure of a check for newer tables; the mount goes on")
            await trio.sleep(max(wait_s, SHORTEST_WAIT_S))

    async def _heed_signals(self, received: AsyncIterator[int], nursery: trio.Nursery) -> None:
        refresh, orders = trio.open_memory_channel[None](1)
        nursery.start_soon(self._refresh_when_told, orders)
        async for number in received:
            if number == signal.SIGHUP:
                with contextlib.suppress(trio.WouldBlock):  # one more refresh will begin anyway
                    refresh.send_nowait(None)
            else:
                _log.info("Stopping at %s", signal.Signals(number).name)
                nursery.cancel_scope.cancel()

    async def _refresh_when_told(self, orders: AsyncIterator[None]) -> None:
        async for _ in orders:
            _log.info("Refreshing at SIGHUP")
            systemd.notify(*systemd.reloading())
            try:
                await trio.to_thread.run_sync(self._refresh, abandon_on_cancel=True)
            except OnefsError as error:
                _log.warning("The tables could not be renewed: %s", error)
            except Exception:  # noqa: BLE001 - the mount must outlive it
                _log.exception("Unforeseen failure of a refresh; the mount goes on")
            systemd.notify("READY=1")

    def _heard(self, error: OnefsError | None) -> None:
        """Note whether the database answered: `error` is why it did not, or why a stale answer was used."""
        assert self._client is not None
        self._refresher.mode.heard(error or self._client.outage, self._client.left_alone_s or PAUSE_S)

    def _switch(self, mode: Mode) -> None:
        check(mode, self._source.name, self._source.abilities)
        self._refresher.switch(mode)
        self._content.permit(may_fetch=ALLOWED[mode].fetching)
        self._showing.renew()

    def _retry(self) -> None:
        self._programs.crawlers.forget()
        self._ask_again()

    def _ask_again(self) -> None:
        self._showing.ask_again()

    def _refresh(self) -> None:
        """Expire all answers of the database, and ask for newer tables, unless the mode takes none."""
        self._ask_again()
        if ALLOWED[self._refresher.state.requested].live_catalogue:
            self._content.forget_failures()
        else:
            self._archive.refresh()

    def _load_tables(self, directory: Path | None) -> None:
        if directory is not None:
            self._check_outside(directory, "Copy the tables elsewhere first.")
        self._refresher.load(directory)

    def _save_tables(self, directory: Path | None, replaces: bool) -> None:
        if directory is not None:
            self._check_outside(directory, "Save to a directory outside it.")
        origin = self._source.database.base_url if self._source.database else ""
        with self._refresher.alone():
            self._showing.catalogues.save(directory or self._tables_in_use(), origin, clobber=replaces)
            self._refresher.noted_saved()
        self._showing.renew_files()

    def _tables_in_use(self) -> Path:
        return self._showing.catalogues.tables.files.sessions.parent

    def _check_outside(self, directory: Path, remedy: str) -> None:
        """Raise `UsageError` for a directory in the mount itself, under whatever name."""
        if Path(os.path.realpath(directory)).is_relative_to(mounting.place(self._mountpoint)):
            raise UsageError(f"{directory} lies in the mount itself.", remedy)

    def changed(self, dataset: Dataset) -> None:
        """Have the kernel ask for a dataset's attributes again."""
        self._tell(dataset, self._notifier.attributes_changed)

    def withdrawn(self, dataset: Dataset) -> None:
        """Have the kernel forget a dataset's bytes."""
        self._tell(dataset, self._notifier.pages_changed)

    def _tell(self, dataset: Dataset, tell: Callable[[int], None]) -> None:
        with contextlib.suppress(OnefsError):  # a dataset that the tree does not show needs no telling
            ino = self._file_system.file_ino(dataset)
            if ino is not None:
                tell(ino)

    def mismatched(self, dataset: Dataset, location: Location) -> None:
        """Do nothing: the archive reports it to the database."""

    def failed(self, dataset: Dataset, error: OnefsError) -> None:
        """Log a failure, and list it among the errors."""
        _log.warning("%s", error)
        self._journal.record(dataset.path, error)
