"""Where a long-running command's log goes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = ("exchange_clients", "exchange_simulator", "strategies", "database", "funding_rate_service", "perpkit")


@contextmanager
def logged_to(path: Path, *others: str) -> Iterator[None]:
    """Our loggers, and those named, write to a file alone: the terminal is for what somebody should read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    loggers = [logging.getLogger(name) for name in (*OURS, *others)]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
        handler.close()
