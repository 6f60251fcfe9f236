"""--help, manual page, completions and version of every program say the same."""

import re

import pytest

from conftest import ROOT, needs

PROGRAMS = ("drover-companions", "drover-ctl", "drover-doctor", "drover-exec", "drover-herd", "drover-hold",
            "drover-wait", "drover-ls")
PAGES = sorted((ROOT / "tools" / "man").glob("*.scd"))
COMPLETIONS = ROOT / "tools" / "completions"
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS",
            "NOTES", "EXAMPLES", "SEE ALSO"]
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")
VALUE = re.compile(r"(?:--[\w-]+) ([A-Za-z|]+)")


def test_every_program_is_here():
    """A new program needs a page, completions, and its name in this file."""
    sources = {path.stem for path in (ROOT / "tools").glob("drover-*.cpp")}
    assert sources == set(PROGRAMS)
    assert {path.name.split(".")[0] for path in PAGES} == set(PROGRAMS) | {"drover", "drover-control"}
    assert {path.name for path in (COMPLETIONS / "bash").iterdir()} == set(PROGRAMS)
    assert {path.name for path in (COMPLETIONS / "zsh").iterdir()} == {f"_{name}" for name in PROGRAMS}
    assert {path.name for path in (COMPLETIONS / "fish").iterdir()} == {f"{name}.fish" for name in PROGRAMS}


@pytest.fixture(params=PROGRAMS)
def program(request):
    return request.param


