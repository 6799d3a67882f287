"""What surrounds the code agrees with it: make, .ci/run, pre-commit, and the files for GitHub."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
TESTS = ROOT / ".github" / "workflows" / "tests.yml"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*_*.yml"))
READ_ONLY = {"contents": "read"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def load(name: str) -> Any:
    return yaml.safe_load(read(name))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


def targets(text: str) -> set[str]:
    """Return what make is told to make, in a script or a workflow."""
    return set(re.findall(r"\bmake ([a-z-]+)", text))


def steps(script: str) -> list[str]:
    """Return the whole lines by which a script makes something, one after another."""
    return re.findall(r"^step (make .+)$", script, re.MULTILINE)


def phony() -> set[str]:
    return set(
        re.findall(r"^\.PHONY: (.+)", read("Makefile").replace("\\\n", " "), re.MULTILINE)[
            0
        ].split()
    )


def test_make_alone_lists_each_target_in_one_line() -> None:
    shown = subprocess.run(
        ["make"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},  # Not as a part of the make that runs the tests.
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    lines = [re.fullmatch(r"([a-z-]+) +(\S.*)", line) for line in shown.stdout.splitlines()]
    assert all(lines)
    names = [line[1] for line in lines if line]
    assert set(names) == phony()
    assert len(names) == len(phony())
    # All else that can be made is a file.
    rules = set(re.findall(r"^([^\s:=#]+):(?!=)", read("Makefile"), re.MULTILINE)) - {".PHONY"}
    assert {rule for rule in rules if "$" not in rule} == phony()


def test_pre_commit_runs_the_fast_part_of_ci() -> None:
    fast = read(".ci/run").partition("# The fast part")[2].partition("\n\n")[0]
    wanted = re.findall(r"^step (.+)", fast, re.MULTILINE)
    assert len(wanted) >= 2
    [repository] = load(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == wanted
    for hook in repository["hooks"]:
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == (
            "system",
            False,
            True,
        )


def test_ci_stops_at_the_first_failure() -> None:
    script = read(".ci/run")
    assert re.findall(r"^ *set .+", script, re.MULTILINE) == ["set -euo pipefail"]
    assert "|| true" not in script
    made = steps(script)
    assert made[0] == "make test"
    # Nothing else makes anything, within a condition or with something behind it.
    assert [f"make {target}" for target in re.findall(r"\bmake ([a-z-]+)", script)] == made
    assert targets(script) <= phony()


def test_the_workflow_runs_what_ci_runs() -> None:
    # A job for each environment: the test of the matrix compares these with those of tox.
    matrix = 'make matrix ARGS="-e ${{ matrix.environment }}"'
    commands = [
        "make matrix" if step["run"] == matrix else step["run"].removeprefix("sudo ")
        for job in jobs(TESTS).values()
        for step in job["steps"]
        if "run" in step
    ]
    made = {command for command in commands if "make" in command}
    assert made == set(steps(read(".ci/run")))
    prepared = re.findall(r"^ +step (.+)$", read(".ci/run"), re.MULTILINE)
    assert set(commands) - made <= set(prepared)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_part_of_a_workflow_is_skipped_or_may_fail(path: Path) -> None:
    for name, job in jobs(path).items():
        for part in [job, *job.get("steps", [])]:
            assert not {"if", "continue-on-error"} & part.keys(), (name, part)


def test_the_workflow_runs_the_matrix_of_tox() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lowest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"].lstrip(">=")
    rows = load(".github/workflows/tests.yml")["jobs"]["matrix"]["strategy"]["matrix"]["include"]
    assert [row["environment"] for row in rows] == setup["tox:tox"]["env_list"].split()
    for row in rows:
        name = re.match(r"py(\d)(\d+)-", row["environment"])
        assert row["python"] == (f"{name[1]}.{name[2]}" if name else lowest)


def test_the_workflow_has_the_databases_of_compose() -> None:
    services = load(".github/workflows/tests.yml")["jobs"]["databases"]["services"]
    assert {
        name: (service["image"], service["env"], service["ports"])
        for name, service in services.items()
    } == {
        name: (service["image"], service["environment"], service["ports"])
        for name, service in load("compose.yaml")["services"].items()
    }
    # Without one the steps begin before a database listens.
    assert all("--health-cmd " in service["options"] for service in services.values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_action_is_pinned(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text())
    assert used
    for action in used:
        if action != "./.github/workflows/tests.yml":
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_an_action_is_pinned_to_one_version() -> None:
    used = {
        action for path in WORKFLOWS for action in re.findall(r"uses: (\S+@.+)", path.read_text())
    }
    assert len(used) == len({action.partition("@")[0] for action in used})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_no_more(path: Path) -> None:
    text = path.read_text()
    assert yaml.safe_load(text)["permissions"] == READ_ONLY
    granted = {name: job["permissions"] for name, job in jobs(path).items() if "permissions" in job}
    expected = {"publish": {"id-token": "write"}} if path.stem == "release" else {}
    assert granted == expected
    assert "secrets" not in text
    assert "pull_request_target" not in text
    assert not re.search(r"run:.*\$\{\{ *(github|inputs)", text)
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    for name, job in jobs(path).items():
        assert "uses" in job or job["timeout-minutes"] <= 30, name


def test_a_release_publishes_what_was_built_and_tested_once() -> None:
    release = load(".github/workflows/release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true.
    tests, build, publish = (release["jobs"][name] for name in ("tests", "build", "publish"))
    assert (tests["uses"], build["needs"]) == ("./.github/workflows/tests.yml", "tests")
    checks = [step for step in build["steps"] if step.get("run") == "make release-check"]
    assert [step["env"] for step in checks] == [{"RELEASE_TAG": "${{ github.ref_name }}"}]
    assert (publish["needs"], publish["environment"]) == ("build", "pypi")
    assert not [step for step in publish["steps"] if "run" in step]
    sent, received = artifact(build, "upload"), artifact(publish, "download")
    assert (sent["name"], sent["path"]) == (received["name"], received["path"])


def artifact(job: dict[str, Any], direction: str) -> dict[str, str]:
    """Return what the one step of a job is given that loads files up or down."""
    action = f"actions/{direction}-artifact@"
    [given] = [step["with"] for step in job["steps"] if action in step.get("uses", "")]
    return dict(given)


def test_the_tests_run_for_each_change_each_week_on_demand_and_for_a_release() -> None:
    triggers = load(".github/workflows/tests.yml")[True]
    [schedule] = triggers.pop("schedule")
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])
    assert triggers == {
        "push": {"branches": ["main"]},
        "pull_request": None,
        "workflow_dispatch": None,
        "workflow_call": None,
    }


def test_dependabot_looks_weekly_and_leaves_the_lowest_versions_alone() -> None:
    updates = {
        entry["package-ecosystem"]: entry for entry in load(".github/dependabot.yml")["updates"]
    }
    assert set(updates) == {"pip", "github-actions"}
    assert {entry["schedule"]["interval"] for entry in updates.values()} == {"weekly"}
    assert updates["pip"]["versioning-strategy"] == "increase-if-necessary"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_accepts(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for part in form["body"]:
        assert ("value" if part["type"] == "markdown" else "label") in part["attributes"]
        assert part["type"] in {"markdown", "textarea", "input"}


@pytest.mark.parametrize(
    "name",
    ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", ".github/PULL_REQUEST_TEMPLATE.md"],
)
def test_a_document_names_files_and_targets_that_exist(name: str) -> None:
    text = read(name)
    assert targets(" ".join(re.findall(r"`(make [a-z-]+)", text))) <= phony()
    for path in re.findall(r"`([\w./-]+/[\w./-]*|[A-Z_]+\.md)`", text):
        assert (ROOT / path).exists() or (ROOT / "django_iletimerkezi" / path).exists(), path
    for path in re.findall(r"`(test_\w+\.py)`", text):
        assert (ROOT / "tests" / path).exists(), path
    for path, test in re.findall(r"ARGS=([\w/]+\.py)(?:::(\w+))?", text):
        assert not test or f"def {test}(" in read(path), test
        assert (ROOT / path).exists(), path
    for url in re.findall(r"DATABASES=([^\s`]+)", text):
        assert url in read("Makefile"), url
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / name).parent.joinpath(link).exists(), link
