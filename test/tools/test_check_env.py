"""tools/check_env.py: names what is wrong and the command that fixes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from rnnt.environment import packages

CHECK_ENV = Path(__file__).parents[2] / "tools" / "check_env.py"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a made package in front of everything installed."""

    def make(name, version, code=""):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "top_level.txt").write_text(name + "\n")
        (folder / "RECORD").write_text(f"{name}.py,,\n")
        (tmp_path / f"{name}.py").write_text(code)

    monkeypatch.syspath_prepend(str(tmp_path))
    return make


def test_this_environment_is_good():
    result = subprocess.run([sys.executable, str(CHECK_ENV)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    for name in ("torch", "lhotse", "sentencepiece", "k2", "kaldifeat"):
        assert f"\n    {name} " in result.stdout


def test_requirements_without_extras():
    texts = [
        "torch>=2.8",
        "numpy",
        'pytest; extra == "test"',
        "lhotse>=1.33,<3",
        "importlib-x>=2; python_version<'3.9'",
    ]
    found = packages.requirements(texts)
    assert found[:2] == [("torch", "2.8"), ("numpy", "")]
    assert ("lhotse", "1.33") in found and "pytest" not in [f.name for f in found]


def test_pins_of_several_pythons():
    text = '# comment\nA==1.0\nb==2; python_version < "3.11"\nb==3; python_version >= "3.11"\n'
    assert packages.pins(text) == {"a": {"1.0"}, "b": {"2", "3"}}


def test_missing_package_names_the_set_up():
    finding = packages.check_required(packages.Requirement("surely-not-there", ""), {})
    assert not finding.ok and finding.version == "missing" and "setup.sh" in finding.remark


def test_old_package_names_the_command(package):
    package("madeupold", "1.9.0")
    finding = packages.check_required(packages.Requirement("madeupold", "1.10"), {})
    assert not finding.ok and "older than 1.10" in finding.remark and "pip install" in finding.remark
    assert packages.check_required(packages.Requirement("madeupold", "1.9"), {}).ok


def test_package_that_does_not_load(package):
    package("madeupbroken", "1.0", "raise OSError('libfoo.so: cannot open')")
    finding = packages.check_required(packages.Requirement("madeupbroken", ""), {})
    assert not finding.ok and "libfoo.so" in finding.remark
    # An optional package that is broken is said, but stops nothing.
    optional = packages.check_optional("madeupbroken", "something else is used")
    assert optional.ok and "libfoo.so" in optional.remark and "something else is used" in optional.remark


def test_unpinned_version_is_a_remark(package):
    package("madeupother", "2.0+cpu")
    requirement = packages.Requirement("madeupother", "")
    assert packages.check_required(requirement, {"madeupother": {"1.5"}}).remark == "not the known-good 1.5"
    assert packages.check_required(requirement, {"madeupother": {"2.0"}}).remark == ""


def test_versions_without_loading(package):
    package("madeupbroken", "1.0", "raise OSError('libfoo.so: cannot open')")
    assert packages.check_required(packages.Requirement("madeupbroken", ""), {}, load=False).ok
    assert packages.check_optional("madeupbroken", "something else is used", load=False).remark == ""
