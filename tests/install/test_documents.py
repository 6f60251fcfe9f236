"""What the documents say of an installation: its paths, its links, its packages."""

import os
import re
import shlex
import subprocess

import pytest

from conftest import BUILD, ROOT, needs

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "docs" / "replacing.md",
    *(ROOT / "tools" / "man").glob("*.scd"),
    *(ROOT / "lib" / "hooks").glob("drover.*"),
    *(path for path in (ROOT / "examples").rglob("*") if path.is_file() and path.suffix not in (".cpp", ".h")),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where the README's install command has put everything."""
    needs("cmake")
    (options,) = re.findall(r"cmake --install build/release([^`]*)`", (ROOT / "README.md").read_text())
    folder = tmp_path_factory.mktemp("installed")
    command = ["cmake", "--install", BUILD, *shlex.split(options)]
    subprocess.run(command, env={**os.environ, "DESTDIR": str(folder)}, check=True, capture_output=True)
    return folder


def test_named_paths_are_installed(root):
    """A Ruby program may leave out the ".rb"."""
    text = "".join(path.read_text() for path in DOCUMENTS)
    named = {name.rstrip("./") for name in re.findall(r"/usr/share/(?:doc/)?drover/?[\w./-]*", text)}
    assert {"/usr/share/drover", "/usr/share/drover/drover"} <= named
    missing = [name for name in named if not (root / name[1:]).exists() and not (root / f"{name[1:]}.rb").exists()]
    assert missing == []


def test_unicorn_hook_loads_from_there(root, run):
    needs("ruby")
    recipe = (ROOT / "examples" / "unicorn" / "unicorn-hook.rb").read_text()
    (library,) = re.findall(r'^require "(.*)"$', recipe, re.M)
    done = run("ruby", "-e", f'require "{root}{library}"; puts Drover.respond_to?(:hold)')
    assert (done.stdout, done.stderr) == ("true\n", "")


def test_installed_documents_refer_to_what_is_there(root):
    place = root / "usr/share/doc/drover"
    for document in place.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert "://" in target or (document.parent / target).exists(), f"{document}: {target}"


def test_only_examples_that_work_there_are_installed(root):
    """quickstart.sh and prefork are built from the source tree."""
    examples = {path.name for path in (root / "usr/share/doc/drover/examples").iterdir()}
    assert examples == {path.name for path in (ROOT / "examples").iterdir()} - {"quickstart.sh", "prefork"}
    licence = (root / "usr/share/doc/drover/copyright").read_text()
    assert licence == (ROOT / "LICENSE").read_text()


def test_no_package_without_manual_pages(run, folder):
    needs("cmake", "ninja", "cpack")
    build = folder / "build"
    configured = run("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DSCDOC=OFF", "-DDROVER_TESTS=OFF", timeout=100)
    assert configured.returncode == 0, configured.stderr
    assert "scdoc not found: no manual pages" in configured.stderr
    packed = run("cpack", "--config", build / "CPackConfig.cmake", "-B", folder / "package")
    assert packed.returncode != 0
    assert "no package without manual pages" in packed.stdout + packed.stderr


def test_scdoc_is_in_the_lists_of_packages():
    (contributing,) = re.findall(r"`apt-get install ([^`]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    (quickstart,) = re.findall(r"^packages=\(([^)]*)\)$", (ROOT / "examples" / "quickstart.sh").read_text(), re.M)
    assert set(quickstart.split()) - {"wrk", "curl"} <= set(contributing.split())
    assert "scdoc" in quickstart.split()


def test_bash_takes_the_word_behind_dashes_for_the_lock(run, folder):
    """drover-hold -x -- LOCK COMMAND: what follows "--" is LOCK, not COMMAND."""
    (folder / "mktem.lock").touch()
    script = ROOT / "tools" / "completions" / "bash" / "drover-hold"

    def replies(*words):
        code = f'. "{script}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _drover_hold; echo "${{COMPREPLY[@]}}"'
        return run("bash", "--norc", "-c", code, "bash", "drover-hold", *words).stdout.split()

    assert replies("-x", "--", "mktem") == ["mktem.lock"]
    assert "mktemp" in replies("-x", "--", "mktem.lock", "mktem")
    assert "mktemp" in replies("--pidfile", "a", "--", "mktem")
