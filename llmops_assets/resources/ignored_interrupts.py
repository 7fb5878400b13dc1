"""Interrupts that Python swallowed: a request to stop that came while a finalizer ran is delivered again."""

import os
import signal
import sys
import threading

from dagster._core.errors import DagsterExecutionInterruptedError

_AGAIN_SECONDS = 0.1


def redeliver_ignored_interrupts() -> None:
    """From now on, an interrupt that was raised inside a weak-reference callback or a `__del__` is sent once more.

    Python prints such exceptions as ignored and goes on, so a run that is asked to stop at that moment would train to
    its end. SQLAlchemy's pools have callbacks of that kind, and every event that Dagster records touches them.
    """
    report = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt | DagsterExecutionInterruptedError):
            report(unraisable)
            return
        # Not from here: the handler would raise inside this hook, and be ignored again.
        again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
