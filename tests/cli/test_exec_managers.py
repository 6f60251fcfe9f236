"""What is special about each manager: environment files, aliases, gemsets, lists, virtual environments."""

import pytest

from support.environments import NODE, PYTHON, install, site  # noqa: F401
from support.flocks import as_nobody

VERSION = "ruby-3.1.2"


@pytest.fixture
def rvm(site):
    root = site.home / ".rvm"
    install(root / "rubies" / VERSION)
    install(root / "rubies/ruby-3.1.10")
    (root / "config").mkdir()
    (root / "environments").mkdir()
    for gemset in ("app", "global"):
        (root / "gems" / f"{VERSION}@{gemset}").mkdir(parents=True)
    return root


def front(site, root, *words, **options):
    """The components of PATH below the manager's folder, and GEM_HOME and GEM_PATH."""
    found = site.environment_of(*words, **options)
    path = [part.removeprefix(f"{root}/") for part in found["PATH"].split(":") if part.startswith(f"{root}/")]
    gems = [found.get(name, "").replace(f"{root}/", "") for name in ("GEM_HOME", "GEM_PATH")]
    return path, *gems


def test_rvm_by_layout(site, rvm):
    found = site.environment_of("--ruby", "3.1.2", "--")
    assert front(site, rvm, "--ruby", "3.1.2", "--") == (
        [f"gems/{VERSION}/bin", f"gems/{VERSION}@global/bin", f"rubies/{VERSION}/bin"],
        f"gems/{VERSION}", f"gems/{VERSION}:gems/{VERSION}@global",
    )  # fmt: skip
    assert found["MY_RUBY_HOME"] == f"{rvm}/rubies/{VERSION}" and found["RUBY_VERSION"] == VERSION


@pytest.mark.parametrize("file, text", [
    (".ruby-version", "3.1.2@app"), (".versions.conf", "ruby=3.1.2\nruby-gemset=app\n"),
    (".ruby-version", "ruby-3.1.2@app\r\n"),
])  # fmt: skip
def test_rvm_gemset(site, rvm, file, text):
    (site.app / file).write_text(text)
    path, home, gem_path = front(site, rvm, "--ruby", "auto", "--")
    assert home == f"gems/{VERSION}@app" and gem_path == f"{home}:gems/{VERSION}@global"
    assert path[0] == f"{home}/bin"


def test_rvm_gemset_file(site, rvm):
    (site.app / ".ruby-version").write_text("3.1.2\n")
    (site.app / ".ruby-gemset").write_text("app\n")
    assert front(site, rvm, "--ruby", "auto", "--")[1] == f"gems/{VERSION}@app"
    assert front(site, rvm, "--ruby", "3.1.2@global", "--")[1:] == (f"gems/{VERSION}@global",) * 2


GENERATED = (
    'export PATH="{r}/custom/bin:{r}/rubies/ruby-3.1.2/bin:$PATH"\n'
    "export GEM_HOME='{r}/custom'\nexport GEM_PATH='{r}/custom:{r}/more'\n"
    'export MY_RUBY_HOME="{r}/rubies/ruby-3.1.2"\nunset MAGLEV_HOME\nunset RBXOPT\n'
)


def test_rvm_environment_file(site, rvm):
    (rvm / "environments" / VERSION).write_text(GENERATED.format(r=rvm))
    env = {**site.clean, "RBXOPT": "x", "rvm_path": str(rvm)}
    assert front(site, rvm, "--ruby", "3.1.2", "--", env=env) == (
        ["custom/bin", f"rubies/{VERSION}/bin"], "custom", "custom:more")  # fmt: skip
    assert "RBXOPT" not in site.environment_of("--ruby", "3.1.2", "--", env=env)


