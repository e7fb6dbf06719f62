"""Fork recipes from this process, which has loaded their libraries: `python -m training.runs.launchers.fork_server
SOCKET`.

To import torch and transformers costs a recipe 3 to 9 seconds of a processor; a fork of a process that has done so
starts in a twentieth of a second, and shares the memory of the libraries. The child is otherwise what a new process
would be: its environment, folder, limits, session and files are those of the request. Whatever a library reads when
it loads (numbers of threads, caches' folders) is what this process was started with, so a request whose environment
differs in more than what is read later is refused, and its recipe is started anew.

One thread runs here, nothing is computed, and no GPU is touched before the fork: what does not survive one is not
there. It ends when its parent does, by the pipe of `training.core.parent_watchdog`; what it forked ends by the pipe
that each recipe watches.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from common.proxy_variables import PROXIES
from training.core import parent_watchdog
from training.runs.launchers.forked_process import MOST_BYTES, Request
from training.runs.launchers.limits import set_limit

MOST_DESCRIPTORS = 64
_PATIENCE_SECONDS = 10.0  # for the request of whoever has connected
_RECIPES = "training.recipes"  # says how OpenMP's threads wait, before torch loads
_LIBRARIES = (
    *("numpy", "torch", "torch.distributed.tensor", "torch.utils.data", "torch._dynamo", "scipy.optimize"),
    *("safetensors.torch", "tokenizers", "peft", "accelerate", "datasets", "fastapi", "uvicorn", "httpx", "requests"),
    *("transformers.masking_utils", "transformers.generation.utils", "transformers.models.llama.modeling_llama"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
)
# Read when they are used and not when a library loads, as HF_HUB_DISABLE_IMPLICIT_TOKEN is.
_READ_LATER = frozenset({"HF_TOKEN", "TORCHINDUCTOR_CACHE_DIR", "PATH"})
_READ_LATER_BEGINNINGS = ("ASSAY_", "AWS_")


class ForkServer:
    """Fork a child for each request of a Unix socket, and say how it ended by the same connection. `environment` is
    what the libraries were loaded in; at the end of `parent`, a pipe, it ends, too."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str], parent: int | None = None) -> None:
        self.environment = environment
        self._listener, self._parent = listener, parent
        self._connections: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_up, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        for number in (listener.fileno(), self._wake_up.fileno(), *([parent] if parent is not None else [])):
            self._selector.register(number, selectors.EVENT_READ)

    def serve(self) -> Request:
        """Answer requests for ever. Returns in each child alone, with what it becomes."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._wake_up.fileno():
                    self._wake_up.recv(4096)
                    self._report_ends()
                elif key.fd == self._parent:
                    sys.exit()  # nothing is ever written there: it was closed
                elif (request := self._answer()) is not None:
                    return request

    def _answer(self) -> Request | None:
        """Answer one request; in the child that was forked for it, return it."""
        connection, _ = self._listener.accept()
        connection.settimeout(_PATIENCE_SECONDS)
        descriptors: list[int] = []
        try:
            message, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, MOST_DESCRIPTORS)
            request = Request(**json.loads(message))
            if problem := self.refusal(request):
                _refuse(connection, problem)
                return None
            return request if self._fork(request, connection, descriptors) == 0 else None
        except (OSError, ValueError, TypeError) as error:
            _refuse(connection, f"The request cannot be carried out: {error!r}.")
            return None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def refusal(self, request: Request) -> str:
        """Return why a fork would not be what a new process is, empty when it would be."""
        names = {*request.environment, *self.environment}
        different = sorted(
            name
            for name in names
            if request.environment.get(name) != self.environment.get(name) and not is_read_later(name)
        )
        return f"The environment differs in {', '.join(different)}." if different else ""

    def _fork(self, request: Request, connection: socket.socket, descriptors: list[int]) -> int:
        """Return the child's number, 0 in the child itself, which `descriptors` then belong to."""
        began, beginning = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                self._let_go()
                connection.close()
                become(request, descriptors)
            except BaseException:  # never a second server
                traceback.print_exc()
                os._exit(1)
            descriptors.clear()
            return 0
        os.close(beginning)
        os.read(began, 1)  # until it leads a session of its own, or is gone
        os.close(began)
        self._connections[pid] = connection
        with contextlib.suppress(OSError):  # whoever asked is gone, and the child learns it by its pipe
            _say(connection, {"pid": pid})
        return pid

    def _let_go(self) -> None:
        """Close in the child what is the server's: an object that closed its number later would close another file."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._listener, self._wake_up, self._woken, *self._connections.values()):
            end.close()

    def _report_ends(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if connection := self._connections.pop(pid, None):
                with connection, contextlib.suppress(OSError):
                    _say(connection, {"status": os.waitstatus_to_exitcode(status)})


def is_read_later(name: str) -> bool:
    """Return whether libraries read that variable of the environment when they use it, not when they load."""
    return name in _READ_LATER or name in PROXIES or name.startswith(_READ_LATER_BEGINNINGS)


def become(request: Request, descriptors: list[int]) -> None:
    """Make this process, just forked, what the request says. It leads a session before it closes the server's files."""
    os.setsid()
    _name_process(" ".join([sys.executable, "-m", *request.module_and_arguments]))
    _keep_alone(dict(zip(request.numbers, descriptors, strict=True)))
    os.chdir(request.folder)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    for name, most in request.limits.items():
        set_limit(name, most)
    sys.argv = list(request.module_and_arguments)
    sys.path[0] = request.folder
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else each fork would draw the same


