"""Runs ONNX files on QNN's emulated HTP, in a process of its own, for `qnn_emulator` outside.

Started as a module with a JSON list of parts: the ONNX "file", and its "inputs" and "outputs" as
the manifest of a bundle has them. Standard output carries a line of JSON once all are open, then
the answers; standard input the feeds: a part's number in four bytes, then its inputs one after the
other as raw bytes, answered by its outputs in the same way.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["main"]

_SOC = "21"  # the number of the 865 in QNN's table; the architecture that is emulated is V68


def main(text: str) -> None:
    """Answer until standard input ends."""
    # QNN's libraries write to standard output, which is the answers' alone.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    parts = json.loads(text)
    try:
        sessions = [_open(part["file"]) for part in parts]
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        _say(answers, json.dumps({"error": str(error)}).encode() + b"\n")
        return
    _say(answers, b"{}\n")
    feeds = sys.stdin.buffer
    while number := feeds.read(4):
        part = parts[int.from_bytes(number, "little")]
        session = sessions[int.from_bytes(number, "little")]
        taken = {port["name"]: _array(feeds, port["shape"]) for port in part["inputs"]}
        made = session.run([port["name"] for port in part["outputs"]], taken)
        _say(answers, b"".join(array.tobytes() for array in made))


def _open(file: str) -> Any:
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.set_default_logger_severity(4)
    if not any(device.ep_name == "QNN" for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library("QNN", onnxruntime_qnn.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == "QNN"]
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    library = Path(onnxruntime_qnn.LIB_DIR_FULL_PATH) / "libQnnHtp.so"
    settings.add_provider_for_devices(
        devices[:1],
        {
            "backend_path": str(library),
            "soc_model": _SOC,
            "offload_graph_io_quantization": "0",
        },
    )
    return onnxruntime.InferenceSession(Path(file).read_bytes(), settings)


def _array(feeds: BinaryIO, shape: list[int]) -> Any:
    import numpy as np

    return np.frombuffer(feeds.read(math.prod(shape)), np.uint8).reshape(shape)


def _say(answers: BinaryIO, content: bytes) -> None:
    answers.write(content)
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
