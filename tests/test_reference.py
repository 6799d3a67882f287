"""The reference and the READMEs name everything that exists, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandParser, load_command_class
from django.db.models import Model
from django.test import override_settings

from django_iletimerkezi import checks, exceptions
from django_iletimerkezi.conf import Settings, conf
from django_iletimerkezi.models import Fetch, Group

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.tr.md"]
NONE = {"en": "none", "tr": "yok"}

both_languages = pytest.mark.parametrize("code", ["en", "tr"])


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(page: str) -> list[list[str]]:
    """Return the cells of all tables of a page by row, without the header rows."""
    tables = re.findall(r"^\|[-|]+\n((?:\|.+\n)+)", read(page), re.MULTILINE)
    return [
        [cell.strip() for cell in row.strip("|").split("|")]
        for table in tables
        for row in table.splitlines()
    ]


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def parser(command: str) -> CommandParser:
    """Return the parser of a command. It refuses abbreviated options."""
    made = load_command_class("django_iletimerkezi", command)
    return made.create_parser("manage.py", command, allow_abbrev=False)


@both_languages
def test_each_setting_is_documented_with_its_default_and_range(code: str) -> None:
    documented = {row[0].strip("`"): row[1:] for row in rows(f"docs/{code}/reference/settings.md")}
    attributes = {
        f"ILETIMERKEZI_{name.upper()}": name
        for name, member in vars(Settings).items()
        if isinstance(member, property) and not name.startswith(("has", "is", "effective"))
    }
    assert documented.keys() == attributes.keys()
    for setting, (default, description) in documented.items():
        value = getattr(conf, attributes[setting])
        assert default == (f"`{value}`" if value else NONE[code])
        if isinstance(value, int):
            with override_settings(**{setting: -1}), pytest.raises(ImproperlyConfigured) as caught:
                getattr(conf, attributes[setting])
            assert numbers(description) == numbers(str(caught.value)), setting


@both_languages
def test_each_error_code_is_documented_with_its_exception(code: str) -> None:
    documented = {
        int(number): row[1].strip("`")
        for row in rows(f"docs/{code}/reference/exceptions.md")
        for number in re.findall(r"\b\d{3}\b", row[0])
    }
    assert documented == {
        number: type(exceptions.error_for(number, "")).__name__ for number in documented
    }
    assert exceptions._BY_CODE.keys() <= documented.keys()


@both_languages
def test_each_exception_is_documented(code: str) -> None:
    page = read(f"docs/{code}/reference/exceptions.md")
    for name, member in vars(exceptions).items():
        if isinstance(member, type) and issubclass(member, exceptions.IletimerkeziError):
            assert f"`{name}`" in page


@both_languages
def test_each_system_check_is_documented(code: str) -> None:
    ids = ["W001", "W002", "W003", "E001", *(number for number, _hint in checks._HINTS.values())]
    documented = [row[0] for row in rows(f"docs/{code}/reference/checks.md")]
    assert documented == [f"`{checks.TAG}.{number}`" for number in ids]


@both_languages
@pytest.mark.parametrize("model", [Group, Fetch])
def test_each_url_name_and_permission_of_the_admin_is_documented(
    code: str, model: type[Model]
) -> None:
    page = read(f"docs/{code}/reference/admin.md")
    options = model._meta
    name = options.model_name
    documented = set(re.findall(rf"\b{checks.TAG}_{name}_[a-z]+\b", page))
    urls = {url.name for url in admin.site._registry[model].get_urls() if url.name}
    # Django has a page for adding, which nobody may open.
    assert documented == urls - {f"{checks.TAG}_{name}_add"}
    permissions = {f"{action}_{name}" for action in options.default_permissions}
    permissions |= {codename for codename, _name in options.permissions}
    assert set(re.findall(rf"`{checks.TAG}\.(\w+_{name})`", page)) == permissions


@both_languages
def test_the_documented_cron_line_has_a_valid_command(code: str) -> None:
    line = r"^[\d*]+ .* manage\.py (\w+) (.+)$"
    [(name, arguments)] = re.findall(line, read(f"docs/{code}/how-to/schedule.md"), re.MULTILINE)
    parser(name).parse_args(arguments.split())


@pytest.mark.parametrize("page", READMES)
def test_command_options_in_a_readme_exist(page: str) -> None:
    options = re.findall(r"(--\w+(?: \w+)?)`", read(page))
    assert options
    for option in options:
        parser("fetch_group").parse_args(["5", *option.replace("N", "1").split()])


@pytest.mark.parametrize("page", READMES)
def test_a_readme_names_the_supported_versions(page: str) -> None:
    classifiers = " ".join(tomllib.loads(read("pyproject.toml"))["project"]["classifiers"])
    pythons, djangos = (
        re.findall(rf"{what} :: (\d\.\d+)", classifiers) for what in ("Python", "Django")
    )
    line = r"(?m)^Python ([\d.]+)\D+([\d.]+), Django ([\d.]+)\D+([\d.]+),"
    documented = re.findall(line, read(page))
    assert documented == [(pythons[0], pythons[-1], djangos[0], djangos[-1])]
