"""WHAT can be forgotten: keys, subjects, buckets, holds, and the one store that must really forget."""
