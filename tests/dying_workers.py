"""Functions for worker processes, which import them by their name."""

import os
import time
from pathlib import Path


def square(number: int) -> int:
    return number * number


def die_on_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number * number


def leave_pid(path: Path) -> None:
    path.with_name(f'{path.name}-{os.getpid()}').touch()
    time.sleep(60)
