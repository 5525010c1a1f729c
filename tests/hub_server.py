"""A server on 127.0.0.1 that Qualcomm AI Hub's own client takes for Qualcomm AI Hub.

It speaks the client's protocol: devices, models, data sets, compile, quantize and inference jobs.
Networks are really run, by LiteRT on this machine; times and memory are invented. `Fault` makes it
misbehave: refuse, stay silent, or break off in the middle of an answer.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import http.server
import io
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlparse

import h5py
import numpy as np
from qai_hub import public_api_pb2 as pb
from qai_hub.util.dataset_entries_converters import dataset_entries_to_h5, h5_to_dataset_entries

from i2uv_edge.runners import open_interpreter

PROTOBUF = "application/x-protobuf"
TOKEN = "f00dfeedf00dfeedf00dfeedf00dfeed"
DONE = (
    "JOB_STATE_CREATED",
    "JOB_STATE_PROVISIONING_DEVICE",
    "JOB_STATE_MEASURING_PERFORMANCE",
    "JOB_STATE_DONE",
)
TIMES_US = (11_900, 11_875, 12_400)
GALAXY = ("Samsung Galaxy Tab S7", "11", "qualcomm-snapdragon-865+", "v66")
DEVICES = (
    ("Samsung Galaxy S23", "13", "qualcomm-snapdragon-8gen2", "v73"),
    ("Samsung Galaxy S21", "11", "qualcomm-snapdragon-888", "v68"),
    GALAXY,
)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method and path.

    `how` is an HTTP status, "silent" (no answer), "cut" (half of what was announced, then the
    connection is closed) or "half" (half of the body, announced as the whole).
    """

    method: str
    path: str
    how: int | str
    times: int = 1_000_000


