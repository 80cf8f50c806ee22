"""What takes long is computed apart: in a process of its own, while the loop goes on answering everybody.

A thread would not do. It shares the interpreter's lock with the loop, which waits 5 ms for it at each of its wakes, and
as long as a C call lasts that does not let go: callers were seen to wait 75 ms for one schema, and 0.5 s under load.

There is one process for each call: started for it, in 0.15 s, and gone with it. So it costs nothing while nobody asks,
there is nothing to close, and whatever the call did to it, be it a crash, is over. Whoever asks often and for little
computes by itself.

Both are held together by one pipe, the process's standard input. First comes the call; after that nothing is ever
written. It closes when the caller lets go, or dies, be it by `kill -9`, and then the process ends at once. Call and
answer are pickled: both come from this very program, and values arrive as they were, also those that JSON cannot say.
"""

import asyncio
import os
import pickle
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, TypeVarTuple

from dropoff.errors import BrokerUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LONGEST_S: Final = 10.0  # what is computed so takes half a second; the rest is for a machine that is busy
ENDING_S: Final = 2.0  # for a killed process to be gone; the next call waits no longer, whatever holds this one
NICE: Final = 10  # callers come first


class NotComputedError(Exception):
    """It took too long, or ended without an answer; how, in words that go on after "could not be computed: "."""


async def apart(function: Callable[[*Ts], T], *args: *Ts, longest_s: float = LONGEST_S) -> T:
    """`function(*args)`, for a function that stands in a module by its name, and has no effects.

    Raises `NotComputedError`, also where the function raised (it is told on standard error); `BrokerUnavailable` where
    the machine has no process to give. Cancelled, it ends the process.
    """
    process = await _start()
    try:
        async with asyncio.timeout(longest_s):
            answer = await _answer(process, pickle.dumps((function, args)))
    except TimeoutError:
        raise NotComputedError(f"it takes longer than {longest_s:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(ENDING_S):
                await process.communicate()
    return answer


async def _start() -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the folder we were started in must not hide a module …
            "-m",
            "dropoff.apart",
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for us
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # … and what we have found is found again
        )
    except OSError as error:
        why = f"The broker cannot start a process ({error.strerror})."
        raise BrokerUnavailable(stored="nothing", why=why) from error


async def _answer(process: Process, call: bytes) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(call)
    with suppress(ConnectionError):  # it ended before it had read all; the next lines see how
        await process.stdin.drain()
    answer = await process.stdout.read()
    if ended := await process.wait():
        raise NotComputedError(f"the process that did it ended with {ended}")
    return pickle.loads(answer)  # noqa: S301  # written by `main`, below


# ---- the process ------------------------------------------------------------------------------------------------


def main() -> None:
    try:
        function, args = pickle.load(sys.stdin.buffer)  # noqa: S301  # written by `apart`, above
    except (EOFError, pickle.UnpicklingError):
        return  # the caller is gone already
    threading.Thread(target=_leave_with_caller, name="dropoff caller", daemon=True).start()
    if sys.platform != "win32":
        os.nice(NICE)
    sys.stdout.buffer.write(pickle.dumps(function(*args)))


def _leave_with_caller() -> None:
    """Wait until the caller lets go or is gone."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(1)


if __name__ == "__main__":
    main()
