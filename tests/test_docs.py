"""The documentation runs: Python blocks of a page, in order and in one namespace; commands are checked."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import pytest

from experiments import configuration

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[\w-]*)?\)")


def blocks(page, language):
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


def commands(page):
    """Every single command in the page's bash blocks, as words."""
    for text in blocks(page, "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            for command in line.split("&&"):
                words = shlex.split(command, comments=True)
                if words:
                    yield words


def named(page):
    return pytest.param(page, id=page.stem)


@pytest.mark.parametrize("page", [named(page) for page in PAGES if blocks(page, "python")])
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFUSION_JAX_DATA", str(tmp_path / "data"))
    # what a reader copies must not need the stricter settings of the tests
    before = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        namespace = {"__name__": "__docs__"}
        for i, text in enumerate(blocks(page, "python")):
            exec(compile(text, f"{page.name}, block {i}", "exec"), namespace)
    finally:
        jax.config.update("jax_numpy_rank_promotion", before)


@cache
def help_of(module):
    run = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("page", [named(page) for page in PAGES if blocks(page, "bash")])
def test_commands_exist(page):
    """Modules answer --help, which knows every option used; configs, variants, fields and extras exist."""
    for words in commands(page):
        if words[0] == "python" and words[1] == "-m" and words[2].startswith("experiments."):
            check_command(words[2], words[3:])
        elif words[:2] == ["pip", "install"]:
            for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
                for one in extra.split(","):
                    assert f'"{one}": [' in (ROOT / "setup.py").read_text(), one
        else:
            assert words[0] in {"pytest", "mkdocs", "git", "cd", "pre-commit", "python", "ruff", "pyright"}, (
                words
            )


def check_command(module, words):
    usage = help_of(module)
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    for option in options:
        assert option.startswith("--config.") or option in usage, f"{module} has no option {option}"
    if "--config" in words:
        fields = configuration.settings([word for word in words if word.startswith("--config.")])
        configuration.load(words[words.index("--config") + 1], fields)


@pytest.mark.parametrize("page", [named(page) for page in PAGES])
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES[1:]:
        assert page.name in menu
