"""drover-exec gives back the environment that was there before version managers came."""

import base64
import os
import shutil
import subprocess
import zlib

import pytest

from conftest import needs
from support.environments import SHELL_OWN, parse, site  # noqa: F401
from support.flocks import IN_SANITIZER_BUILD

NONE = ("--ruby", "none", "--python", "none", "--node", "none", "--")


def residue(site, polluted):
    """What of the pollution drover-exec leaves, beside the clean environment's own outcome."""
    wanted = site.environment_of(*NONE)
    found = site.environment_of(*NONE, env=polluted)
    names = wanted.keys() | found.keys()
    return {name: (wanted.get(name), found.get(name)) for name in names if wanted.get(name) != found.get(name)}


def polluted_by(site, *command, env=None, least=1):
    """The environment of a command below the manager's own program."""
    result = site.run(*command, "env", "-0", env=env)
    assert result.returncode == 0, result.stderr
    before = env or site.clean
    found = parse(result.stdout)
    changed = {name for name in found.keys() | before.keys() if found.get(name) != before.get(name)} - SHELL_OWN
    assert len(changed) >= least, f"hardly polluted: {changed}"
    return found


@pytest.fixture
def rbenv(site):
    needs("rbenv")
    site.rbenv("3.1.2", programs=("env", "bundle"))
    (site.app / ".ruby-version").write_text("3.1.2\n")
    return "rbenv", "exec"


@pytest.fixture
def bundle(site):
    needs("bundle")
    (site.app / "Gemfile").write_text("")
    return "bundle", "exec"


def test_rbenv(site, rbenv):
    """scenario 1"""
    assert residue(site, polluted_by(site, *rbenv, least=5)) == {}


def test_rbenv_in_rbenv_in_rbenv(site, rbenv):
    """scenario 3"""
    polluted = polluted_by(site, *rbenv)
    for _ in range(2):
        polluted = polluted_by(site, *rbenv, env=polluted)
    assert polluted["PATH"].count("/.rbenv/versions/") == 3
    assert residue(site, polluted) == {}


def test_bundle(site, bundle):
    """scenario 4"""
    assert residue(site, polluted_by(site, *bundle, least=8)) == {}


def test_bundle_in_bundle(site, bundle):
    assert residue(site, polluted_by(site, *bundle, env=polluted_by(site, *bundle))) == {}


def test_bundle_in_rbenv_twice(site, rbenv, bundle):
    polluted = polluted_by(site, *rbenv, *bundle)
    assert residue(site, polluted_by(site, *rbenv, *bundle, env=polluted)) == {}


def test_ruby_with_setup_in_rubyopt_of_a_deleted_release(site, bundle):
    """scenario 10: The most dangerous leak: with it no ruby starts any more."""
    polluted = polluted_by(site, *bundle)
    shutil.rmtree(site.app)
    site.app.mkdir()
    assert subprocess.run(["ruby", "-e", "0"], env=polluted, capture_output=True).returncode != 0
    result = site.drover_exec("--ruby", "system", "--", "ruby", "-e", "print :started", env=polluted)
    assert (result.returncode, result.stdout) == (0, "started"), result.stderr


def test_direnv(site):
    """scenario 8"""
    needs("direnv")
    (site.app / ".envrc").write_text("export FOO=bar KEPT=changed\nPATH_add bin\nunset LANG\n")
    allowed = site.run("direnv", "allow", ".")
    assert allowed.returncode == 0, allowed.stderr
    assert residue(site, polluted_by(site, "direnv", "exec", ".", least=4)) == {}


@pytest.mark.parametrize("damage", ["", "AAAA", "x" * 70000, "eJwrSS0uAQAEXQHB", "!!!!"])
@pytest.mark.parametrize("name", ["DIRENV_DIFF", "__MISE_DIFF"])
def test_damaged_record_of_a_tool(site, name, damage):
    """scenario 8"""
    polluted = {**site.clean, name: damage}
    assert residue(site, polluted) == {}
    shown = site.drover_exec("--explain", *NONE, "true", env=polluted)
    assert f"! {name}: it cannot be read" in shown.stdout


VENV = ["/usr/bin/python3", "-m", "venv", "--without-pip"]
VIRTUALENV = ["virtualenv", "--quiet", "--no-download", "--no-pip", "--no-setuptools", "--no-wheel"]


@pytest.mark.parametrize("make", [VENV, VIRTUALENV], ids=["venv", "virtualenv"])
def test_virtual_environment(site, make):
    """scenario 7"""
    needs(*make[:1])
    made = site.run(*make, site.app / "venv")
    assert made.returncode == 0, made.stderr
    activate = ("bash", "-c", f'. {site.app}/venv/bin/activate; exec "$@"', "bash")
    polluted = polluted_by(site, *activate, least=2)
    assert residue(site, polluted) == {}


