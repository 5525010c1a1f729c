"""Python and the packages: which are there, and whether they are the ones that were tested.

The package's own metadata says what it asks for. In a checkout, `constraints.txt` says which
versions were tested together.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from i2uv_edge.diagnosis.results import Check

__all__ = ["package_checks", "pins"]

PACKAGE = "i2uv-edge"
PYTHON, PACKAGES, EXTRAS = "Python", "packages", "extras"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
# Extras that are for who works on this package.
_OWN = ("asset", "dev", "peers")


def package_checks(tested: Mapping[str, str] | None = None) -> list[Check]:
    """Look at Python, at every package that is required, and at what extras bring.

    Parameters
    ----------
    tested
        Versions that were tested together, by canonical name; without, those of the checkout.
    """
    known = pins() if tested is None else tested
    wanted = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    checks = [_python()]
    required = [own for own in wanted if own.marker is None or own.marker.evaluate({"extra": ""})]
    checks += [_package(own, known) for own in sorted(required, key=lambda own: own.name)]
    return [*checks, *_extras(wanted, required)]


def pins(path: Path = CONSTRAINTS) -> dict[str, str]:
    """The pins of a checkout by canonical name; none where there is no checkout."""
    if not path.is_file():
        return {}
    found = re.findall(r"^([\w.-]+)==(\S+)$", path.read_text(encoding="utf-8"), re.M)
    return {canonicalize_name(name): version for name, version in found}


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata(PACKAGE)["Requires-Python"] or ""
    works = version in Requirement(f"python{wanted}").specifier
    own = metadata.version(PACKAGE)
    detail = f"{version} at {sys.executable}; {PACKAGE} {own}"
    remedy = f"install Python {wanted} and make the virtual environment again"
    return Check(PYTHON, "python", "works" if works else "broken", detail, remedy, required=True)


def _package(wanted: Requirement, tested: Mapping[str, str]) -> Check:
    asked = f"{wanted.name}{wanted.specifier}"
    remedy = f"pip install '{asked}'"
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Check(PACKAGES, wanted.name, "missing", "not installed", remedy, required=True)
    if not wanted.specifier.contains(version, prereleases=True):
        detail = f"{version}, where {wanted.specifier} is needed"
        return Check(PACKAGES, wanted.name, "broken", detail, remedy, required=True)
    return Check(PACKAGES, wanted.name, "works", _version(wanted.name, version, tested), "", True)


def _version(name: str, version: str, tested: Mapping[str, str]) -> str:
    """A version, and the tested one if that is another; a local label makes no other version."""
    pinned = tested.get(canonicalize_name(name))
    if pinned is None:
        return version
    return version if version.split("+")[0] == pinned else f"{version}; tested was {pinned}"


def _extras(wanted: Iterable[Requirement], required: Iterable[Requirement]) -> Iterator[Check]:
    """One check for each extra of users: all of its packages, or what is missing of them."""
    always = {own.name for own in required}
    named = metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()
    for extra in sorted(set(named) - set(_OWN)):
        of_extra = [
            own
            for own in wanted
            if own.name not in always and own.marker and own.marker.evaluate({"extra": extra})
        ]
        found: dict[str, str] = {}
        for own in of_extra:
            try:
                found[own.name] = metadata.version(own.name)
            except metadata.PackageNotFoundError:
                continue
        missing = [own.name for own in of_extra if own.name not in found]
        detail = ", ".join(f"{name} {version}" for name, version in found.items())
        if missing:
            detail = f"not installed: {', '.join(missing)}"
        remedy = f"pip install '{PACKAGE}[{extra}]'"
        yield Check(EXTRAS, extra, "missing" if missing else "works", detail, remedy)