@pytest.mark.parametrize("line", [
    "rm -rf ~", "touch ran", "export X='1'", "export GEM_HOME=$(touch ran)", 'export GEM_HOME="$(touch ran)"',
    "export GEM_HOME=`touch ran`", "export GEM_HOME='a'; touch ran", "export LD_PRELOAD='/x.so'",
    "unset PATH",
    'export PATH="/evil"', 'export PATH="$(touch ran):$PATH"', "export GEM_HOME='a'b'c'", ". /etc/profile",
])  # fmt: skip
def test_rvm_environment_file_with_another_line(site, rvm, line):
    """scenario 37: not executed, refused as a whole with a warning, and the layout counts."""
    file = rvm / "environments" / VERSION
    file.write_text(GENERATED.format(r=rvm) + line + "\n")
    path, home, _ = front(site, rvm, "--ruby", "3.1.2", "--")
    assert home == f"gems/{VERSION}" and "custom/bin" not in path
    assert not (site.app / "ran").exists()
    warnings = site.steps("warning", "--ruby", "3.1.2", "--", "true")
    assert [subject for subject, _, _ in warnings] == [str(file)]


def test_rvm_aliases(site, rvm):
    aliases = "=\n\n=x\nnoequals\nmine=other\nother=ruby-3.1.2@app\ndefault=ruby-3.1.10\n"
    (rvm / "config/alias").write_text(aliases)
    (site.app / ".ruby-version").write_text("mine\n")
    assert front(site, rvm, "--ruby", "auto", "--")[1] == f"gems/{VERSION}@app"
    (site.app / ".ruby-version").unlink()
    assert site.chosen("ruby") == (f"{rvm}/rubies/ruby-3.1.10", "rvm's default")


LOOPS = ["a=b\nb=a\n", "a=a\n", "\n".join(f"a{n if n else ''}=a{n + 1}" for n in range(50)) + "\n"]


@pytest.mark.parametrize("text", LOOPS, ids=["two", "itself", "fifty"])
def test_rvm_alias_loop(site, rvm, text):
    """scenario 38"""
    (rvm / "config/alias").write_text(text)
    assert "leads on and on" in site.refused("--ruby", "a", "--", "true")


@pytest.mark.parametrize("text", ["a=\n", "=\n", "a=/usr\n", "a=../../x\n", "a=system\n"])
def test_rvm_alias_to_nothing(site, rvm, text):
    """scenario 38: fails closed."""
    (rvm / "config/alias").write_text(text)
    assert "not installed" in site.refused("--ruby", "a", "--", "true")


@pytest.fixture
def nvm(site):
    root = site.home / ".nvm"
    for version in ("v16.20.0", "v18.1.0", "v18.10.0"):
        install(root / "versions/node" / version, interpreter=NODE)
    (root / "alias/lts").mkdir(parents=True)
    return root


@pytest.mark.parametrize("asked, wanted", [
    ("18", "v18.10.0"), ("v18.1", "v18.1.0"), ("lts/hydrogen", "v18.10.0"), ("lts/*", "v18.10.0"),
    ("mine", "v16.20.0"), ("# x\n16 # y\n", "v16.20.0"),
])  # fmt: skip
def test_nvm(site, nvm, asked, wanted):
    aliases = {"lts/hydrogen": "v18.10.0", "lts/*": "lts/hydrogen", "mine": "old", "old": "16"}
    for name, text in aliases.items():
        (nvm / "alias" / name).write_text(text + "\n")
    (site.app / ".nvmrc").write_text(asked)
    assert site.chosen("node")[0] == str(nvm / "versions/node" / wanted)


def test_nvm_default(site, nvm):
    (nvm / "alias/default").write_text("18.1.0\n")
    assert site.chosen("node") == (f"{nvm}/versions/node/v18.1.0", f"{nvm}/alias/default:1")


@pytest.mark.parametrize("aliases", [{"a": "b", "b": "a"}, {"a": "a"}], ids=["two", "itself"])
def test_nvm_alias_loop(site, nvm, aliases):
    """scenario 38"""
    for name, text in aliases.items():
        (nvm / "alias" / name).write_text(text)
    assert "leads on and on" in site.refused("--node", "a", "--", "true")


def tool_versions(site, text):
    path = site.app / ".tool-versions"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text, wanted", [
    ("elixir 18\nruby 3.1.2 # x\n", "3.1.2"), ("# ruby 1\n\truby\t3.1.9 3.1.2\r\n", "3.1.2"),
    ("ruby ref:abc\n", "ref-abc"), ("ruby 3.1 system\n", "3.1.2"), ("ruby 3.9 system\n", None),
    ("ruby 3.1.2\nruby ref:abc\n", "3.1.2"), ("rubyx 1\nruby 3.1.2\n", "3.1.2"),
])  # fmt: skip
def test_tool_versions(site, text, wanted):
    """scenario 39: a list is an order, and "system" counts where it stands."""
    root = site.home / ".asdf/installs/ruby"
    for version in ("3.1.2", "ref-abc"):
        install(root / version)
    tool_versions(site, text)
    assert site.chosen("ruby")[0] == (str(root / wanted) if wanted else "the system's")


