"""Runs one TFLite file inside the emulated processor, for `arm64` on the outside.

Started there by path with a Python of its own and nothing of this package but this file.

Standard output carries one line of JSON once the file is open, then the answers; standard input the
feeds: for each the raw bytes of the input tensor, answered by the raw bytes of the output tensor.
Around each inference a line goes to standard error, where the emulator writes what it runs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

MARK = b"=== inference\n"


def main(site: str, model: str) -> None:
    """Answer until standard input ends; `site` is the folder of the packages."""
    sys.path.insert(0, site)
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    feed, answer = sys.stdin.buffer, sys.stdout.buffer
    opened = {
        "inputs": [_fields(detail) for detail in inputs],
        "outputs": [_fields(detail) for detail in outputs],
        "code": _code_of_litert(),
    }
    answer.write(json.dumps(opened).encode() + b"\n")
    answer.flush()
    given = inputs[0]
    size = int(np.prod(given["shape"])) * np.dtype(given["dtype"]).itemsize
    while content := feed.read(size):
        tensor = np.frombuffer(content, given["dtype"]).reshape(given["shape"])
        interpreter.set_tensor(given["index"], tensor)
        os.write(2, MARK)
        interpreter.invoke()
        os.write(2, MARK)
        answer.write(interpreter.get_tensor(outputs[0]["index"]).tobytes())
        answer.flush()


def _fields(detail: dict[str, Any]) -> dict[str, Any]:
    quantization = detail["quantization_parameters"]
    return {
        "name": detail["name"],
        "index": int(detail["index"]),
        "shape": [int(size) for size in detail["shape"]],
        "dtype": detail["dtype"].__name__,
        "scales": [float(scale) for scale in quantization["scales"]],
        "zero_points": [int(point) for point in quantization["zero_points"]],
    }


def _code_of_litert() -> list[list[int]]:
    """Where the runtime's machine code lies: first address and the one behind the last."""
    found = []
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as maps:
        for line in maps:
            addresses, rights, *rest = line.split()
            if "x" in rights and "/ai_edge_litert/" in rest[-1]:
                first, _, behind = addresses.partition("-")
                found.append([int(first, 16), int(behind, 16)])
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
