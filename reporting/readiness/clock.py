"""Whether somebody keeps this machine's clock right: the days of reports and the times of signatures hang on it."""

import ctypes
import os

from reporting.readiness.measure import Measure, Subject, ok, warning

MAX_ERROR_MICROSECONDS = 16_000_000
"""What the kernel says when nobody has set the clock for long; systemd draws the same line."""

_REMEDY = "run a time service, such as chronyd: systemctl enable --now chronyd"


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), as far as it is read, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def look_at_clock() -> Measure:
    """What the kernel knows of the clock. Nobody else's clock is asked, so a wrong one that is kept is not seen."""
    try:
        error = _possible_error()
    except (OSError, AttributeError) as trouble:
        return warning(Subject.CLOCK, f"the kernel can't be asked about the clock: {trouble}", _REMEDY)
    if error >= MAX_ERROR_MICROSECONDS:
        return warning(Subject.CLOCK, "the kernel says that nobody keeps the clock right", _REMEDY)
    return ok(Subject.CLOCK, f"kept right to {error / 1_000_000:.3f} s, says the kernel")


def _possible_error() -> int:
    """Microseconds that the clock may be wrong by."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = _Timex()  # modes 0: read only
    if libc.adjtimex(ctypes.byref(found)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(found.maxerror)
