"""Runs probes in a process of its own, for `examine` on the outside: what crashes takes only it.

Started as a module with a folder and the names of probes; each is answered by a line of JSON that
begins with `ANSWER`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

__all__ = ["ANSWER", "main"]

ANSWER = "i2uv-edge doctor: "


def main(folder: str, *names: str) -> None:
    """Run the probes one after the other."""
    # Libraries write to standard output too, some of them past Python.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from i2uv_edge.diagnosis.probes import all_probes
    from i2uv_edge.errors import I2uvError, MissingDependencyError

    probes = all_probes()
    for name in names:
        answer = {"name": name, "state": "works", "remedy": ""}
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer["detail"] = probes[name].run(Path(folder))
        except MissingDependencyError as error:
            answer |= {"state": "missing", "detail": error.what, "remedy": error.remedy}
        except I2uvError as error:
            detail = f"{error.what}; expected {error.expected}" if error.expected else error.what
            answer |= {"state": "broken", "detail": detail, "remedy": error.remedy}
        except Exception as error:  # whatever a library raises is what is wrong with it
            said = (str(error).strip().splitlines() or [""])[0]
            answer |= {"state": "broken", "detail": f"{type(error).__name__}: {said}"}
        answers.write(f"{ANSWER}{json.dumps(answer)}\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
