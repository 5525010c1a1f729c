"""How much is done for a model: networks that take long get fewer of the bundled pictures.

The bundled sets are sized for networks that a phone runs. The paper's pair is fifty times the
work of `edge`: all 128 and 200 pictures would take ten minutes of a desktop and change its numbers
by less than they vary from picture to picture. A user's own pictures are all used.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Effort"]

CALIBRATION_GMAC = 700.0  # of all pictures together; each is run some three times
COMPARISON_GMAC = 700.0  # each is run by all that is compared
EMULATED_GMAC = 10.0  # of pictures that an emulated processor runs, at a tenth of the pace
LEAST_EMULATED = 4
STILL_GMAC = 300.0  # the noisy copies of a still picture, of which there are STILL_COPIES
STILL_COPIES = 64
INSIDE_GMAC = 20.0  # of the pictures on which tensors are compared, in float64
INSIDE = 4  # of these pictures, of which each has a million values
ANALYSED = 16  # enough to rank the blocks of a network
ANALYSIS_GMAC = 64.0
LEAST = 32  # pictures, however heavy the networks are


@dataclass(frozen=True)
class Effort:
    """What is spent on a model whose networks do `gmac` billion multiply-adds for one picture."""

    gmac: float

    def calibration(self, available: int) -> int:
        """How many pictures of a bundled set ranges are taken from."""
        return self._affordable(available, CALIBRATION_GMAC, LEAST)

    def comparison(self, available: int) -> int:
        """How many pictures of a bundled set runners are compared on."""
        return self._affordable(available, COMPARISON_GMAC, LEAST)

    def emulated(self, available: int) -> int:
        """On how many pictures a processor that is emulated is compared."""
        return self._affordable(available, EMULATED_GMAC, LEAST_EMULATED)

    @property
    def analysis(self) -> int:
        """On how many pictures each of some fifty forms of a network is measured."""
        return self._affordable(ANALYSED, ANALYSIS_GMAC, ANALYSED // 4)

    def stills(self, wanted: int) -> int:
        """On how many pictures flicker is measured."""
        return self._affordable(wanted, STILL_GMAC / STILL_COPIES, 1)

    def inside(self, available: int) -> int:
        """On how many pictures tensors are compared and files computed literally."""
        return self._affordable(min(available, INSIDE), INSIDE_GMAC, 1)

    def note(self, calibrated: tuple[int, int] | None, compared: tuple[int, int] | None) -> str:
        """Say what was cut, "" if nothing was; each pair is (used, available)."""
        cut = [
            f"{what} the first {pair[0]} of the {pair[1]} bundled pictures"
            for what, pair in (("calibrated on", calibrated), ("compared on", compared))
            if pair is not None and pair[0] < pair[1]
        ]
        return f"{self.gmac:.1f} GMAC a picture: {', '.join(cut)}" if cut else ""

    def _affordable(self, available: int, budget: float, least: int) -> int:
        if available * self.gmac <= budget:
            return available
        return min(available, max(least, int(budget / self.gmac)))
