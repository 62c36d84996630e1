"""How often a worker's process looks for cycles of garbage."""

import gc


def collect_less() -> None:
    """A chunk makes ten thousands of objects that die with it and form no cycles: looking among them for
    cycles as often as Python does by itself costs a twentieth of the worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
