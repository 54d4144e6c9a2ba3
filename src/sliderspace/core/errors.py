"""What can go wrong in ways a user can mend. Each message says what happened and what to do, in one or two lines."""


class SliderSpaceError(Exception):
    """A failure with a plain explanation; the command line prints it without a traceback and exits with 1."""


class Held(SliderSpaceError):
    """Another process writes to the folder: what it does need not be done here."""


class DiskFull(SliderSpaceError):
    """No room to write: whatever else goes to that disk would fail too."""


class BadInput(SliderSpaceError):
    """What the user asked for or handed in cannot be used; the command line exits with 2."""


class DamagedFile(BadInput):
    """A file that is truncated, foreign, or not what its name says."""


class TrainingFailed(SliderSpaceError):
    """A loss or gradient that is not a finite number."""
