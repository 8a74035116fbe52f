"""tools/check_env.py: names what is wrong and the command that mends it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CHECK_ENV = Path(__file__).parents[2] / "tools" / "check_env.py"


@pytest.fixture(scope="module")
def check_env():
    spec = importlib.util.spec_from_file_location("check_env", CHECK_ENV)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_requirements_without_extras(check_env):
    texts = [
        "torch>=2.8",
        "numpy",
        'pytest; extra == "test"',
        "lhotse>=1.33,<3",
        "importlib-x>=2; python_version<'3.9'",
    ]
    found = check_env.requirements(texts)
    assert found[:2] == [("torch", "2.8"), ("numpy", "")]
    assert ("lhotse", "1.33") in found and "pytest" not in [f.name for f in found]


def test_pins_of_several_pythons(check_env):
    text = '# comment\nA==1.0\nb==2; python_version < "3.11"\nb==3; python_version >= "3.11"\n'
    assert check_env.pins(text) == {"a": {"1.0"}, "b": {"2", "3"}}


def test_missing_package_names_the_set_up(check_env):
    finding = check_env.check_required(check_env.Requirement("surely-not-there", ""), {})
    assert not finding.ok and finding.version == "missing" and "setup.sh" in finding.remark


def test_old_package_names_the_command(check_env, package):
    package("madeupold", "1.9.0")
    finding = check_env.check_required(check_env.Requirement("madeupold", "1.10"), {})
    assert not finding.ok and "older than 1.10" in finding.remark and "pip install" in finding.remark
    assert check_env.check_required(check_env.Requirement("madeupold", "1.9"), {}).ok


def test_package_that_does_not_load(check_env, package):
    package("madeupbroken", "1.0", "raise OSError('libfoo.so: cannot open')")
    finding = check_env.check_required(check_env.Requirement("madeupbroken", ""), {})
    assert not finding.ok and "libfoo.so" in finding.remark
    # An optional package that is broken is said, but stops nothing.
    optional = check_env.check_optional("madeupbroken", "something else is used")
    assert optional.ok and "libfoo.so" in optional.remark and "something else is used" in optional.remark


def test_unpinned_version_is_a_remark(check_env, package):
    package("madeupother", "2.0+cpu")
    requirement = check_env.Requirement("madeupother", "")
    assert check_env.check_required(requirement, {"madeupother": {"1.5"}}).remark == "not the known-good 1.5"
    assert check_env.check_required(requirement, {"madeupother": {"2.0"}}).remark == ""
