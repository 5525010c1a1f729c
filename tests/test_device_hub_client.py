"""Calls of the client: how long they take, what is kept of what it says, whose figures it has."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from i2uv_edge.device.hub_client import Hub
from i2uv_edge.errors import HubError

SECRET = "s3cr3ts3cr3t"


def hub(url: str = "http://127.0.0.1:9", *, answer_s: float = 5.0) -> Hub:
    config = SimpleNamespace(api_url=url, api_token=SECRET)
    return Hub(SimpleNamespace(config=config), answer_s=answer_s)


@pytest.mark.parametrize(
    "url",
    ["https://workbench.aihub.qualcomm.com", "https://app.aihub.qualcomm.com:443/"],
)
def test_figures_of_qualcomm_are_taken_as_measured(url: str) -> None:
    assert hub(url).invented == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://workbench.aihub.qualcomm.com",
        "https://workbench.aihub.qualcomm.com.example.org",
        "https://fakequalcomm.com",
        "https://localhost#.qualcomm.com",
        "https://.qualcomm.com@example.org",
    ],
)
def test_figures_of_anyone_else_are_invented(url: str) -> None:
    assert hub(url).invented.endswith(": invented")


def test_a_call_gives_what_the_client_gives() -> None:
    assert hub().call("adding", lambda a, b: a + b, 1, b=2) == 3


def test_what_the_client_prints_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    hub().call("talking", print, "Uploading ...")
    assert capsys.readouterr() == ("", "")


def test_a_call_that_hangs_is_left_behind() -> None:
    start = time.monotonic()
    with pytest.raises(HubError, match="waiting: "):
        hub().call("waiting", time.sleep, 60, seconds=0.1)
    assert time.monotonic() - start < 10


def test_what_went_wrong_is_said_without_the_token() -> None:
    def fail() -> Any:
        raise RuntimeError(f"header was: token {SECRET}")

    assert hub().said(f"a {SECRET} b") == "a [token] b"
    with pytest.raises(HubError) as caught:
        hub().call("failing", fail)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_boxes_that_the_client_draws_are_taken_off() -> None:
    boxed = "Failed.\n\n┌──────┐\n| Your token |\n| is bad.    |\n└──────┘"
    assert hub().said(boxed) == "Failed. Your token is bad."
