"""Lapse: HOW people reach it. The composition root, the processes, the command line, the pages."""
