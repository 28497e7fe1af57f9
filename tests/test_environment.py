"""pyproject, the lock and environment.yml say the same."""

import importlib.metadata
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from nram.results import CHECKOUT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
BY_HAND = [line.partition("#")[0].strip() for line in (CHECKOUT / "requirements.lock").read_text().splitlines()]
LOCK = {canonicalize_name(each.name): each for each in map(Requirement, filter(None, BY_HAND))}
# What a CUDA build of torch brings: in the versions that torch itself names.
OF_CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")


def declared():
    lines = PROJECT["dependencies"] + [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in lines]


def environment(python):
    return {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux", "extra": ""} | {
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def applies(requirement, python, extras=("",)):
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate(environment(python) | {"extra": extra}) for extra in extras)


def locked_version(requirement):
    (pin,) = requirement.specifier
    assert pin.operator == "==" and "*" not in pin.version, f"{requirement} is no pin"
    return Version(pin.version)


def test_the_lock_pins_each_package_once():
    names = [canonicalize_name(Requirement(line).name) for line in filter(None, BY_HAND)]
    assert len(names) == len(set(names)) > 50
    for requirement in LOCK.values():
        version = locked_version(requirement)
        assert version.local is None, f"{requirement}: a local version fits one build only"
        assert not requirement.extras and requirement.url is None


def test_every_dependency_is_locked_at_an_admitted_version():
    assert {canonicalize_name(each.name) for each in declared()} >= {"torch", "numpy", "papermill", "pytest"}
    for each in declared():
        locked = LOCK[canonicalize_name(each.name)]
        assert locked.marker is None
        assert each.specifier.contains(locked_version(locked)), f"{locked} is outside {each}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_all_that_the_dependencies_need_and_nothing_else(python):
    """Follows what the installed packages require; what only the other Python has is not followed further."""
    locked = {name for name, each in LOCK.items() if applies(each, python)}
    needed, waiting = set(), [(each, ("", *each.extras)) for each in declared()]
    while waiting:
        requirement, extras = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in needed or OF_CUDA.fullmatch(name):
            continue
        needed.add((name, extras))
        assert name in locked, f"{requirement} is needed on Python {python}, but not locked"
        assert requirement.specifier.contains(locked_version(LOCK[name])), f"{LOCK[name]} is outside {requirement}"
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            assert LOCK[name].marker is not None, f"{name} is locked, but not installed"
            continue
        for line in distribution.requires or []:
            each = Requirement(line)
            if applies(each, python, extras):
                waiting.append((each, ("", *sorted(each.extras))))
    unreached = locked - {name for name, _ in needed}
    assert all(LOCK[name].marker is not None for name in unreached), f"nothing needs {sorted(unreached)}"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_locked_package_admits_every_python(python):
    checked = 0
    for name, each in LOCK.items():
        try:
            needs = importlib.metadata.metadata(name).get("Requires-Python")
        except importlib.metadata.PackageNotFoundError:
            continue
        assert not needs or not applies(each, python) or SpecifierSet(needs).contains(f"{python}.5"), name
        checked += 1
    assert checked > 50


def test_python_and_torch_are_what_is_promised():
    admitted = SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(8, 20) if admitted.contains(f"3.{minor}.5")] == [11, 12, 13, 14]
    assert not admitted.contains("3.11.4"), "soupsieve 4.1.2 needs 3.11.5"
    assert locked_version(LOCK["torch"]) == Version("2.13.0")
    (torch,) = [each for each in declared() if each.name == "torch"]
    assert [minor for minor in range(5, 20) if torch.specifier.contains(f"2.{minor}.0")] == [11, 12, 13, 14]
    (matplotlib,) = [each for each in declared() if each.name == "matplotlib"]
    assert not matplotlib.specifier.contains("3.13.0"), "seaborn 0.13.2 does not work with it"


def test_environment_yml_takes_python_from_pyproject_and_the_rest_from_the_lock():
    environment = yaml.safe_load((CHECKOUT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    python, pip, pins = environment["dependencies"]
    assert python == f"python {PROJECT['requires-python']}"
    assert pip == "pip"
    assert pins == {"pip": ["-r requirements.lock", "-e ."]}, "this package is part of the environment"


def test_the_version_is_the_same_everywhere():
    import nram

    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert PROJECT["version"] == citation["version"] == nram.__version__
    assert citation["preferred-citation"]["identifiers"] == [{"type": "other", "value": "arXiv:1511.06392"}]