def msgpack(data):
    """As much of the format as mise's record needs."""
    if isinstance(data, dict):
        return bytes([0x80 | len(data)]) + b"".join(msgpack(part) for item in data.items() for part in item)
    if isinstance(data, list):
        return bytes([0x90 | len(data)]) + b"".join(map(msgpack, data))
    return b"\xd9" + bytes([len(data)]) + data.encode()


def test_mise(site):
    """What `mise activate` recorded; a folder that it added once is taken out once."""
    tool = "/opt/tools/ruby/bin"
    record = {"old": {"KEPT": "a value"}, "new": {"KEPT": "changed", "FOO": "1"}, "path": [tool]}
    clean = {**site.clean, "PATH": f"{site.clean['PATH']}:{tool}"}
    polluted = {
        **clean, "KEPT": "changed", "FOO": "1", "PATH": f"{tool}:{clean['PATH']}", "MISE_SHELL": "bash",
        "__MISE_DIFF": base64.b64encode(zlib.compress(msgpack(record))).decode().rstrip("="),
        "__MISE_ORIG_PATH": clean["PATH"], "__MISE_SESSION": "x",
    }  # fmt: skip
    assert site.environment_of(*NONE, env=polluted) == site.environment_of(*NONE, env=clean)


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="a sanitizer reserves terabytes of addresses")
@pytest.mark.parametrize("name", ["DIRENV_DIFF", "__MISE_DIFF"])
def test_record_that_unpacks_to_a_flood(site, name):
    """scenario 8: a warning, in bounded memory."""
    bomb = base64.urlsafe_b64encode(zlib.compress(bytes(30 << 20), 9)).decode()
    assert len(bomb) < 64 << 10
    limited = ("prlimit", f"--as={64 << 20}", site.program, "-v", *NONE, "true")
    result = site.run(*limited, env={**site.clean, name: bomb})
    assert result.returncode == 0 and f"'{name}': it cannot be read" in result.stderr


def test_virtual_environment_in_rbenv(site, rbenv):
    """scenario 7"""
    subprocess.run([*VENV, site.app / "venv"], check=True)
    activate = ("bash", "-c", f'. {site.app}/venv/bin/activate; exec "$@"', "bash")
    assert residue(site, polluted_by(site, *activate, env=polluted_by(site, *rbenv))) == {}


def rvm(home, version="ruby-3.1.2", gemset=""):
    root = f"{home}/.rvm"
    gems = f"{root}/gems/{version}{gemset}"
    return {
        "rvm_path": root, "rvm_prefix": home, "rvm_bin_path": f"{root}/bin", "rvm_version": "1.29.12",
        "rvm_ruby_string": version, "rvm_delete_flag": "0",
        "GEM_HOME": gems, "GEM_PATH": f"{gems}:{root}/gems/{version}@global",
        "MY_RUBY_HOME": f"{root}/rubies/{version}", "IRBRC": f"{root}/rubies/{version}/.irbrc",
        "RUBY_VERSION": version,
        "PATH": f"{gems}/bin:{root}/gems/{version}@global/bin:{root}/rubies/{version}/bin:{root}/bin:",
    }  # fmt: skip


def chruby(home, options=""):
    root, gems = "/opt/rubies/ruby-3.1.2", f"{home}/.gem/ruby/3.1.2"
    own = f"{root}/lib/ruby/gems/3.1.0"
    return {
        "RUBY_ROOT": root, "RUBYOPT": options, "RUBY_ENGINE": "ruby", "RUBY_VERSION": "3.1.2",
        "GEM_ROOT": own, "GEM_HOME": gems, "GEM_PATH": f"{gems}:{own}",
        "PATH": f"{gems}/bin:{own}/bin:{root}/bin:",
    }  # fmt: skip


def nvm(home):
    node = f"{home}/.nvm/versions/node/v18.1.0"
    return {"NVM_BIN": f"{node}/bin", "NVM_INC": f"{node}/include/node", "NVM_CD_FLAGS": "",
            "MANPATH": f"{node}/share/man", "PATH": f"{node}/bin:"}  # fmt: skip


def pyenv(home):
    root = f"{home}/.pyenv"
    return {
        "PYENV_ROOT": root, "PYENV_VERSION": "3.11.2", "PYENV_DIR": "/srv/app", "PYENV_HOOK_PATH": "/etc/pyenv.d",
        "_PYENV_INSTALL_PREFIX": "/x", "_PYENV_SHIM_PATHS_PYTHON": "y",
        "PYENV_VIRTUAL_ENV": f"{root}/versions/v", "PYENV_ACTIVATE_SHELL": "1",
        "PATH": f"{root}/versions/3.11.2/bin:{root}/libexec:{root}/plugins/python-build/bin:",
    }  # fmt: skip


