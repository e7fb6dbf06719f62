"""What can be wrong with a storage or with an artefact in it: what happened and what to do, in words."""

from __future__ import annotations


class StorageProblem(Exception):
    """Raised with a message and a remedy, both for people."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message, self.remedy = message, remedy

    @property
    def public(self) -> str:
        """Return what whoever uses the site reads."""
        return str(self)


class Unreachable(StorageProblem):
    """Raised when the storage did not answer for as long as was waited. Trying again later may help."""

    def __init__(self, address: str, error: BaseException) -> None:
        name = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        super().__init__(
            f"The storage {address} does not answer ({name}).",
            "Check that it is up, that this host reaches it, and its credentials; what waits for it goes on by itself.",
        )

    @property
    def public(self) -> str:
        """Return what happened without addresses: those are in the log."""
        return "The file storage does not answer, so the server stopped waiting. Tell the operator if this lasts."


class NotStored(StorageProblem):
    """Raised when the storage has no artefact of that name."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(
            f"The storage {address} has no {name}.",
            "Push it from the host that has it: manage.py store_artefacts there.",
        )


class Damaged(StorageProblem):
    """Raised when what the storage holds is not what was put there: truncated, changed or gone."""

    def __init__(self, name: str, file: str, what: str) -> None:
        super().__init__(
            f"{name} in the storage is damaged: {file} {what}. It is not used.",
            "Push it again from a host that has it (manage.py store_artefacts --again), or restore the storage's copy.",
        )


class Unstable(StorageProblem):
    """Raised when files changed under our hands while they were put, several times in a row."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(f"{name} changed while it was stored ({file}).", "It is tried again; nothing was lost.")
