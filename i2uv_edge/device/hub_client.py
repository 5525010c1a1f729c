"""Qualcomm AI Hub through its own client: opened, kept within seconds, and its errors put plainly.

The token is read by the client's own rules (`~/.qai_hub/client.ini`, or where QAIHUB_CLIENT_INI
points), stays in memory, and is struck out of whatever is said.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib
import io
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlparse

from i2uv_edge.device.profiles import INVENTED
from i2uv_edge.errors import HubError, MissingDependencyError

__all__ = ["CONTINUE", "Hub", "RefusedError", "open_hub"]

T = TypeVar("T")

CONTINUE = "run the command again with --resume: jobs that were submitted are not submitted twice"
PROBE_SECONDS = 5.0  # for one small answer; the client itself waits about 46 s for nobody
QUALCOMM = ".qualcomm.com"


class RefusedError(HubError):
    """The Hub said no, so that nothing was begun or made."""


class Hub:
    """A client of Qualcomm AI Hub.

    Parameters
    ----------
    client
        A `qai_hub.Client`.
    answer_s
        How long one question may take, the client's own repetitions included.
    """

    def __init__(self, client: Any, *, answer_s: float) -> None:
        self.client = client
        self._answer_s = answer_s
        self._token = str(client.config.api_token)

    @property
    def server(self) -> str:
        """Scheme, host and port of the server."""
        parts = urlparse(str(self.client.config.api_url))
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    @property
    def invented(self) -> str:
        """A warning where the server is not Qualcomm's, "" where it is.

        What such a server says of time and memory was measured on no phone.
        """
        parts = urlparse(str(self.client.config.api_url))
        host = parts.hostname or ""
        if parts.scheme == "https" and host.endswith(QUALCOMM):
            return ""
        return f"from a server at {host}{INVENTED}"

    def call(
        self,
        doing: str,
        function: Callable[..., T],
        *arguments: Any,
        seconds: float | None = None,
        **named: Any,
    ) -> T:
        """Call the client; what it prints is dropped, what it raises becomes a HubError.

        Parameters
        ----------
        doing
            What is being done, for the message: "submitting a job".
        function, arguments, named
            The call.
        seconds
            How long it may take; by default what the constructor was given. A call that takes
            longer is left to itself.

        Raises
        ------
        HubError
            It failed or took too long.
        """
        limit = self._answer_s if seconds is None else seconds
        answers: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue()

        def run() -> None:
            try:
                answers.put((function(*arguments, **named), None))
            except Exception as error:
                # The client passes on what its libraries raise, of any kind: all of it means that
                # the Hub, or the way to it, failed.
                answers.put((None, error))

        # The client repeats a question for minutes and has no switch for it, so it is given a
        # thread that can be left behind.
        thread = threading.Thread(target=run, daemon=True, name=f"AI Hub: {doing}")
        with contextlib.redirect_stdout(io.StringIO()):
            thread.start()
            try:
                made, error = answers.get(timeout=limit)
            except queue.Empty:
                made, error = None, TimeoutError(f"no answer within {limit:g} s")
        if error is not None:
            raise self._failed(doing, error) from None
        return made  # type: ignore[return-value]

    def check(self) -> None:
        """Ask the server who we are: in seconds it shows whether it is there and takes the token.

        Raises
        ------
        HubError
            It is out of reach, refuses the token, or says that it cannot serve now.
        """
        if (fault := self._probe()) is not None:
            raise fault

    def said(self, text: str) -> str:
        """What the client or the server said, without the token and on one line."""
        words = [line.strip(" |") for line in text.splitlines() if line.strip()[:1] not in "┌└"]
        plain = " ".join(" ".join(words).split())
        return plain.replace(self._token, "[token]") if self._token else plain

    def _failed(self, doing: str, error: Exception) -> HubError:
        """Say why a call failed; the server is asked once more where the client cannot tell."""
        module, kind = type(error).__module__, type(error).__name__
        said = self.said(str(error)) or kind
        if kind == "RateLimitedError":
            return _busy(self.server)
        if kind == "UserError" and "authenticate" in said:
            return self._refused()
        if module.startswith("qai_hub") and kind == "UserError":
            return RefusedError(f"{doing}: Qualcomm AI Hub says: {said}")
        fault = self._probe()
        if fault is not None:
            return HubError(f"{doing}: {fault.what}", remedy=fault.remedy)
        return HubError(f"{doing} failed: {said}", remedy=CONTINUE)

    def _probe(self) -> HubError | None:
        requests = importlib.import_module("requests")
        config = self.client.config
        try:
            answer = requests.get(
                urljoin(str(config.api_url), "api/v1/users/auth/user/"),
                headers={"Authorization": f"token {self._token}"},
                timeout=(PROBE_SECONDS, PROBE_SECONDS),
                allow_redirects=False,  # the token is for this server and no other
                stream=True,  # the status is enough
            )
            status = answer.status_code
            answer.close()
        except (OSError, ValueError):  # requests' own errors are of these kinds
            return HubError(
                f"Qualcomm AI Hub is out of reach: {self.server} does not answer",
                expected=f"an answer within {PROBE_SECONDS:g} s",
                remedy=f"check the network and api_url in {_config_path()}, then {CONTINUE}",
            )
        if status == 401:
            return self._refused()
        if status == 429:
            return _busy(self.server)
        if status >= 500:
            return HubError(
                f"Qualcomm AI Hub cannot serve now: {self.server} answers {status}",
                remedy=f"wait, then {CONTINUE}",
            )
        return None

    def _refused(self) -> HubError:
        return RefusedError(
            f"Qualcomm AI Hub at {self.server} does not accept the API token",
            expected=f"a valid token as api_token in {_config_path()}",
            remedy="take one from the account page of Qualcomm AI Hub: "
            "qai-hub configure --api_token TOKEN",
        )


def open_hub(*, answer_s: float) -> Hub:
    """Open the client with the user's own configuration; nothing is sent yet.

    Raises
    ------
    MissingDependencyError
        The client is not installed.
    HubError
        There is no configuration, or it cannot be read.
    """
    try:
        package = importlib.import_module("qai_hub")
        utils = importlib.import_module("qai_hub.api_utils")
    except ImportError as error:
        raise MissingDependencyError(
            f"the client of Qualcomm AI Hub cannot be imported: {error}",
            expected="the package qai-hub",
            remedy="pip install 'i2uv-edge[hub]'",
        ) from error
    path = _config_path()
    expected = "a section [api] with api_url, web_url and api_token"
    remedy = "sign up at https://aihub.qualcomm.com/, then: qai-hub configure --api_token TOKEN"
    try:
        config = utils.load_default_api_config()
    except FileNotFoundError:
        raise HubError(
            f"there is no configuration of Qualcomm AI Hub at {path}",
            expected=expected,
            remedy=remedy,
        ) from None
    except (OSError, ValueError, configparser.Error, package.public_rest_api.APIException):
        # Parsers quote the line that they cannot read, and that line may hold the token.
        raise HubError(f"{path} cannot be read", expected=expected, remedy=remedy) from None
    config.verbose = False
    if urlparse(str(config.api_url)).scheme not in ("http", "https") or not config.api_token:
        raise HubError(f"{path} names no server or no token", expected=expected, remedy=remedy)
    return Hub(package.Client(config=config), answer_s=answer_s)


def _config_path() -> Path:
    return Path(importlib.import_module("qai_hub.api_utils").get_config_path())


def _busy(server: str) -> HubError:
    return RefusedError(
        f"Qualcomm AI Hub at {server} says: too many requests (429)",
        remedy=f"wait some minutes, then {CONTINUE}",
    )
