"""What the documentation says of the code is true."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from edx_event_bus_redis.internal import log_lines
from edx_event_bus_redis.internal.log_lines import Line
from tests.support.pages import ROOT, literals_in, rows_of, text_of

LINES = {value.name: value for value in vars(log_lines).values() if isinstance(value, Line)}
LEVELS = {20: "info", 30: "warning", 40: "error", 50: "critical"}


def documented_lines() -> dict[str, tuple[str, str]]:
    """Level and words of each line in the tables of the operator's page, by its name."""
    found = {}
    for row in rows_of("docs/operations.rst"):
        named = re.fullmatch(r"``(\w+)`` \((\w+)\)", row[0])
        if named:
            found[named[1]] = (named[2], row[1])
    return found


def test_every_line_of_the_log_is_documented() -> None:
    """There is a row for each kind of line, and none for another."""
    assert documented_lines().keys() == LINES.keys()


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_the_log_has_the_documented_words(name: str) -> None:
    """Level and words in the operator's page are those that are logged."""
    words = re.sub(r"%\((\w+)\)[.\d]*[sdrf]", r"<\1>", LINES[name].words).replace("\n", " ")

    assert documented_lines()[name] == (LEVELS[LINES[name].level], words)


@pytest.mark.parametrize("page", ["README.rst", "CONTRIBUTING.rst", "CHANGELOG.rst"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    """What links of a page that is no part of the site's directory lead to is in the repository."""
    links = re.findall(r"<([\w/.-]+)>`_", re.sub(r"``.+?``", "", text_of(page)))

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_leads_to_every_page_but_those_of_others() -> None:
    """Each page to look up and each explanation is linked from the README."""
    linked = set(re.findall(r"<(docs/[\w/.-]+\.rst)>`_", text_of("README.rst")))
    pages = {
        path.relative_to(ROOT).as_posix()
        for part in ("reference", "explanation")
        for path in (ROOT / "docs" / part).glob("*.rst")
    }

    assert pages <= linked


def test_the_readme_boasts_of_what_was_measured() -> None:
    """The ratios in the README are in the table of what was measured."""
    measured = {row[2].partition(" ")[0] for row in rows_of("docs/performance.rst") if len(row) == 5}
    ratios = re.findall(r"(\d+\.\d+) times", text_of("README.rst"))

    assert len(ratios) >= 4
    assert set(ratios) <= measured


def test_the_faults_page_names_lines_that_there_are() -> None:
    """What the table of faults says that the log says is in the catalogue."""
    named = {name for row in rows_of("docs/explanation/faults.rst") for name in literals_in(row[2])}

    assert named
    assert named <= LINES.keys() | {"consuming_failed", "producing_failed"}


def definitions(file: Path) -> set[str]:
    """Return what a file defines: classes and functions, and methods behind the name of their class."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found |= {node.name, *(f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name"))}
    return found


def test_the_way_through_the_code_leads_to_what_there_is() -> None:
    """Each file on the page about the internals exists, and has what the page names behind it."""
    page = " ".join(text_of("docs/internals.rst").split())
    files = dict(re.findall(r"\.\. _(\S+): \.\./(\S+)", page))
    named = [(file, literals_in(names)) for file, names in re.findall(r"`(\S+\.py)`_(?: \((.*?)\))?", page)]

    assert files.keys() == {file for file, _ in named}
    for file, names in named:
        assert set(names) <= definitions(ROOT / files[file]), file


def test_hooks_before_a_commit_are_what_quality_is() -> None:
    """.pre-commit-config.yaml runs the commands of ``make quality``, in their order."""
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    hooks = [hook["entry"] for hook in repository["hooks"]]
    makefile = text_of("Makefile")
    variables = dict(re.findall(r"^(SITE) = (.*)$", makefile, re.MULTILINE))
    recipe = re.search(r"^quality:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    commands = [variables.get(line.strip("\t$()"), line.strip()) for line in recipe[1].splitlines()]

    assert hooks == [command.replace("$(BIN)/", "").replace("$(PY)", "python") for command in commands]
