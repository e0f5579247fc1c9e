"""Owns this process's share of the ledger: room that it took ahead of need, so that not each file asks for it."""

import threading
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from onefs.cache.evict import Survey
from onefs.cache.ledger import Account, Ledger
from onefs.cache.locks import StoppedError
from onefs.cache.shares import Share, Shares

LARGEST_GRANT_BYTES = 64 << 20
TOLD_EVERY_BYTES = 8 << 20
"""Who has no limit tells the others after so many."""
PARTS = 256
"""A grant is this part of the limit."""


class Grants:
    """Room granted by the ledger, and what of it is held for files on their way. Safe to use from several threads.

    Without a limit (0), what is spent is told to the ledger now and then, if there is one.
    """

    def __init__(self, limit_bytes: int, ledger: Ledger, shares: Shares, stop: threading.Event) -> None:
        self._limit_bytes = limit_bytes
        self._grant_bytes = min(limit_bytes // PARTS, LARGEST_GRANT_BYTES) if limit_bytes else TOLD_EVERY_BYTES
        self._ledger = ledger
        self._shares = shares
        self._stop = stop
        self._asking = threading.Lock()  # one asks the ledger for all threads; taken before the other
        self._lock = threading.Lock()  # guards all below
        self._granted_bytes = 0
        self._new_files = 0
        self._held: dict[UUID, int] = {}

    @property
    def _is_told(self) -> bool:
        """Whether there is anybody to be told of what is spent: else a later count finds it on the disk."""
        return bool(self._limit_bytes) or self._ledger.exists

    @property
    def held(self) -> dict[UUID, int]:
        """Bytes by the dataset that is fetched whole just now."""
        with self._lock:
            return self._held.copy()

    def spend(self, size_bytes: int, holder: UUID | None = None) -> bool:
        """Use what was granted, for the file of `holder` on its way; False if that is too little."""
        with self._lock:
            if self._limit_bytes and self._granted_bytes < size_bytes:
                return False
            self._granted_bytes -= size_bytes if self._is_told else 0
            if holder is not None:  # at once, so that no count misses it
                self._held[holder] = self._held.get(holder, 0) + size_bytes
            owes = self._granted_bytes < -self._grant_bytes
        if owes:
            self.settle()
        return True

    def ask(self, size_bytes: int, holder: UUID | None = None) -> bool:
        """Use more than was granted; False if the limit leaves no room, or nobody counted yet.

        Raises OSError, StoppedError.
        """
        with self._asking:
            if self.spend(size_bytes, holder):
                return True

            def grant(account: Account | None) -> Account | None:
                if account is None:
                    return None
                with self._lock:
                    missing_bytes = size_bytes - self._granted_bytes
                    room_bytes = self._limit_bytes - account.used_bytes
                    if room_bytes < missing_bytes:
                        return account
                    granted_bytes = min(room_bytes, max(missing_bytes, self._grant_bytes))
                    self._granted_bytes += granted_bytes
                self._shares.publish(self._share_with(size_bytes, holder))
                return self._with_files(replace(account, used_bytes=account.used_bytes + granted_bytes))

            self._ledger.change(grant, self._stop)
            return self.spend(size_bytes, holder)

    def missing(self, size_bytes: int) -> int:
        """Bytes that must go before so many more can be granted."""
        account = self._ledger.read()
        if account is None:
            return 0
        with self._lock:
            return account.used_bytes + size_bytes - self._granted_bytes - self._limit_bytes

    def give_back(self, size_bytes: int, holder: UUID | None = None) -> None:
        """What was spent was not needed; all that is held for the file of `holder` is so no longer."""
        with self._lock:
            if holder is not None:
                self._held.pop(holder, None)
            self._granted_bytes += size_bytes if self._is_told else 0
            has_too_many = self._granted_bytes > 2 * self._grant_bytes
        if has_too_many:
            self.settle()

    def hold(self, holder: UUID, size_bytes: int) -> None:
        """So many bytes on the disk, that count already, are those of a file on its way."""
        with self._lock:
            self._held[holder] = self._held.get(holder, 0) + size_bytes

    def came(self) -> None:
        """A file is complete."""
        with self._lock:
            self._new_files += self._is_told

    def freed(self, size_bytes: int, files: int) -> None:
        """Others may have what came free. Raises OSError, StoppedError."""

        def subtract(account: Account | None) -> Account | None:
            if account is None:
                return None
            used_bytes = max(0, account.used_bytes - size_bytes)
            return self._with_files(replace(account, used_bytes=used_bytes, files=account.files - files))

        if self._ledger.exists:
            self._ledger.change(subtract, self._stop)

    def share(self) -> Share:
        """What this process has under way."""
        with self._lock:
            return Share(max(0, self._granted_bytes), self._held.copy())

    def _share_with(self, size_bytes: int, holder: UUID | None) -> Share:
        """The share once these bytes are spent: what is held is known to have come, what is granted is not."""
        share = self.share()
        if holder is None:
            return share
        held = {**share.held, holder: share.held.get(holder, 0) + size_bytes}
        return Share(max(0, share.granted_bytes - size_bytes), held)

    def before_count(self) -> tuple[Account | None, list[Share]]:
        """The account, and what all have under way just then. Raises OSError, StoppedError."""
        found: list[tuple[Account | None, list[Share]]] = []

        def look(account: Account | None) -> Account | None:
            with self._lock:
                spent_bytes = -min(0, self._granted_bytes)  # by who has no limit: it is on the disk, or held
                self._granted_bytes += spent_bytes
            if account is not None:
                account = self._with_files(replace(account, used_bytes=account.used_bytes + spent_bytes))
            found.append((account, [self.share(), *self._shares.others()]))
            return account

        self._ledger.change(look, self._stop)
        return found[0]

    def counted(self, survey: Survey, before: Account | None, at_s: float, took_s: float) -> None:
        """Begin the account anew, with a survey that was made since `before`. Raises OSError, StoppedError."""

        def renew(account: Account | None) -> Account:
            since_bytes = account.used_bytes - before.used_bytes if account is not None and before is not None else 0
            return Account(max(0, survey.used_bytes + since_bytes), survey.files, at_s, took_s)

        self._ledger.change(renew, self._stop)

    def settle(self, *, keeps: bool = True) -> None:
        """Give what is too much back to all, and tell what was spent without asking; all of it unless `keeps`."""
        with self._asking, suppress(OSError, StoppedError):

            def give(account: Account | None) -> Account | None:
                if account is None:
                    return None
                with self._lock:
                    given_bytes = self._granted_bytes - (self._grant_bytes if keeps and self._limit_bytes else 0)
                    self._granted_bytes -= given_bytes
                used_bytes = max(0, account.used_bytes - given_bytes)
                self._shares.publish(self.share())
                return self._with_files(replace(account, used_bytes=used_bytes))

            if self._ledger.exists:
                self._ledger.change(give, self._stop)

    def close(self) -> None:
        """Give all back."""
        self.settle(keeps=False)
        with self._asking, suppress(OSError):
            self._shares.close()

    def own(self) -> tuple[int, int]:
        """Bytes granted and not used, and files that the ledger does not know of yet."""
        with self._lock:
            return self._granted_bytes, self._new_files

    def _with_files(self, account: Account) -> Account:
        """The account with the files that came since it was last told."""
        with self._lock:
            files, self._new_files = self._new_files, 0
        return replace(account, files=account.files + files)
