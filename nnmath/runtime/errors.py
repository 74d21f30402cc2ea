r"""What ends a command: :mod:`nnmath.runtime.cli` turns each of these into one line and an exit code."""


class UsageError(Exception):
    r"""The options or the input files are invalid: exit code 2."""


class RunError(Exception):
    r"""A valid request failed or was interrupted: exit code 1."""
