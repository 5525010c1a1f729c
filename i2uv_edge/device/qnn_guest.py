"""Compiles an ONNX file with QNN, in a process of its own, for `qnn` on the outside.

QNN's libraries write to the terminal and keep what they load; neither should happen to the process
that exports. They also number what they compile, and so a second file would not get the bytes that
it gets alone.

Started as a module with the ONNX file and an empty folder for its DLC. A line of JSON on standard
output says how it went; ONNX Runtime says on standard error which nodes QNN refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

# The number of the 865 in QNN's table. For it QNN refuses whatever is not 8 bits.
_SOC = "21"


def main(model: str, folder: str) -> None:
    """Write the DLC of a model into a folder."""
    import onnxruntime
    import onnxruntime_qnn

    onnxruntime.set_default_logger_severity(3)
    onnxruntime.register_execution_provider_library("QNN", onnxruntime_qnn.get_library_path())
    libraries = Path(onnxruntime_qnn.LIB_DIR_FULL_PATH)
    content = Path(model).read_bytes()
    try:
        # Compiled for the emulated HTP first, because only that refuses what is float; what it
        # makes is of no use for a V66 and dropped. The DLC is written by the backend that makes
        # nothing else.
        _open(content, {"backend_path": str(libraries / "libQnnHtp.so"), "soc_model": _SOC})
        options = {"dump_qnn_ir_dlc": "1", "dump_qnn_ir_dlc_dir": folder}
        session = _open(content, {"backend_path": str(libraries / "libQnnIr.so"), **options})
        answer: dict[str, Any] = {"elsewhere": _elsewhere(session)}
    except Exception as error:  # ONNX Runtime has a class for each of its codes
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


def _open(content: bytes, options: dict[str, str]) -> Any:
    import onnxruntime

    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == "QNN"]
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    settings.add_provider_for_devices(devices[:1], options)
    return onnxruntime.InferenceSession(content, settings)


def _elsewhere(session: Any) -> list[str]:
    """Names of the nodes that are not in QNN, though none should be."""
    return [
        node.name
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != "QNN"
        for node in part.get_nodes()
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