@pytest.mark.parametrize("text", [
    "ruby path:/usr\n", "ruby 3.1.2 path:/usr\n", "ruby\n", "ruby ../x\n", "ruby ref:../../x\n",
    "ruby ref:\n",
    "ruby $(id)\n", "ruby 3.1.2\0\n", "ruby -x\n",
])  # fmt: skip
def test_tool_versions_refused(site, text):
    """scenario 39: path: would be a way out of what is installed."""
    install(site.home / ".asdf/installs/ruby/3.1.2")
    path = tool_versions(site, text)
    assert str(path) in site.refused("--", "true")


@pytest.mark.parametrize("text, wanted", [
    ('ruby = "3.1"', "3.1.10"), ('ruby = ["3.1.9", "3.1.2"]', "3.1.2"), ('"ruby" = "3.1.2"', "3.1.2"),
])  # fmt: skip
def test_mise_config(site, text, wanted):
    root = site.home / ".local/share/mise/installs/ruby"
    for version in ("3.1.2", "3.1.10"):
        install(root / version)
    (site.app / "mise.toml").write_text(f"[env]\nX = 'y'\n[tools]\n{text}\n")
    assert site.chosen("ruby") == (str(root / wanted), f"{site.app}/mise.toml:4")


def test_mise_partial_version_is_a_link(site):
    root = site.home / ".local/share/mise/installs/ruby"
    install(root / "3.2.9")
    (root / "3.2").symlink_to("./3.2.9")
    assert site.chosen("ruby", "3.2")[0] in (str(root / "3.2"), str(root / "3.2.9"))


@pytest.mark.parametrize("text", [
    "ruby = 3.1", "ruby = {version = '3.1.2'}", "ruby = ''", "ruby = []", "ruby = ['3.1.2', 1]",
    "ruby = '../x'",
    "ruby = 'x", "ruby = 'path:/usr'", "ruby = '{{exec(command=\"touch ran\")}}'",
])  # fmt: skip
def test_mise_config_refused(site, text):
    install(site.home / ".local/share/mise/installs/ruby/3.1.2")
    (site.app / "mise.toml").write_text(f"[tools]\n{text}\n")
    assert f"{site.app}/mise.toml:2" in site.refused("--", "true")


def test_rbenv_gemsets(site):
    prefix = site.rbenv("3.1.2") / "versions/3.1.2"
    (site.app / ".ruby-version").write_text("3.1.2")
    file = site.app / ".rbenv-gemsets"
    own = f"{site.app}/.gems"
    for text, home, more in (
        ("one\n", "gemsets/one", "gemsets/global"),
        ("one two\nglobal three\n", "gemsets/one", "gemsets/two:gemsets/global:gemsets/three"),
        ("one two -global\n", "gemsets/one", "gemsets/two"), ("-global one two", "gemsets/one", "gemsets/two"),
        ("global", "gemsets/global", ""), (".gems one", own, "gemsets/one:gemsets/global"),
    ):  # fmt: skip
        file.write_text(text)
        path, gem_home, gem_path = front(site, prefix, "--ruby", "auto", "--")
        folders = [home, *more.split(":")] if more else [home]
        assert (gem_home, gem_path) == (home, ":".join(folders)), text
        assert path == [f"{part}/bin" for part in folders if part != own] + ["bin"], text
    file.unlink()
    (site.app / ".ruby-version").write_text("3.1.2@one")
    assert front(site, prefix, "--ruby", "auto", "--")[2] == "gemsets/one:gemsets/global"


@pytest.mark.parametrize("text", ["+x", "one ../two", "one two:three", "one -other"])
def test_rbenv_gemsets_refused(site, text):
    site.rbenv("3.1.2")
    (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / ".rbenv-gemsets").write_text(text)
    assert f"{site.app}/.rbenv-gemsets" in site.refused("--ruby", "auto", "--", "true")