def _keep_alone(wanted: dict[int, int]) -> None:
    """Give each wanted descriptor its number, read nothing as input, and close all others. This closes the pipe by
    which the server waits."""
    above = max([2, *wanted]) + 1
    copies = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for number, descriptor in wanted.items()}
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for number in {int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - {0, 1, 2, *copies.values()}:
        with contextlib.suppress(OSError):  # the list's own
            os.close(number)
    for number, copy in copies.items():
        os.dup2(copy, number, inheritable=True)
        os.close(copy)


def _name_process(title: str) -> None:
    """Say in lists of processes what this one is."""
    with contextlib.suppress(ImportError):
        import setproctitle

        setproctitle.setproctitle(title)


def _refuse(connection: socket.socket, problem: str) -> None:
    """Say why the recipe is to be started anew, here too: whoever asked starts it without a word."""
    print(f"A recipe is not forked. {problem}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):  # whoever asked is gone
        _say(connection, {"refused": problem})


def _say(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(answer).encode() + b"\n")


def preload() -> None:
    """Import what recipes import; a library that is not installed is left out."""
    gc.disable()
    for name in (_RECIPES, *_LIBRARIES):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):  # a thousand patterns, which the first model to be loaded has compiled
        importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("llama")
    del sys.modules[_RECIPES]  # each recipe says it again, in an environment of its own
    gc.freeze()
    gc.enable()


def listen(path: Path) -> socket.socket:
    """Return a socket at which nobody but this user may ask."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    listener.listen(64)
    return listener


def main(arguments: list[str]) -> Request:
    """Load the libraries and serve. Returns in each child alone, with what it becomes."""
    environment = dict(os.environ)  # before libraries add to it
    parent = environment.get(parent_watchdog.ENVIRONMENT_NAME)
    preload()
    return ForkServer(listen(Path(arguments[0])), environment, int(parent) if parent else None).serve()


def run_to_its_end(module: str) -> NoReturn:
    """Run a module as `python -m` does, and end as Python ends, but without taking apart, object by object, what was
    loaded: that takes half a second."""
    code: int | str | None = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # tells pools that it is the end, and waits for all threads
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    run_to_its_end(main(sys.argv[1:]).module_and_arguments[0])
