"""How a worker's process gives memory back."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""`M_...` of glibc's malloc.h."""
MAPPED_BYTES = 256 << 10
"""What is larger is mapped by itself, and gone from the process when it is freed."""
KEPT_BYTES = 4 << 20
"""How much that is free at the end of the heap is kept for the next."""
ARENAS = 2
"""Heaps of all threads together: one has the loop and the stages, another one reads from Kafka."""


def give_back() -> bool:
    """Let the C library return what is freed; false where it is not glibc, which alone is asked for this.

    By itself glibc learns from the first large block that is freed to keep blocks of that size, and a fetch
    from Kafka is megabytes: a tenth of a worker's memory was holes. Call it before threads begin.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is None:
        return False
    wanted = {_MMAP_THRESHOLD: MAPPED_BYTES, _TRIM_THRESHOLD: KEPT_BYTES, _ARENA_MAX: ARENAS}
    taken = [tune(option, value) == 1 for option, value in wanted.items()]
    return all(taken)
