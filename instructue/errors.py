"""Errors a person is meant to read: what is wrong, where, and the mend."""


class InstructUEError(Exception):
    """Base of all errors raised on purpose; the command line prints them without a traceback."""


class ConfigError(InstructUEError):
    """params.yaml or a data set description says something impossible."""


class DataError(InstructUEError):
    """A data file is missing, damaged or not as described."""


class ValidationFailed(DataError):
    """A blocking expectation failed; nothing was published. outcomes and report say all that was found."""

    outcomes: list
    report: object


class LeakageError(InstructUEError):
    """Something from at or after a snapshot's time reached its history."""