def conda(home):
    one, two = f"{home}/miniconda", f"{home}/miniconda/envs/two"
    return {
        "CONDA_PREFIX": two, "CONDA_PREFIX_1": one, "CONDA_SHLVL": "2", "CONDA_DEFAULT_ENV": "two",
        "CONDA_PROMPT_MODIFIER": "(two)", "CONDA_EXE": f"{one}/bin/conda", "CONDA_STACKED_2": "true",
        "CONDA_PYTHON_EXE": f"{one}/bin/python", "_CE_M": "", "_CE_CONDA": "", "__CONDA_SHLVL_1_FOO": "x",
        "PATH": f"{two}/bin:{one}/bin:{one}/condabin:",
    }  # fmt: skip


def asdf(home):
    root = f"{home}/.asdf"
    return {
        "ASDF_INSTALL_TYPE": "version", "ASDF_INSTALL_VERSION": "3.1.2",
        "ASDF_INSTALL_PATH": f"{root}/installs/ruby/3.1.2", "ASDF_RUBY_VERSION": "3.1.2",
        "RUBYLIB": f"{root}/plugins/ruby/rubygems-plugin",
        "PATH": f"{root}/installs/ruby/3.1.2/bin:{root}/installs/ruby/3.1.2/lib/ruby/gems/3.1.0/bin:",
    }  # fmt: skip


def rbenv_gemset(home):
    """Its GEM_PATH ends with a folder outside of rbenv."""
    version = f"{home}/.rbenv/versions/3.1.2"
    one = f"{version}/gemsets/one"
    return {
        "RBENV_VERSION": "3.1.2", "RBENV_DIR": "/srv/app", "RBENV_GEMSET_ALREADY": "yes",
        "GEM_HOME": one, "GEM_PATH": f"{one}:{version}/gemsets/global:/var/lib/gems/3.1.0",
        "PATH": f"{one}/bin:{version}/gemsets/global/bin:{version}/bin:",
    }  # fmt: skip


def nodenv(home):
    root = f"{home}/.nodenv"
    return {"NODENV_VERSION": "18.1.0", "NODENV_DIR": "/srv/app", "NODENV_HOOK_PATH": "/etc/nodenv.d",
            "NODENV_SHELL": "bash", "PATH": f"{root}/versions/18.1.0/bin:{root}/libexec:"}  # fmt: skip


def virtualenv(home):
    folder = f"{home}/app/venv"
    return {"VIRTUAL_ENV": folder, "VIRTUAL_ENV_PROMPT": "venv", "PKG_CONFIG_PATH": f"{folder}/lib/pkgconfig",
            "TCL_LIBRARY": f"{folder}/lib/tcl8.6", "TK_LIBRARY": f"{folder}/lib/tk8.6", "PS1": "(venv) $ ",
            "PATH": f"{folder}/bin:"}  # fmt: skip


MANAGERS = {"rvm": rvm, "chruby": chruby, "nvm": nvm, "pyenv": pyenv, "conda": conda, "asdf": asdf,
            "rbenv-gemset": rbenv_gemset, "nodenv": nodenv, "virtualenv": virtualenv}  # fmt: skip


def activated(site, manager, env=None, **options):
    """As the manager's own tables say that it changes an environment."""
    env = dict(env or site.clean)
    changes = MANAGERS[manager](str(site.home), **options)
    path = changes.pop("PATH") + env["PATH"]
    return {**env, **changes, "PATH": path}


@pytest.mark.parametrize("manager", MANAGERS)
def test_manager_by_its_tables(site, manager):
    """scenario 3 to 7"""
    assert residue(site, activated(site, manager)) == {}


@pytest.mark.parametrize("outer", MANAGERS)
@pytest.mark.parametrize("inner", ["rvm", "chruby", "conda"])
def test_managers_in_each_other(site, outer, inner):
    assert residue(site, activated(site, inner, env=activated(site, outer))) == {}


def test_gemset_that_changes_between_generations(site):
    """scenario 3: the plugin itself would stay with the first one."""
    prefix = site.rbenv("3.1.2") / "versions/3.1.2"
    (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / ".rbenv-gemsets").write_text("two")
    found = site.environment_of("--ruby", "auto", "--", env=activated(site, "rbenv-gemset"))
    assert found["GEM_PATH"] == f"{prefix}/gemsets/two:{prefix}/gemsets/global"
    assert "/gemsets/one" not in "".join(found.values())


