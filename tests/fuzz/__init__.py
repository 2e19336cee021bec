"""Fuzzing: every reader of the project is fed damaged, lying and random files, and must read or refuse each.

See `python -m tests.fuzz --help`.
"""
