from __future__ import annotations

from pathlib import Path

import pytest

from i2uv_edge.device import debian_files


def test_mirrors_of_apt_come_before_debian_s_own(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian x main\ndeb http://one.example/sub/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d/d.sources").write_text(
        "URIs: https://two.example/debian-security/\nSuites: x\n"
    )
    (tmp_path / "sources.list.d/other.list").write_text("deb https://x.example/apt y main\n")
    expected = ["http://one.example/sub", "https://two.example", debian_files.DEBIAN]
    assert debian_files._mirrors(tmp_path) == expected


def test_the_cache_is_where_the_user_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert debian_files.cache_folder("arm64") == Path("/somewhere/i2uv-edge/arm64")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification has ignored
    assert debian_files.cache_folder("arm64") == Path.home() / ".cache/i2uv-edge/arm64"
