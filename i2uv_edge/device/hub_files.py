"""Files and results to and from Qualcomm AI Hub; every model is read back and its hash compared."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from i2uv_edge.bundle import sha256_of
from i2uv_edge.device.hub_client import Hub, RefusedError
from i2uv_edge.errors import HubError

__all__ = ["download", "outputs", "tool_versions", "upload"]


def upload(hub: Hub, path: Path, sha256: str, *, seconds: float) -> tuple[str, str]:
    """Upload a model file of that hash; its id at the Hub, and what could not be checked, or "".

    Raises
    ------
    HubError
        It did not arrive, or arrived as something else.
    """
    name = f"{path.stem}-{sha256[:12]}{path.suffix}"
    send = hub.client.upload_model
    model = hub.call(f"uploading {path.name}", send, str(path), name=name, seconds=seconds)
    with tempfile.TemporaryDirectory() as folder:
        try:
            back = download(hub, model, Path(folder) / name, seconds=seconds)
        except RefusedError as error:
            return str(model.model_id), f"{path.name} could not be read back: {error.what}"
        if sha256_of(back) != sha256:
            raise HubError(
                f"AI Hub holds another file than the {path.name} that was sent",
                expected=f"sha256 {sha256}",
                remedy="run the command again",
            )
    return str(model.model_id), ""


def download(hub: Hub, model: Any, path: Path, *, seconds: float) -> Path:
    """Download a model; the client may add to the name, so it says where the file is."""
    return Path(str(hub.call("downloading a model", model.download, str(path), seconds=seconds)))


def outputs(hub: Hub, job: Any, *, seconds: float) -> dict[str, list[Any]]:
    """The arrays that a finished job gave, by name; none if it gave none."""
    converters = importlib.import_module("qai_hub.util.dataset_entries_converters")

    def read(path: str) -> dict[str, list[Any]]:
        file = job.download_output_data(path)
        if file is None:
            return {}
        with importlib.import_module("h5py").File(file, "r") as stored:
            return dict(converters.h5_to_dataset_entries(stored))

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "outputs.h5")
        return hub.call("downloading the outputs", read, path, seconds=seconds)


def tool_versions(hub: Hub, job: Any) -> dict[str, str]:
    """Versions of what ran a finished job, which the client's own profile leaves out."""
    rest = importlib.import_module("qai_hub.public_rest_api")
    config = hub.client.config
    result = hub.call("reading versions", rest.get_job_results, config, job.job_id)
    detail = result.inference_job_result.detail
    tools = {str(tool.name): str(tool.version) for tool in detail.tool_versions}
    return {**tools, **({"AI Hub": str(job.hub_version)} if job.hub_version else {})}
