"""The Turkish catalogue is complete, compiled and in use, and has no obsolete texts."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import django
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from django.apps import apps
from django.db.models import Model
from django.utils.translation import override

import django_iletimerkezi
from django_iletimerkezi.exceptions import GroupNotFound, ServiceUnavailable
from django_iletimerkezi.management.trees import arranged, text_lines
from django_iletimerkezi.models import Group

PACKAGE = Path(django_iletimerkezi.__file__).parent
CATALOGUE = PACKAGE / "locale" / "tr" / "LC_MESSAGES" / "django"
KEYWORDS = {
    **DEFAULT_KEYWORDS,
    "gettext_noop": None,
    "gettext_lazy": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-+ #0]*[\d.*]*[a-zA-Z%]")


def in_source() -> set[tuple[str | None, tuple[str, ...]]]:
    """Return context and forms of each text that the package marks for translation."""
    methods = [("**.py", "python"), ("templates/**.html", "tools.extraction:extract_templates")]
    marked = extract_from_dir(PACKAGE, methods, keywords=KEYWORDS)
    return {(context, _forms(text)) for _file, _line, text, _comments, context in marked}


def translated() -> Catalog:
    with CATALOGUE.with_suffix(".po").open("rb") as file:
        return read_po(file, locale="tr")


def turkish(text: str) -> str:
    message = translated()[text]
    assert isinstance(message.string, str)
    return message.string


def messages(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id]


def content(compiled: bytes) -> dict[tuple[str | None, tuple[str, ...]], tuple[str, ...]]:
    return {
        (message.context, _forms(message.id)): _forms(message.string)
        for message in messages(read_mo(BytesIO(compiled)))
    }


def _forms(text: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(text) if isinstance(text, list | tuple) else (text or "",)


def test_the_catalogue_contains_exactly_the_texts_marked_for_translation() -> None:
    marked = in_source()
    assert (None, ("contact group",)) in marked
    catalogue = translated()
    assert {(message.context, _forms(message.id)) for message in messages(catalogue)} == marked
    assert not catalogue.obsolete


def test_each_text_has_a_translation_that_is_not_fuzzy() -> None:
    for message in messages(translated()):
        assert all(form.strip() for form in _forms(message.string)), message.id
        assert not message.fuzzy, message.id


def test_the_text_extraction_covers_every_file_with_translatable_texts() -> None:
    assert (None, ("Expand all",)) in in_source()
    templates = set((PACKAGE / "templates").rglob("*.html"))
    assert set(PACKAGE.rglob("*.html")) == templates
    assert not list(PACKAGE.rglob("*.txt"))
    assert not [path for path in PACKAGE.rglob("*.js") if "gettext" in path.read_text()]


def test_each_translation_has_the_placeholders_of_its_text() -> None:
    catalogue = translated()
    for message in messages(catalogue):
        assert not list(message.check(catalogue)), message.id
        wanted = sorted(PLACEHOLDER.findall(_forms(message.id)[-1]))
        for form in _forms(message.string):
            assert sorted(PLACEHOLDER.findall(form)) == wanted, message.id


def test_the_plural_forms_are_those_of_django() -> None:
    assert translated().plural_forms == "nplurals=2; plural=(n > 1);"


def test_the_compiled_catalogue_is_up_to_date() -> None:
    compiled = BytesIO()
    write_mo(compiled, translated())
    committed = CATALOGUE.with_suffix(".mo").read_bytes()
    assert content(committed) == content(compiled.getvalue())
    assert read_mo(BytesIO(committed)).plural_forms == translated().plural_forms


def test_an_error_is_translated_when_shown() -> None:
    error = GroupNotFound(463, "Yok.")
    text = "iletimerkezi answered %(code)s (%(message)s)."
    values = {"code": 463, "message": "Yok."}
    with override("en"):
        assert str(error).startswith(text % values)
    with override("tr"):
        assert str(error).startswith(turkish(text) % values)


def test_the_verbose_names_of_the_group_model_are_translated() -> None:
    with override("tr"):
        assert str(Group._meta.verbose_name) == turkish("contact group")
        assert str(Group._meta.verbose_name_plural) == turkish("contact groups")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_counts_in_messages_are_translated(number: int) -> None:
    with override("tr"):
        [line] = text_lines(
            arranged([Group(pk=5, name="Bayiler", count=number, total=number)], [5])
        )
        assert f"{number} kişi" in line
        assert f"{number} saniye" in str(ServiceUnavailable("Meşgul.", retry_after=number))


@pytest.mark.parametrize("app", ["", "contrib/admin", "contrib/auth", "contrib/contenttypes"])
def test_texts_shared_with_django_are_translated_as_in_django(app: str) -> None:
    """Otherwise the order of INSTALLED_APPS would decide which translation users see."""
    folder = Path(django.__path__[0], app or "conf", "locale", "tr", "LC_MESSAGES")
    theirs = content((folder / "django.mo").read_bytes())
    ours = content(CATALOGUE.with_suffix(".mo").read_bytes())
    assert {key: ours[key] for key in ours.keys() & theirs.keys()} == {
        key: theirs[key] for key in ours.keys() & theirs.keys()
    }


@pytest.mark.parametrize("model", list(apps.get_app_config("django_iletimerkezi").get_models()))
def test_labels_do_not_start_with_a_letter_that_django_capitalizes_wrongly(
    model: type[Model],
) -> None:
    """Django writes “I” for a capital “i”, where Turkish writes “İ”."""
    with override("tr"):
        labels = {str(field.verbose_name) for field in model._meta.concrete_fields}
    assert {label for label in labels - {"id"} if label.startswith("i")} == set()
