"""How often a worker's process looks for cycles of garbage."""

import gc


def collect_less() -> None:
    """Let Python look for cycles among objects seldom: a chunk makes ten thousands that form none.

    As often as Python looks by itself it costs a twentieth of the worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
