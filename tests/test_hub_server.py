"""The stand-in for Qualcomm AI Hub answers its client as the real one would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qai_hub as hub
from hub_server import TOKEN, HubServer, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as made:
        yield made


def client(server: HubServer, token: str = TOKEN) -> Any:
    config = hub.ClientConfig(api_token=token, api_url=server.url, web_url=server.url)
    return hub.Client(config=config)


def test_devices_are_found_by_name(server: HubServer) -> None:
    (found,) = client(server).get_devices("Samsung Galaxy S21")
    assert "chipset:qualcomm-snapdragon-888" in found.attributes


def test_a_wrong_token_is_refused(server: HubServer) -> None:
    with pytest.raises(hub.client.UserError, match="authenticate"):
        client(server, "wrong").get_devices()


def test_models_come_back_as_they_were_sent(server: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(range(256)) * 9)
    model = client(server).upload_model(str(path))
    back = model.download(str(tmp_path / "back.onnx"))
    assert Path(back).read_bytes() == path.read_bytes()


def test_a_quantize_job_gives_an_onnx_model(server: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an onnx file")
    own = client(server)
    data = {"image": [hub.client.np.zeros((1, 3, 2, 2), "float32")]}
    job = own.submit_quantize_job(own.upload_model(str(path)), calibration_data=data)
    server.state.states = ("JOB_STATE_DONE",)
    assert job.wait().success
    assert job.get_target_model().model_type.name == "ONNX"


def test_an_unknown_job_is_not_found(server: HubServer) -> None:
    with pytest.raises(hub.client.UserError, match="j99"):
        client(server).get_job("j99")
