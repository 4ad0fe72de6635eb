"""What is the case on a device around a measurement, read over its link.

Nothing here can fail a measurement: what a machine does not say is None.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from binas.core.errors import DeviceError
from binas.devices import probe
from binas.devices.link import Link
from binas.runtime.measure import Facts

SCRIPT = "observe"  # the name of the probing script on the device
SCRIPT_S = 60.0
COOL_STEP_S, COOL_STEP_C = 5.0, 0.5  # cool enough where it loses less than this in that time


class Observer:
    """Reads a device's sensors before and after a measurement.

    Args:
        link: The device; only a real one is asked.
    """

    def __init__(self, link: Link) -> None:
        """Upload the script."""
        self._link = link
        self._usable = link.trust == "real"
        if self._usable:
            with tempfile.TemporaryDirectory(prefix="binas.") as folder:
                local = Path(folder) / SCRIPT
                local.write_text(probe.SCRIPT)
                link.put(local, SCRIPT, executable=True)

    def look(self) -> probe.Machine:
        """What the machine says now; an empty Machine where it says nothing."""
        if not self._usable:
            return probe.Machine()
        try:
            done = self._link.run([SCRIPT], SCRIPT_S)
        except DeviceError:
            # A link that broke shows in the measurement itself, with a better message.
            return probe.Machine()
        return probe.parse(done.stdout)


def cool_down(
    look: Callable[[], probe.Machine], limit_s: float, wait: Callable[[float], None] = time.sleep
) -> float:
    """Wait until the device no longer gets colder.

    Args:
        look: Asks the device.
        limit_s: Longest wait; all of it where the device has no thermometer.
        wait: Lets time pass.

    Returns:
        Seconds waited.
    """
    waited, before = 0.0, look().temperature_c
    while waited < limit_s:
        pause = min(COOL_STEP_S, limit_s - waited)
        wait(pause)
        waited += pause
        now = look().temperature_c
        if before is not None and now is not None and before - now < COOL_STEP_C:
            break
        before = now
    return waited


def facts_of(
    before: probe.Machine, after: probe.Machine, *, threads: int, core: int | None
) -> Facts:
    """The facts of a measurement between two looks.

    Firmware flags of the "since boot" kind count only where they were not there before.
    """
    then, now = before.throttled or (), after.throttled or ()
    fresh = tuple(words for words in now if words.endswith("now") or words not in then)
    governors = sorted({*before.governors, *after.governors})
    return Facts(
        threads=threads,
        core=core,
        cores=before.cores or None,
        governor=",".join(governors) or None,
        temperature_before_c=before.temperature_c,
        temperature_after_c=after.temperature_c,
        load=before.load,
        throttled=fresh,
    )
