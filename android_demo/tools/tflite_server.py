"""Runs a TFLite model for the Java code of a desktop.

`python tflite_server.py MODEL` writes the sizes of the model's input and output in bytes, two
big-endian 32-bit numbers, and then for each input that it reads from standard input the output.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from i2uv_edge.runners import open_interpreter

__all__ = ["serve"]


def serve(model: Path) -> None:
    """Answer until the input ends."""
    interpreter = open_interpreter(model.read_bytes())
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    sizes = [
        int(np.prod(item["shape"])) * np.dtype(item["dtype"]).itemsize for item in (takes, gives)
    ]
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(np.array(sizes, ">i4").tobytes())
    sink.flush()
    while len(content := source.read(sizes[0])) == sizes[0]:
        array = np.frombuffer(content, takes["dtype"]).reshape(takes["shape"])
        interpreter.set_tensor(takes["index"], array)
        interpreter.invoke()
        sink.write(np.ascontiguousarray(interpreter.get_tensor(gives["index"])).tobytes())
        sink.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
