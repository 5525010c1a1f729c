"""A script for the tools of Qualcomm's QAIRT SDK: a bundle's integer parts on a phone's DSP.

The SDK may not be passed on, so it cannot be part of this package or of its tests: the script has
been run with stand-ins that record how they are called, never with the real tools, and says so.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.device.segments import SegmentChain

__all__ = ["FOLDER", "SCRIPT", "write_script", "write_tensors"]

FOLDER = "qnn"
SCRIPT = f"{FOLDER}/run.sh"

Fields = dict[str, Any]

_TEXT = r"""#!/bin/sh
# Runs the integer parts of this bundle on the DSP of a phone, by the tools of Qualcomm's QAIRT SDK,
# and says how far their answers are from what TFLite answered where the bundle was made.
#
# NEVER RUN YET with a real SDK or phone: it was tried with stand-ins that record their arguments,
# which follow Qualcomm's documentation. Look at what it says, not at its exit code alone.
#
#   QNN_SDK_ROOT=SDK sh qnn/run.sh [--convert] [--dry-run] [FOLDER]
#
# --convert   make the .dlc files from the .onnx files with the SDK's own converter, as is also done
#             where the bundle holds none. The ranges are those of the Q/DQ nodes in the .onnx: no
#             picture is looked at, nothing is calibrated again.
# --dry-run   print the commands, run none
# FOLDER      for what is made and what comes back  [default: BUNDLE-qnn]
#
# The DSP backend takes 8 bits only, and loads a library that a phone may refuse for its signature:
# an ordinary app then has to do without the DSP.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
convert= dry= out=$here-qnn
for word in "$@"; do
    case $word in
        --convert) convert=yes ;;
        --dry-run) dry=yes ;;
        -*) echo "unknown option $word; see the first lines of $0" >&2; exit 2 ;;
        *) out=$word ;;
    esac
done

missing() {
    printf '%s\nexpected: %s\nto do: %s\n' "$1" "$2" "$3" >&2
    exit 4
}

if [ -z "$dry" ]; then
    [ -n "${QNN_SDK_ROOT:-}" ] || missing 'QNN_SDK_ROOT is not set' \
        "the folder of Qualcomm's QAIRT SDK, with bin/ and lib/ in it" \
        'get the SDK from Qualcomm; sh qnn/run.sh --dry-run shows what would be run'
    [ -f "$QNN_SDK_ROOT/lib/hexagon-v66/unsigned/libQnnDspV66Skel.so" ] || missing \
        "there is no lib/hexagon-v66/unsigned/libQnnDspV66Skel.so in $QNN_SDK_ROOT" \
        'a QAIRT SDK that still holds the DSP backend for V66' 'take another version of the SDK'
    command -v adb >/dev/null || missing 'there is no adb' "Android's platform tools" \
        'install them, and allow debugging over USB on the phone'
    mkdir -p "$out"
fi
sdk=${QNN_SDK_ROOT:-'$QNN_SDK_ROOT'}
host=$sdk/bin/x86_64-linux-clang
phone=/data/local/tmp/i2uv-edge
vendors='/vendor/dsp/cdsp;/vendor/lib/rfsa/adsp;/system/lib/rfsa/adsp;/dsp'

run() {
    if [ -n "$dry" ]; then
        for word in "$@"; do printf "'%s' " "$word"; done
        echo
    else
        "$@"
    fi
}

# What runs a model, and the DSP's side of it.
libraries() {
    run adb shell "mkdir -p $phone"
    for file in bin/aarch64-android/qnn-net-run lib/aarch64-android/libQnnDsp.so \
        lib/aarch64-android/libQnnDspV66Stub.so lib/aarch64-android/libQnnModelDlc.so \
        lib/aarch64-android/libQnnSystem.so lib/hexagon-v66/unsigned/libQnnDspV66Skel.so; do
        run adb push "$sdk/$file" "$phone/"
    done
    run adb shell "chmod +x $phone/qnn-net-run"
}

