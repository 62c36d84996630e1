"""Benchmarks: figures as ratios within one run, on whatever machine they run on; never asserted in a test."""
