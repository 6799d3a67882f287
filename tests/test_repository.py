"""CI, the GitHub workflows and the contributor documents agree with make and tox."""

from __future__ import annotations

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from .test_packaging import environments

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
TESTS, RELEASE = (GITHUB / "workflows" / name for name in ("tests.yml", "release.yml"))
DOCUMENTS = ["CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md"]
BUILT = ("build/", "dist/")

each_workflow = pytest.mark.parametrize("path", [TESTS, RELEASE], ids=lambda path: path.stem)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def load(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = load(path)["jobs"]
    return found


def targets(text: str, before: str = "") -> set[str]:
    """Return the make targets that a text names after a prefix."""
    return set(re.findall(rf"{before}\bmake ([a-z-]+)", text))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):(?!=)", read("Makefile"), re.MULTILINE))


def test_ci_and_the_github_workflow_run_the_same_make_targets() -> None:
    made = targets(read(".ci/run"), "step ")
    assert made == targets(TESTS.read_text(), "run: ")
    assert targets(read(".pre-commit-config.yaml"), "entry: ") <= made <= makefile_targets()


def test_read_the_docs_serves_what_make_docs_builds() -> None:
    commands = load(ROOT / ".readthedocs.yaml")["build"]["commands"]
    assert [targets(command) for command in commands] == [{"docs"}, set(), set()]
    assert commands[-1] == 'cp -r build/docs "$READTHEDOCS_OUTPUT/html"'


def test_the_github_workflow_runs_each_tox_environment() -> None:
    lowest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"].lstrip(">=")
    rows = jobs(TESTS)["matrix"]["strategy"]["matrix"]["include"]
    assert sorted(row["environment"] for row in rows) == sorted(environments())
    for row in rows:
        version = re.match(r"py(\d)(\d+)-", row["environment"])
        assert row["python"] == (f"{version[1]}.{version[2]}" if version else lowest)


def test_the_github_workflow_uses_the_databases_and_queues_of_compose() -> None:
    composed = load(ROOT / "compose.yaml")["services"]
    served = jobs(TESTS)["engines"]["services"] | jobs(TESTS)["databases"]["services"]
    assert {name: (row["image"], row["ports"]) for name, row in served.items()} == {
        name: (row["image"], row["ports"]) for name, row in composed.items()
    }
    databases = [composed[name] for name in jobs(TESTS)["databases"]["services"]]
    ports = {port.split(":")[1] for row in databases for port in row["ports"]}
    for text in (read("Makefile") + TESTS.read_text(), read("CONTRIBUTING.md") + read("Makefile")):
        assert set(re.findall(r"://\w+@127\.0\.0\.1:(\d+)/", text)) == ports


@each_workflow
def test_github_actions_are_pinned_to_commits(path: Path) -> None:
    for action in re.findall(r"uses: ([^.\n].+)", path.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


@each_workflow
def test_workflows_have_read_only_permissions_except_for_publishing(path: Path) -> None:
    assert load(path)["permissions"] == {"contents": "read"}
    granted = {name: job.get("permissions") for name, job in jobs(path).items()}
    assert granted == dict.fromkeys(granted) | (
        {"publish": {"id-token": "write"}} if path == RELEASE else {}
    )
    unsafe = r"secrets|pull_request_target|run:.*\$\{\{ *(github|inputs)"
    assert not re.search(unsafe, path.read_text())


def test_a_release_is_tested_and_checked_before_publication() -> None:
    tests, build, publish = (jobs(RELEASE)[name] for name in ("tests", "build", "publish"))
    assert (publish["needs"], build["needs"]) == ("build", "tests")
    assert tests["uses"] == "./.github/workflows/tests.yml"
    [check] = [step for step in build["steps"] if "run" in step]
    assert check["run"] == "make release-check"
    assert check["env"] == {
        "RELEASE_TAG": "${{ github.ref_name }}",
        "REPOSITORY_URL": "${{ github.server_url }}/${{ github.repository }}",
    }


def test_issue_forms_have_the_fields_that_github_requires() -> None:
    for form in map(load, (GITHUB / "ISSUE_TEMPLATE").glob("*_*.yml")):
        assert {"name", "description", "body"} <= form.keys()
        for part in form["body"]:
            assert ("value" if part["type"] == "markdown" else "label") in part["attributes"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_mention_only_files_tests_and_make_targets_that_exist(name: str) -> None:
    text = read(name)
    assert targets(text, "`") <= makefile_targets()
    for path in re.findall(r"`([\w./-]+/[\w./-]*|[A-Z_]+\.md)`", text):
        if not path.startswith(BUILT):
            assert (ROOT / path).exists() or (ROOT / "django_iletimerkezi" / path).exists(), path
    for path, test in re.findall(r"ARGS=([\w/]+\.py)(?:::(\w+))?", text):
        assert f"def {test}" in read(path)


def test_the_map_in_contributing_lists_exactly_the_existing_modules() -> None:
    drawing = read("CONTRIBUTING.md").split("```")[1]
    assert "django_iletimerkezi/" in drawing
    package = ROOT / "django_iletimerkezi"
    modules = [
        path.name
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and path.parent.name not in {"commands", "migrations"}
    ]
    drawn = re.findall(r"^ +(\w+\.py) ", drawing, re.MULTILINE)
    assert sorted(drawn) == sorted([*modules, "__init__.py"])
    commands = {path.stem for path in (package / "management/commands").glob("[a-z]*.py")}
    assert commands == set(re.findall(r"\w+", drawing.split("commands/")[1].split("\n")[0]))


def test_the_layers_in_contributing_match_the_layers_that_lint_checks() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    layers = setup["importlinter:contract:layers"]["layers"].strip().replace(" : ", ", ")
    assert f"```\n{layers}\n```" in read("CONTRIBUTING.md")
