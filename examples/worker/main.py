"""A worker with no dependencies: ticks until it is told to stop, or as often as TICKS says."""

import os
import signal
import sys
import threading

stopped = threading.Event()


def stop(number: int, _frame: object) -> None:
    """Lets the tick at hand finish."""
    print(f"worker: {signal.Signals(number).name}, stopping", flush=True)
    stopped.set()


def main() -> int:
    """Ticks; ends with 0 after the last tick or a signal."""
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    ticks = int(os.environ.get("TICKS", "0"))
    seconds = float(os.environ.get("SECONDS", "1"))
    tick = 0
    while not stopped.is_set() and (ticks == 0 or tick < ticks):
        tick += 1
        print(f"worker: tick {tick}", flush=True)
        stopped.wait(seconds)
    print("worker: done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