# part NAME ONNX DLC INPUTS: one model, with inputs in the order in which it takes them.
part() {
    model=$here/$3
    if [ -n "$convert" ] || [ ! -f "$model" ]; then
        model=$out/$1.dlc
        run "$host/qairt-converter" --input_network "$here/$2" --output_path "$out/$1.encoded.dlc"
        run "$host/qairt-quantizer" --input_dlc "$out/$1.encoded.dlc" --output_dlc "$model" \
            --act_bitwidth 8 --weights_bitwidth 8 --bias_bitwidth 32 --enable_float_fallback
    fi
    run adb shell "rm -rf $phone/$1 && mkdir -p $phone/$1"
    run adb push "$model" "$phone/$1/model.dlc"
    run adb push "$here/qnn/$1/inputs.txt" "$phone/$1/"
    for input in $4; do run adb push "$here/qnn/$1/$input" "$phone/$1/"; done
    run adb shell "cd $phone/$1 && export LD_LIBRARY_PATH=$phone" \
        "ADSP_LIBRARY_PATH=\"$phone;$vendors\"" \
        "&& $phone/qnn-net-run --backend libQnnDsp.so --model libQnnModelDlc.so" \
        "--dlc_path model.dlc --input_list inputs.txt --output_dir output" \
        "--use_native_input_files --use_native_output_files --num_inferences 20" \
        "--profiling_level basic"
    [ -n "$dry" ] || { rm -rf "$out/$1" && mkdir -p "$out/$1"; }
    run adb pull "$phone/$1/output" "$out/$1/"
    [ -n "$dry" ] || compare "$1"
}

# Values that differ from TFLite's. One step of rounding here and there is no fault.
compare() {
    for wanted in "$here/qnn/$1"/expected.*.raw; do
        name=$(basename "$wanted" .raw)
        name=${name#expected.}
        found=
        for file in "$out/$1/output/Result_0"/*.raw; do
            plain=$(basename "$file" .raw | tr -c 'A-Za-z0-9\n' '_')
            case $plain in "$name" | "${name}_native") found=$file ;; esac
        done
        if [ -z "$found" ]; then
            echo "$1 $name: no such output came back"
        else
            size=$(wc -c <"$wanted")
            differ=$(cmp -l "$wanted" "$found" 2>/dev/null | wc -l)
            same=$([ "$(wc -c <"$found")" -eq "$size" ] && echo '' || echo ', and the size differs')
            echo "$1 $name:" $differ of $size "values differ$same"
        fi
    done
}

libraries
"""


def write_script(folder: Path, parts: Sequence[Fields]) -> None:
    """Write the script that runs parts of a bundle by the user's SDK. Same parts, same bytes.

    Parameters
    ----------
    parts
        As `write_tensors` gave them.
    """
    lines = []
    for fields in parts:
        words = (fields["name"], fields["onnx"], fields["dlc"], " ".join(fields["inputs"]))
        lines.append("part " + " ".join(shlex.quote(word) for word in words) + "\n")
    (folder / SCRIPT).write_text(_TEXT + "".join(lines), encoding="utf-8", newline="\n")


def write_tensors(
    folder: Path,
    segments: Sequence[Fields],
    models: Mapping[str, Fields],
    feed: NDArray[np.int8] | NDArray[np.float32],
) -> list[Fields]:
    """Write what goes into each part of a network and what TFLite makes of it.

    Parameters
    ----------
    folder
        The bundle.
    segments
        What the manifest says of the network's segments.
    models
        Of those for the DSP, by the segment's file, "onnx" and "dlc" and their ports.
    feed
        The network's input as its TFLite file stores it.

    Returns
    -------
    list
        For each part its "name", its "onnx" and "dlc" file, and the files of its "inputs".
    """
    chain = SegmentChain({str(fields["file"]): folder / fields["file"] for fields in segments})
    chain.set_tensor(chain.get_input_details()[0]["index"], feed)
    chain.invoke()
    parts = []
    for fields in segments:
        model = models.get(str(fields["file"]))
        if model is None:
            continue
        name = Path(fields["file"]).stem
        own = folder / FOLDER / name
        own.mkdir(parents=True)
        inputs = [f"input.{number}.raw" for number in range(len(fields["inputs"]))]
        for file, port in zip(inputs, fields["inputs"], strict=True):
            (own / file).write_bytes(_stored(chain.get_tensor(port["name"])))
        for port, stored in zip(fields["outputs"], model["outputs"], strict=True):
            # What QNN makes of a name in a file's name is not known for sure; letters stay.
            plain = re.sub(r"[^A-Za-z0-9]", "_", stored["name"])
            (own / f"expected.{plain}.raw").write_bytes(_stored(chain.get_tensor(port["name"])))
        (own / "inputs.txt").write_text(" ".join(inputs) + "\n", newline="\n")
        files = {key: model[key] for key in ("onnx", "dlc")}
        parts.append({"name": name, "inputs": inputs, **files})
    return parts


def _stored(values: NDArray[Any]) -> bytes:
    """int8 in NHWC as the DLC stores it: uint8 in NCHW."""
    levels = (values.astype(np.int16) + 128).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 3, 1, 2)).tobytes()
