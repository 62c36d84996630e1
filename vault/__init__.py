"""WHAT can be forgotten: keys, subjects, buckets, holds, and the one store that must really forget.

`open_vault` builds a vault; everything else is imported from the module that holds the concept.
"""

from vault.factory import memory_vault, open_vault

__all__ = ["memory_vault", "open_vault"]