def test_empty_list_of_gemsets(site):
    site.rbenv("3.1.2")
    (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / ".ruby-gemset").write_text("")
    assert "GEM_HOME" not in site.environment_of("--ruby", "auto", "--")


def test_gemset_ends_with_the_rubys_own_gems(site):
    """As with the plugin: what belongs to the ruby stays usable."""
    prefix = site.rbenv("3.1.2") / "versions/3.1.2"
    (prefix / "lib/ruby/gems/3.1.0").mkdir(parents=True)
    found = site.environment_of("--ruby", "3.1.2@one", "--")
    assert found["GEM_PATH"].endswith(f"/gemsets/global:{prefix}/lib/ruby/gems/3.1.0")


def test_rvm_gemset_that_is_missing(site, rvm):
    said = site.refused("--ruby", "rvm:3.1.2@typo", "--", "true")
    assert f"there is no '{rvm}/gems/{VERSION}@typo'" in said and "gemset create" in said
    (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / ".rbenv-gemsets").write_text(".gems")  # another plugin's
    assert "rvm has no gemset like that" in site.refused("--ruby", "auto", "--", "true")


def test_defaults_of_managers(site):
    """Where no project asks: .tool-versions in the home folder, mise's global file, nvm's own aliases."""
    asdf = install(site.home / ".asdf/installs/ruby/3.1.2")
    (site.home / ".tool-versions").write_text("ruby 3.1.2\n")
    assert site.chosen("ruby") == (str(asdf), f"{site.home}/.tool-versions:1")
    mise = install(site.home / ".local/share/mise/installs/python/3.11.2", interpreter=PYTHON)
    (site.home / ".config/mise").mkdir(parents=True)
    (site.home / ".config/mise/config.toml").write_text('[tools]\npython = "3.11.2"\n')
    assert site.chosen("python") == (str(mise), f"{site.home}/.config/mise/config.toml:2")
    for version in ("v18.2.0", "v20.1.0", "v9.0.0"):
        install(site.home / ".nvm/versions/node" / version, interpreter=NODE)
    aliases = site.home / ".nvm/alias"
    (aliases / "lts").mkdir(parents=True)
    (aliases / "lts/hydrogen").write_text("v18.2.0")
    (aliases / "lts/*").write_text("lts/hydrogen")
    for text, version in (("node", "v20.1.0"), ("stable", "v20.1.0"), ("lts/*", "v18.2.0")):
        (aliases / "default").write_text(text)
        assert site.chosen("node")[0].endswith(f"/{version}"), text
        assert site.chosen("node", f"nvm:{text}")[0].endswith(f"/{version}"), text


def test_conda_sets_its_configured_variables(site):
    prefix = install(site.home / "env", interpreter=PYTHON)
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta/state").write_text('{"env_vars": {"FOO": "1", "LD_PRELOAD": "x", "N": 1}}')
    found = site.environment_of("--python", f"conda:{prefix}", "--")
    assert found["FOO"] == "1" and "LD_PRELOAD" not in found and "N" not in found


@pytest.mark.parametrize("text, wanted", [
    ("3.11.4/envs/app", "3.11.4/envs/app"), ("3.11.4\n3.10.2\n", "3.11.4"), ("3.11.4 3.10.2", "3.11.4"),
])  # fmt: skip
def test_pyenv_lists_and_environments(site, text, wanted):
    root = site.home / ".pyenv/versions"
    for version in ("3.11.4", "3.10.2", "3.11.4/envs/app"):
        install(root / version, interpreter=PYTHON)
    (site.app / ".python-version").write_text(text)
    assert site.chosen("python")[0] == f"{root}/{wanted}"


@pytest.mark.parametrize("text", ["3.11.4/envs/../x", "3.11.4/envs/", "/envs/x", "3.11.4/envs/a/b", "3.11.4/bin"])
def test_pyenv_names_that_lead_elsewhere(site, text):
    install(site.home / ".pyenv/versions/3.11.4", interpreter=PYTHON)
    (site.app / ".python-version").write_text(text)
    assert f"{site.app}/.python-version:1" in site.refused("--python", "auto", "--", "true")