@pytest.fixture
def help_text(run, program):
    result = run(program, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def options(help_text):
    """{name: whether it takes a value} of every name of every option in --help."""
    found = {}
    for line in help_text.split("\nOptions:\n")[1].splitlines():
        if re.match(r" {2,6}-", line):
            names = line.split("  -", 1)[1].split("   ")[0]
            takes_value = bool(VALUE.search("-" + names))
            found.update((name, takes_value) for name in OPTION.findall("-" + names))
    assert {"-h", "--help", "--version", "-q", "--quiet", "-v", "--verbose"} <= set(found)
    return found


def page(program):
    return (ROOT / "tools" / "man" / f"{program}.1.scd").read_text()


def section(text, name):
    return text.split(f"\n# {name}\n", 1)[1].split("\n# ", 1)[0]


def test_help_fits_one_screen_and_leads_with_examples(help_text, program):
    lines = help_text.splitlines()
    assert lines[0].startswith(f"Usage: {program} ")
    assert [line for line in lines if len(line) > 80] == []
    assert len(lines) <= 40
    assert lines.index("Examples:") < lines.index("Options:")
    assert lines[-1] == f"See {program}(1)."


def test_version_is_the_projects(run, program):
    project = re.search(r"project\(drover VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    result = run(program, "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{program} (drover) {project.group(1)}\n"


def test_changelog_has_this_version():
    project = re.search(r"project\(drover VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    assert f"\n## [{project.group(1)}]" in (ROOT / "CHANGELOG.md").read_text()


def test_page_has_the_options_of_help(program, options):
    heads = re.findall(r"^\*-.*$", section(page(program), "OPTIONS"), re.M)
    in_page = {name: "_" in line or "|" in line for line in heads for name in OPTION.findall(line)}
    assert in_page == options


def test_page_has_every_section_in_order(program):
    assert re.findall(r"^# (.*)$", page(program), re.M) == SECTIONS


def test_page_names_every_exit_code_of_the_program(program):
    """What a wrapper exits with is the command's, so the page of drover-hold names only its own."""
    codes = re.findall(r"^\*(\d[\d+n]*)\*$", section(page(program), "EXIT STATUS"), re.M)
    common = ["0", "1", "64", "66", "71", "73", "77"]
    assert codes == {
        "drover-companions": ["0", "64", "65", "66", "71", "73", "77"],
        "drover-ctl": [*common[:3], "65", "69", *common[4:]],
        "drover-doctor": [*common[:6], "75", "77", "78", "126", "127", "128+n"],
        "drover-exec": ["125", "126", "127", *common[:3], "65", *common[3:], "78"],
        "drover-herd": ["0", "1", "64", "71", "73", "77", "78", "126", "127", "128+n"],
        "drover-hold": ["1", "125", "126", "127", "128+n"],
        "drover-wait": [*common, "78", "128+n"],
        "drover-ls": common,
    }[program]


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_page_is_clean(run, folder, source):
    needs("scdoc", "mandoc")
    with source.open() as text:
        built = run("scdoc", stdin=text)
    assert (built.returncode, built.stderr) == (0, "")
    (folder / "page").write_text(built.stdout)
    lint = run("mandoc", "-T", "lint", "-W", "error", folder / "page")
    assert (lint.returncode, lint.stdout) == (0, "")


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_page_refers_to_pages_that_exist(source):
    ours = {path.name.removesuffix(".scd") for path in PAGES}
    named = set(re.findall(r"\*(drover[\w-]*)\*\((\d)\)", source.read_text()))
    assert named and {f"{name}.{number}" for name, number in named} <= ours


def bash_replies(run, program, *words):
    """What bash offers for the last of the words."""
    script = COMPLETIONS / "bash" / program
    result = run(
        "bash", "--norc", "-c",
        f'. "{script}"; complete -p {program} >/dev/null || exit 9; COMP_WORDS=("$@")\n'
        f"COMP_CWORD=$(($# - 1)); _{program.replace('-', '_')}; wait; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        "bash", program, *words,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return set(result.stdout.split())


def fish_replies(run, program, *words):
    result = run("fish", "--no-config", "-c",
                 f"source {COMPLETIONS}/fish/{program}.fish; complete -C '{' '.join((program, *words))}'")
    assert (result.returncode, result.stderr) == (0, "")
    return {line.split("\t")[0] for line in result.stdout.splitlines()}


# Zsh completes only where a line is edited: it does so in a terminal of its own and says what was found.
ZSH = r"""
zmodload zsh/zpty
folder=$1; shift
zpty shell exec zsh -f -i
zpty -w shell "PROMPT= fpath=($folder \$fpath); autoload -U compinit; compinit -u -D"
zpty -w shell 'compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a found
  builtin compadd -A found "$@"
  print -r -l -- FOUND=$^found
  builtin compadd "$@"
}
finish() { compstate[list]= compstate[insert]=; print -r -- FINISHED; exit }
comppostfuncs=(finish)
zstyle ":completion:*" completer _complete
bindkey "^I" complete-word
print -r -- READY'
zpty -r shell text '*READY*READY*'
zpty -w -n shell "$*"$'\t'
zpty -r shell text '*FINISHED*'
print -r -- "$text"
while zpty -r shell text; do :; done
"""


def zsh_replies(run, program, *words):
    result = run("zsh", "-f", "-c", ZSH, "zsh", COMPLETIONS / "zsh", program, *words)
    assert (result.returncode, result.stderr) == (0, "")
    return set(re.findall(r"FOUND=(\S+)", result.stdout))


def test_bash_completes_the_options_of_help(run, program, options):
    assert bash_replies(run, program, "-") == set(options)


def test_fish_completes_the_options_of_help(run, program, options):
    needs("fish")
    assert fish_replies(run, program, "-") == set(options)
    script = (COMPLETIONS / "fish" / f"{program}.fish").read_text()
    for name, takes_value in options.items():
        if name.startswith("--"):
            line = re.search(rf"^complete .* -l {name[2:]} .*$", script, re.M).group(0)
            assert (" -x " in line or " -r " in line) == takes_value, line


def test_zsh_completes_the_options_of_help(run, program, options):
    needs("zsh")
    assert zsh_replies(run, program, "-") == set(options)
    script = COMPLETIONS / "zsh" / f"_{program}"
    parsed = run("zsh", "-n", script)
    assert (parsed.returncode, parsed.stderr) == (0, "")
    text = script.read_text()
    assert text.startswith(f"#compdef {program}\n")
    specs = re.findall(r"^ +'?\*?(?:\([^)]*\)'?)?(\{[^}]*\}|-{1,2}[\w-]+=?)", text, re.M)
    found = {name: spec.find(name + "=") >= 0 or spec.find(name + "+") >= 0
             for spec in specs for name in OPTION.findall(spec)}
    assert found == options


@pytest.fixture
def files(folder):
    (folder / "app.pid").touch()
    (folder / "app.pid.lock").touch()


COMPLETION_CASES = [
    (("drover-hold", "--fd", ""), {"high", "low"}),
    (("drover-hold", "-x", "-w", "5", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-hold", "app.pid.lock", "mktem"), {"mktemp"}),
    (("drover-hold", "app.pid.lock", "--", "mktem"), {"mktemp"}),
    (("drover-hold", "app.pid.lock", "cat", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-hold", "--pidfile", "app.pid", "mktem"), {"mktemp"}),
    (("drover-hold", "--pidfile", "app.pid", "--gu"), {"--guard"}),
    (("drover-ctl", "rel"), {"reload", "release"}),
    (("drover-ctl", "-w", "5s", "sta"), {"status", "start"}),
    (("drover-ctl", "-p", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-ctl", "signal", "QU"), {"QUIT"}),
    (("drover-ctl", "reload", "--js"), {"--json"}),
    (("drover-doctor", "--dialect", "pu"), {"puma"}),
    (("drover-doctor", "--pidfile", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-doctor", "--json", "-p", "app.pid", "mktem"), {"mktemp"}),
    (("drover-doctor", "-p", "app.pid", "--", "cat", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-exec", "--print-hook", "un"), {"unicorn"}),
    (("drover-exec", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-exec", "--", "mktem"), {"mktemp"}),
    (("drover-herd", "--retire", "one"), {"one-by-one"}),
    (("drover-herd", "--pidfile", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-herd", "--pidfile", "app.pid", "mktem"), {"mktemp"}),
    (("drover-herd", "--pidfile", "app.pid", "--", "cat", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-wait", "--stop-signal", "QU"), {"QUIT"}),
    (("drover-wait", "--relay", "app"), {"app.pid", "app.pid.lock"}),
    (("drover-ls", "--tree", "app"), {"app.pid", "app.pid.lock"}),
]
each_case = pytest.mark.parametrize("words, expected", COMPLETION_CASES,
                                    ids=[" ".join(words) for words, _ in COMPLETION_CASES])


@each_case
@pytest.mark.usefixtures("files")
def test_bash_completes(run, words, expected):
    assert bash_replies(run, *words) == expected


@each_case
@pytest.mark.usefixtures("files")
def test_fish_completes(run, words, expected):
    needs("fish")
    assert fish_replies(run, *words) == expected


@each_case
@pytest.mark.usefixtures("files")
def test_zsh_completes(run, words, expected):
    needs("zsh")
    assert zsh_replies(run, *words) == expected


@pytest.mark.usefixtures("files")
def test_bash_completes_a_value_after_an_equals_sign(run):
    """Bash hands "--fd=l" over as three words."""
    assert bash_replies(run, "drover-hold", "--fd", "=", "l") == {"low"}
    assert bash_replies(run, "drover-hold", "--pidfile", "=", "app.pid", "mktem") == {"mktemp"}


@pytest.mark.parametrize("script", sorted((COMPLETIONS / "bash").iterdir()), ids=lambda path: path.name)
def test_bash_scripts_pass_shellcheck(run, script):
    needs("shellcheck")
    result = run("shellcheck", "-s", "bash", script)
    assert (result.returncode, result.stdout) == (0, "")


README = (ROOT / "README.md").read_text()
REPLACING = (ROOT / "docs" / "replacing.md").read_text()
RECIPE = re.compile(r"^From \[(.*?)\]\((?:\.\./)?\1\):\n\n```\w*\n(.*?)^```$", re.M | re.S)
RECIPES = RECIPE.findall(README) + RECIPE.findall(REPLACING)


def test_readme_quotes_recipes():
    assert len(RECIPES) >= 5
    assert len(RECIPES) == README.count("\nFrom [") + REPLACING.count("\nFrom [")


def test_options_in_the_page_on_replacing_exist(run):
    """In each cell or line that begins with a program of ours; behind a word of the server's they are its own."""
    commands = re.findall(r"^(drover-[a-z]+ [^`\n]*)$|`(?:command=)?(drover-[a-z]+ [^`\n]*)`", REPLACING, re.M)
    assert len(commands) >= 6
    for command in (one or other for one, other in commands):
        program, *words = command.split()
        text = run(program, "--help").stdout
        for word in words:
            if word.startswith("-"):
                assert re.search(rf"(?<![\w-]){word}(?![\w-])", text), command
            elif word in ("gunicorn", "bundle", "COMMAND"):
                break


@pytest.mark.parametrize("source, recipe", RECIPES, ids=lambda value: value.split("\n")[0])
def test_readme_recipe_is_in_its_example(source, recipe):
    """The README leaves lines out; what it prints is the file's text, in the file's order."""
    lines = iter((ROOT / source).read_text().splitlines())
    for wanted in filter(None, recipe.splitlines()):
        assert wanted in lines, f"{source} has no such line (or not there): {wanted}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/replacing.md",
                                      "examples/herd/README.md"])
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text())
    place = (ROOT / document).parent
    missing = [name for name in targets if "://" not in name and not (place / name).exists()]
    assert missing == []


def test_no_manual_page_loses_a_dot():
    """A dot at the start of a line begins a request of roff's: scdoc drops it."""
    for page in (ROOT / "tools/man").glob("*.scd"):
        text = re.sub(r"^\t*```.*?^\t*```", "", page.read_text(), flags=re.M | re.S)
        assert not re.findall(r"^[ \t]*\.\S.*", text, re.M), page.name
