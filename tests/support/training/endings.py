"""End in one of the ways in which a Python program ends."""

import atexit
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor


def speak_late() -> None:
    time.sleep(0.2)
    print("of the thread")


if __name__ == "__main__":
    ending = sys.argv[1]
    if ending == "text":
        sys.exit("No such thing.")
    if ending == "error":
        raise ValueError("on purpose")
    if ending == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    if ending == "thread":
        threading.Thread(target=speak_late).start()
    if ending == "pool":
        sys.left_open = ThreadPoolExecutor(1)  # type: ignore[attr-defined]  # as libraries keep theirs
        sys.left_open.submit(speak_late)  # type: ignore[attr-defined]
    atexit.register(print, "at the exit")