def test_folder_of_versions_that_may_not_be_listed(site):
    """Not for this user: entered it can be, by a whole name."""
    versions = site.rbenv("3.1.2") / "versions"
    for folder in (site.folder, site.home, versions.parent, site.app):
        folder.chmod(0o755)
    versions.chmod(0o711)
    words = as_nobody(site.program, "--insecure-paths", "--ruby", "3.1.2", "--", "sh", "-c", "command -v ruby")
    assert site.run(*words).stdout == f"{versions}/3.1.2/bin/ruby\n"


def test_folder_of_versions_that_cannot_be_read(site):
    """What is installed there would be taken for missing."""
    versions = site.rbenv("3.1.2") / "versions"
    versions.rename(site.home / "real")
    versions.symlink_to(versions)
    said = site.refused("--ruby", "3.1.2", "--", "true")
    assert f"cannot list '{versions}'" in said


def test_highest_of_several_folders(site):
    """They are one set; of the same version in both, the more specific one's."""
    for folder, version in ((".rvm", "3.1.10"), (".rvm", "3.1.2"), ("system", "3.1.2")):
        install(site.home / folder / "rubies" / f"ruby-{version}")
    env = {**site.clean, "rvm_path": f"{site.home}/system"}
    for wanted, found in (("3.1", ".rvm/rubies/ruby-3.1.10"), ("3.1.2", "system/rubies/ruby-3.1.2")):
        assert site.chosen("ruby", f"rvm:{wanted}", env=env)[0] == f"{site.home}/{found}"


@pytest.mark.parametrize("file, text", [
    (".ruby-gemset", "../../x"), (".ruby-gemset", "/tmp/x"), (".ruby-gemset", ".."), (".ruby-gemset", "./x"),
    (".rbenv-gemsets", "../x"), (".ruby-version", "3.1.2@../x"),
    (".ruby-version", "3.1.2@.."),
    (".versions.conf", "ruby=3.1.2\nruby-gemset=../../../../x"),
    (".versions.conf", "ruby=3.1.2\nruby-gemset=/tmp/x"),
])  # fmt: skip
def test_gemset_that_leads_elsewhere(site, file, text):
    """scenario 30: what a version file says never becomes a path."""
    site.rbenv("3.1.2")
    if "3.1.2" not in text:
        (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / file).write_text(text)
    assert f"{site.app}/{file}" in site.refused("--", "true")


def test_global_default_of_rbenv(site):
    root = site.rbenv("3.1.2")
    (root / "version").write_text("3.1.2\n")
    assert site.chosen("ruby") == (f"{root}/versions/3.1.2", f"{root}/version:1")
    (root / "version").write_text("../../x\n")
    assert f"{root}/version:1" in site.refused("--ruby", "auto", "--", "true")


def test_conda(site):
    prefix = install(site.home / "conda/envs/two", interpreter=PYTHON)
    found = site.environment_of("--python", f"conda:{prefix}", "--")
    assert found["CONDA_PREFIX"] == str(prefix) and found["PATH"].startswith(f"{prefix}/bin:")


@pytest.mark.parametrize("spec", ["venv:gone", "conda:/gone", "/gone", "rbenv:3.1.2", "x:1", "venv:"])
def test_python_that_is_not_there(site, spec):
    site.refused("--python", spec, "--", "true")


def test_folder(site):
    prefix = install(site.folder / "own")
    assert site.environment_of("--ruby", prefix, "--")["PATH"].startswith(f"{prefix}/bin:")


@pytest.mark.parametrize("place, wanted", [
    (".rubies/ruby-3.1.2", "ruby/3.1.2"), (".rubies/jruby-9.4.0", "jruby/9.4.0"),
    (".rbenv/versions/3.1.2", "ruby/3.1.2"),
    (".rbenv/versions/3.4.0-rc1", "ruby/3.4.0-rc1"),
])  # fmt: skip
def test_gem_home_of_chruby(site, place, wanted):
    prefix = install(site.home / place)
    body = f'command = ["/usr/bin/printenv", "GEM_HOME"]\ngem_home = "chruby"\nruby = "{prefix.name}"'
    assert site.run(site.wrapper(body)).stdout == f"{site.home}/.gem/{wanted}\n"