def test_rvm_gemset_and_bundle(site, bundle):
    """scenario 4"""
    polluted = activated(site, "rvm", gemset="@app")
    assert residue(site, polluted_by(site, *bundle, env=polluted)) == {}


def test_chruby_keeps_a_gem_path_of_the_users(site):
    """scenario 5"""
    clean = {**site.clean, "GEM_PATH": "/pre"}
    polluted = activated(site, "chruby", env=clean, options="-W1")
    polluted["GEM_PATH"] += ":/pre"
    found = site.environment_of(*NONE, env=polluted)
    assert found["GEM_PATH"] == "/pre" and "RUBYOPT" not in found


def test_chruby_whose_root_variable_was_lost(site):
    """scenario 6"""
    polluted = activated(site, "chruby")
    del polluted["RUBY_ROOT"]
    found = site.environment_of(*NONE, env=polluted)
    assert found["PATH"] == site.clean["PATH"]
    assert "GEM_HOME" not in found


def test_operators_own_settings_survive(site):
    """scenario 9"""
    docker = {
        **site.clean, "GEM_HOME": "/usr/local/bundle", "BUNDLE_APP_CONFIG": "/usr/local/bundle",
        "BUNDLE_WITHOUT": "development", "BUNDLE_PATH": "/x", "RUBY_VERSION": "3.2.2", "RUBYOPT": "-W0 --yjit",
        "NVM_DIR": f"{site.home}/.nvm",
    }  # fmt: skip
    found = site.environment_of(*NONE, env=docker)
    assert {name: found.get(name) for name in docker} == docker


def test_only_bundlers_own_words_leave_rubyopt(site):
    """scenario 10"""
    polluted = {**site.clean, "RUBYOPT": "-W0 -r/x/bundler/setup --yjit"}
    assert site.environment_of(*NONE, env=polluted)["RUBYOPT"] == "-W0 --yjit"


def test_old_paths_in_what_bundler_saved(site):
    """scenario 11"""
    polluted = {
        **site.clean, "BUNDLE_BIN_PATH": "/x", "PATH": "/nowhere",
        "BUNDLER_ORIG_PATH": f"{site.home}/.rbenv/versions/3.1.2/bin:{site.clean['PATH']}",
        "BUNDLER_ORIG_FOO": "back", "FOO": "bundler's",
        "BUNDLER_ORIG_GEM_HOME": "BUNDLER_ENVIRONMENT_PRESERVER_INTENTIONALLY_NIL", "GEM_HOME": "/gone",
    }  # fmt: skip
    found = site.environment_of(*NONE, env=polluted)
    assert found["PATH"] == site.clean["PATH"]
    assert found["FOO"] == "back" and "GEM_HOME" not in found


def test_bundler_that_switches_its_version_keeps_it(site):
    """scenario 24: Taken away, Bundler would execute itself again for ever."""
    switching = {**site.clean, "BUNDLER_VERSION": "2.3.15", "RUBYOPT": "-rbundler/setup"}
    assert site.environment_of(*NONE, env=switching)["BUNDLER_VERSION"] == "2.3.15"


@pytest.mark.parametrize("path, wanted", [
    ("", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    (":", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("/usr/bin::/bin", "/usr/bin:/bin"),
    (".:bin:/usr/bin:../x:/bin:/usr/bin", "/usr/bin:/bin"),
    ("/a\nb:/usr/bin", "/a\nb:/usr/bin"),
])  # fmt: skip
def test_path_is_safe(site, path, wanted):
    """scenario 36"""
    assert site.environment_of(*NONE, env={**site.clean, "PATH": path})["PATH"] == wanted


def test_long_path(site):
    """scenario 36"""
    path = ":".join(f"/folder/{number}" for number in range(10000)) + ":/usr/bin"
    assert site.environment_of(*NONE, env={**site.clean, "PATH": path})["PATH"] == path


def test_protocol_of_the_servers_is_untouched(site):
    names = ["UNICORN_FD", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "GUNICORN_FD",
             "PUMA_INHERIT_0", "DROVER_LOCK", "DROVER_LOCK_FD", "JOURNAL_STREAM"]  # fmt: skip
    protocol = {name: "7" for name in names}
    found = site.environment_of(*NONE, env={**site.clean, **protocol})
    assert {name: found.get(name) for name in names} == protocol


def test_twice_is_once(site, rbenv, bundle):
    """scenario 14"""
    polluted = polluted_by(site, *rbenv, *bundle)
    once = site.environment_of(*NONE, env=polluted)
    assert site.environment_of(*NONE, env=once) == once