@dataclass
class State:
    """What the server holds; tests change and read it."""

    devices: list[tuple[str, str, str, str]] = field(default_factory=lambda: list(DEVICES))
    faults: list[Fault] = field(default_factory=list)
    states: tuple[str, ...] = DONE
    failure: str = "the device ran out of memory"
    compiled: Callable[[bytes], bytes] = lambda content: content
    outputs: Callable[[list[Any]], list[Any]] = lambda arrays: arrays
    log: list[tuple[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    models: dict[str, pb.Model] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, pb.Job] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def made(self, kind: str) -> list[Any]:
        """The jobs of a kind, in the order in which they were submitted."""
        found = (getattr(job, kind) for job in self.jobs.values() if job.HasField(kind))
        return list(found)


class HubServer(http.server.ThreadingHTTPServer):
    """Serves until `stop`; `state` may be changed at any time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = State()
        self.ids = itertools.count(1)
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of the tests."""

    def stop(self) -> None:
        """Close, as if the machine had gone."""
        self.state.stopped.set()
        self.shutdown()
        self.server_close()


@contextmanager
def serving() -> Iterator[HubServer]:
    """A server for the time of a test."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.stop()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *values: Any) -> None:
        """Nothing on stderr."""

    def handle_any(self) -> None:
        state = self.server.state
        address = urlparse(self.path)
        path, query = address.path.strip("/"), parse_qs(address.query)
        content = self._content()
        state.log.append((self.command, path))
        state.heads.append(str(self.headers))
        fault = self._fault(path)
        if fault is not None and fault.how == "silent":
            state.stopped.wait()
            self.close_connection = True
            return
        if fault is not None and isinstance(fault.how, int):
            self._send(b'{"detail": "so it goes"}', fault.how, "application/json")
            return
        broken = "" if fault is None else str(fault.how)
        if path.startswith("blob/"):
            self._blob(path.removeprefix("blob/"), content, broken)
        elif self.headers.get("Authorization") != f"token {TOKEN}":
            self._send(b'{"detail": "Invalid token."}', 401, "application/json")
        else:
            with self.server.lock:
                answer = self._api(path.removeprefix("api/v1/"), query, content)
            if answer is None:
                self._send(b'{"detail": "Not found."}', 404, "application/json")
            else:
                status = 201 if isinstance(answer, pb.CreateUpdateResponse) else 200
                self._send(answer.SerializeToString(), status, PROTOBUF, broken)

    def _fault(self, path: str) -> Fault | None:
        for fault in self.server.state.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().strip(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, body: bytes, status: int, kind: str, broken: str = "", etag: str = "") -> None:
        sent = body[: len(body) // 2] if broken else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body if broken == "cut" else sent)))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = broken == "cut"

    # Files.

    def _blob(self, key: str, content: bytes, broken: str) -> None:
        """The place of files, which wants no token: addresses are signed."""
        blobs = self.server.state.blobs
        if self.command == "GET":
            self._send(blobs[key], 200, "application/octet-stream", broken)
            return
        if self.command == "POST":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            form = email.message_from_bytes(head + content, policy=email.policy.HTTP)
            content = next(
                part.get_payload(decode=True)
                for part in form.iter_parts()
                if part.get_param("name", header="content-disposition") == "file"
            )
        blobs[key] = content
        self._send(b"", 200, "text/plain", etag=hashlib.md5(content).hexdigest())

    def _upload(self, key: str) -> str:
        return f"{self.server.url}/blob/{key}"

    # The protocol.

    def _api(self, path: str, query: dict[str, list[str]], content: bytes) -> Any:
        head, *rest = path.split("/")
        if path == "users/auth/user":
            return pb.User(email="someone@example.com")
        if path == "devices":
            return self._devices(query.get("name", [""])[0])
        if path == "job_summaries":
            return self._summaries()
        return {"models": self._model, "datasets": self._dataset, "jobs": self._job}[head](
            rest, content
        )

    def _new(self, letter: str) -> str:
        return f"{letter}{next(self.server.ids)}"

    def _devices(self, name: str) -> pb.DeviceList:
        found = pb.DeviceList()
        for own, os, chipset, hexagon in self.server.state.devices:
            if name in ("", own):
                kinds = [f"chipset:{chipset}", f"hexagon:{hexagon}"]
                kinds += ["framework:tflite", "framework:onnx", "os:android"]
                found.devices.add(name=own, os=os, attributes=kinds)
        return found

    def _model(self, rest: list[str], content: bytes) -> Any:
        models = self.server.state.models
        if not rest:
            model = pb.Model.FromString(content)
            model.model_id = self._new("m")
            model.creation_time.GetCurrentTime()
            models[model.model_id] = model
            return pb.CreateUpdateResponse(id=model.model_id)
        key, *what = rest
        if key not in models:
            return None
        if what == ["multipart_upload"] and self.command == "GET":
            answer = pb.FileUploadResponse()
            answer.multipart_url.urls.append(self._upload(key))
            answer.multipart_url.upload_id = "u"
            answer.multipart_url.max_part_size = 1 << 33
            return answer
        if what == ["multipart_upload"]:
            models[key].file_upload_complete = True
            return pb.CreateUpdateResponse(id=key)
        if what == ["download"]:
            return self._download(key, models[key].name)
        return models[key]

    def _download(self, key: str, name: str) -> pb.FileDownloadResponse:
        answer = pb.FileDownloadResponse()
        answer.url.url, answer.url.filename = self._upload(key), name
        return answer

    def _dataset(self, rest: list[str], content: bytes) -> Any:
        if not rest:
            return pb.CreateUpdateResponse(id=self._new("d"))
        key, *what = rest
        if what == ["upload_url"]:
            answer = pb.FileUploadResponse()
            answer.url.url, answer.url.file_field_name = self._upload(key), "file"
            return answer
        if what == ["download_data"]:
            return self._download(key, "outputs.h5")
        if self.command == "PATCH":
            return pb.CreateUpdateResponse(id=key)
        return pb.Dataset(dataset_id=key, name="outputs")

    def _summaries(self) -> pb.JobSummaryList:
        found = pb.JobSummaryList()
        for key, job in reversed(self.server.state.jobs.items()):
            kind = job.WhichOneof("job")
            own = getattr(job, kind)
            summary = getattr(found.job_summaries.add(), f"{kind}_summary")
            summary.job_id, summary.name = key, own.name
        return found

    def _job(self, rest: list[str], content: bytes) -> Any:
        state = self.server.state
        if not rest:
            return self._submitted(pb.Job.FromString(content))
        key, *what = rest
        if key not in state.jobs:
            return None
        job = state.jobs[key]
        own = getattr(job, job.WhichOneof("job"))
        if what == ["result"]:
            return self._result(key, job)
        looked = state.looks[key] = state.looks.get(key, -1) + 1
        own.job_state = pb.JobState.Value(state.states[min(looked, len(state.states) - 1)])
        own.failure_reason = state.failure if own.job_state == pb.JOB_STATE_FAILED else ""
        return job

    def _submitted(self, job: pb.Job) -> pb.CreateUpdateResponse:
        state = self.server.state
        kind = job.WhichOneof("job")
        own, key = getattr(job, kind), self._new("j")
        setattr(own, f"{kind}_id", key)
        own.creation_time.GetCurrentTime()
        own.model.CopyFrom(state.models[own.model.model_id])
        job.hub_version = "loopback"
        if kind in ("compile_job", "quantize_job"):
            suffix = "tflite" if kind == "compile_job" else "onnx"
            made = pb.Model(model_id=self._new("m"), name=f"made.{suffix}", producer_id=key)
            made.model_type = getattr(pb, f"MODEL_TYPE_{suffix.upper()}")
            made.creation_time.GetCurrentTime()
            state.models[made.model_id] = made
            content = state.blobs[own.model.model_id]
            is_compiled = kind == "compile_job"
            state.blobs[made.model_id] = state.compiled(content) if is_compiled else content
            own.target_model.CopyFrom(made)
            if is_compiled:
                own.target_tensor_type_list.CopyFrom(_takes(state.blobs[made.model_id]))
        state.jobs[key] = job
        return pb.CreateUpdateResponse(id=key)

    def _result(self, key: str, job: pb.Job) -> pb.JobResult:
        found = pb.JobResult()
        if not job.HasField("inference_job"):
            getattr(found, f"{job.WhichOneof('job')}_result").SetInParent()
            return found
        own, result = job.inference_job, found.inference_job_result
        result.inference_job_id = key
        if own.dataset.dataset_id:
            result.output_dataset_id = self._computed(own.model.model_id, own.dataset.dataset_id)
        detail = result.detail
        detail.major_version, detail.minor_version = 1, 2
        detail.execution_time = min(TIMES_US)
        detail.all_execution_times.extend(TIMES_US)
        detail.cold_load_time = 250_000
        detail.after_execution_peak_memory = 6 << 20
        detail.execution_memory.increase.lower = 1_000_000
        detail.execution_memory.increase.upper = 3_500_000
        detail.tool_versions.add(name="tflite", version="2.17.0")
        units = (("conv", pb.COMPUTE_UNIT_NPU, 9_000), ("warp", pb.COMPUTE_UNIT_CPU, 3_000))
        for name, unit, time in units:
            detail.layer_details.add(
                name=name, layer_type_name=name.upper(), compute_unit=unit, execution_time=time
            )
        detail.layer_details.add(name="glue", layer_type_name="RESHAPE")
        return found

    def _computed(self, model: str, dataset: str) -> str:
        """Run the network on every sample, and keep what comes out as a data set."""
        state = self.server.state
        with h5py.File(io.BytesIO(state.blobs[dataset]), "r") as stored:
            ((_, feeds),) = h5_to_dataset_entries(stored).items()
        interpreter = open_interpreter(state.blobs[model])
        takes = interpreter.get_input_details()[0]["index"]
        gives = interpreter.get_output_details()[0]["index"]
        made = []
        for feed in feeds:
            interpreter.set_tensor(takes, feed)
            interpreter.invoke()
            made.append(np.array(interpreter.get_tensor(gives)))
        file = io.BytesIO()
        with h5py.File(file, "w") as stored:
            dataset_entries_to_h5({"output_0": state.outputs(made)}, stored)
        key = self._new("d")
        state.blobs[key] = file.getvalue()
        return key


for _method in ("GET", "PATCH", "POST", "PUT"):
    setattr(_Handler, f"do_{_method}", _Handler.handle_any)


def _takes(content: bytes) -> pb.NamedTensorTypeList:
    """What a TFLite file of float32 takes."""
    (takes,) = open_interpreter(content).get_input_details()
    found = pb.NamedTensorTypeList()
    tensor = found.types.add(name="image").tensor_type
    tensor.shape.extend(int(size) for size in takes["shape"])
    tensor.dtype = pb.TENSOR_DTYPE_FLOAT32
    return found
