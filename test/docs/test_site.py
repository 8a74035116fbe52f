"""The site of the documentation: every page is in it, in the order of the index, and it builds without a warning."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def pages(nav):
    for item in nav:
        if isinstance(item, str):
            yield item
        else:
            yield from (page for part in item.values() for page in pages(part))


def test_the_menu_is_the_index():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    linked = re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert list(pages(nav)) == ["index.md", *linked]


def test_the_site_builds(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs of setup.py is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs of setup.py is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 'id="rnnt.load_model"' in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
