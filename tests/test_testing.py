from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import override_settings

from django_iletimerkezi.exceptions import AuthenticationFailed, GroupNotFound
from django_iletimerkezi.services import fetch_group
from django_iletimerkezi.testing import DOCUMENTED_SAMPLE, PHONE_BOOK, GroupDict, Sandbox

PATH = "/v1/get-group/json"
CHILD = {"id": 97489, "name": "Test 2", "count": 2}


def envelope(group_id: Any, key: str = "sandbox-key", hash: str = "sandbox-hash") -> Any:  # noqa: A002 - the vendor's word
    return {"request": {"authentication": {"key": key, "hash": hash}, "group": {"id": group_id}}}


def connect(sandbox: Sandbox) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", urlsplit(sandbox.url).port or 0, timeout=10)


def send(
    connection: HTTPConnection, body: bytes, method: str = "POST", path: str = PATH
) -> tuple[int, Any]:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())["response"]


def ask(sandbox: Sandbox, body: Any, method: str = "POST", path: str = PATH) -> tuple[int, Any]:
    with closing(connect(sandbox)) as connection:
        return send(connection, json.dumps(body).encode(), method, path)


def refusal(code: int, message: str) -> tuple[int, Any]:
    return code, {"status": {"code": code, "message": message}}


def walk(groups: Iterable[GroupDict], depth: int = 0) -> Iterator[tuple[int, GroupDict]]:
    for group in groups:
        yield depth, group
        yield from walk(group.get("children", ()), depth + 1)


UNREADABLE = refusal(400, "İstek çözümlenemedi")
UNAUTHORIZED = refusal(401, "Üyelik bilgileri hatalı")
NO_METHOD = refusal(404, "API istek yapılan yönteme sahip değil")
NO_GROUP = refusal(463, "Böyle bir grup bulunamadı.")


@pytest.mark.parametrize("group_id", [5, 97101])
def test_the_sandbox_returns_the_documented_sample(sandbox: Sandbox, group_id: int) -> None:
    status = {"code": 200, "message": "İşlem başarılı"}
    expected = {"status": status, "group": DOCUMENTED_SAMPLE}
    assert ask(sandbox, envelope(group_id)) == (200, expected)


def test_the_sandbox_returns_the_subgroup_of_the_sample(sandbox: Sandbox) -> None:
    status, answer = ask(sandbox, envelope(97489))
    assert (status, answer["group"]) == (200, CHILD)


def test_the_sandbox_phone_book_has_32_groups_on_three_levels_below_the_root() -> None:
    walked = list(walk([PHONE_BOOK]))
    assert len({group["id"] for _depth, group in walked}) == len(walked) == 32
    assert max(depth for depth, _group in walked) == 3


def test_the_sandbox_returns_every_group_of_the_phone_book(sandbox: Sandbox) -> None:
    for _depth, group in walk([PHONE_BOOK]):
        assert ask(sandbox, envelope(group["id"]))[1]["group"]["name"] == group["name"]


def test_a_sandbox_answer_lists_only_direct_subgroups(sandbox: Sandbox) -> None:
    children = ask(sandbox, envelope(1000))[1]["group"]["children"]
    assert [child["id"] for child in children] == [1100, 1200, 1300, 1400, 1500]
    assert all(child.keys() == {"id", "name", "count"} for child in children)


def test_a_sandbox_answer_omits_children_for_a_group_without_subgroups(sandbox: Sandbox) -> None:
    expected = {"id": 1140, "name": "Iğdır", "count": 9}
    assert ask(sandbox, envelope(1140))[1]["group"] == expected


def test_the_sandbox_sends_turkish_names_as_utf_8(sandbox: Sandbox) -> None:
    with closing(connect(sandbox)) as connection:
        connection.request("POST", PATH, json.dumps(envelope(1140)))
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "application/json; charset=utf-8"
        assert "Iğdır".encode() in answer.read()


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "request",
        {},
        {"request": None},
        {"request": {}},
        {"request": {"authentication": {"key": "sandbox-key"}, "group": {"id": 5}}},
        {"request": {"authentication": [], "group": {"id": 5}}},
        {"request": {"authentication": {"key": "sandbox-key", "hash": "sandbox-hash"}}},
        envelope("five"),
        envelope(5.0),
        envelope(None),
        envelope([5]),
        envelope(True),
    ],
)
def test_the_sandbox_answers_a_malformed_request_with_400(sandbox: Sandbox, body: Any) -> None:
    assert ask(sandbox, body) == UNREADABLE
    assert sandbox.asked == []


@pytest.mark.parametrize("body", [b"", b"<xml>", b"{", b"\xff"])
def test_the_sandbox_answers_invalid_json_with_400(sandbox: Sandbox, body: bytes) -> None:
    with closing(connect(sandbox)) as connection:
        assert send(connection, body) == UNREADABLE


@pytest.mark.parametrize(
    "wrong", [{"key": "x"}, {"hash": "x"}, {"key": "", "hash": ""}, {"key": None}, {"hash": []}]
)
def test_the_sandbox_answers_wrong_credentials_with_401(
    sandbox: Sandbox, wrong: dict[str, Any]
) -> None:
    assert ask(sandbox, envelope(5, **wrong)) == UNAUTHORIZED
    assert sandbox.asked == []


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/get-group/json", "/v1/get-balance/json"])
def test_the_sandbox_answers_an_unknown_path_with_404(sandbox: Sandbox, path: str) -> None:
    assert ask(sandbox, envelope(5), path=path) == NO_METHOD


@pytest.mark.parametrize("path", [f"{PATH}/", f"{PATH}?a=b"])
def test_the_sandbox_accepts_a_trailing_slash_and_a_query_string(
    sandbox: Sandbox, path: str
) -> None:
    assert ask(sandbox, envelope(97489), path=path)[1]["group"] == CHILD


def test_the_sandbox_accepts_an_id_as_a_string_of_digits(sandbox: Sandbox) -> None:
    assert ask(sandbox, envelope("97489"))[1]["group"] == CHILD


def test_the_sandbox_checks_the_credentials_before_the_rest_of_the_request(
    sandbox: Sandbox,
) -> None:
    body = envelope(5, key="x")
    del body["request"]["group"]
    assert ask(sandbox, body) == UNAUTHORIZED


def test_the_sandbox_refuses_a_chunked_body_and_closes_the_connection(sandbox: Sandbox) -> None:
    with closing(connect(sandbox)) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (400, "close")


def test_the_sandbox_answers_a_get_request_with_404(sandbox: Sandbox) -> None:
    assert ask(sandbox, None, method="GET") == NO_METHOD


@pytest.mark.parametrize("group_id", [6, 0, -5, 10**30])
def test_the_sandbox_answers_a_request_for_an_unknown_group_with_463(
    sandbox: Sandbox, group_id: int
) -> None:
    assert ask(sandbox, envelope(group_id)) == NO_GROUP


def test_the_sandbox_keeps_the_connection_open_after_success_and_errors(sandbox: Sandbox) -> None:
    with closing(connect(sandbox)) as connection:
        connection.connect()
        first = connection.sock
        bodies = [envelope(5), None, envelope(5, key="x"), envelope(6), envelope(97489)]
        codes = [send(connection, json.dumps(body).encode())[0] for body in bodies]
        assert codes == [200, 400, 401, 463, 200]
        assert connection.sock is first


def test_the_sandbox_records_the_ids_of_requests(sandbox: Sandbox) -> None:
    for group_id in (5, 97489, 6, 5):
        ask(sandbox, envelope(group_id))
    assert sandbox.asked == [5, 97489, 6, 5]


def test_a_custom_tree_replaces_the_sample() -> None:
    tree = [{"id": 7, "name": "Bayiler", "count": 3, "children": [CHILD]}]
    with Sandbox(tree) as sandbox:
        assert ask(sandbox, envelope(7))[1]["group"] == tree[0]
        assert ask(sandbox, envelope(97489))[1]["group"] == CHILD
        assert ask(sandbox, envelope(5)) == ask(sandbox, envelope(97101)) == NO_GROUP


def test_a_sandbox_accepts_any_iterable_as_its_tree() -> None:
    with Sandbox(iter([CHILD])) as sandbox:
        assert ask(sandbox, envelope(97489))[1]["group"] == CHILD


def test_a_sandbox_with_an_empty_tree_has_no_groups() -> None:
    with Sandbox([]) as sandbox:
        assert ask(sandbox, envelope(97489)) == NO_GROUP


def test_the_tree_can_be_replaced_while_the_sandbox_runs(sandbox: Sandbox) -> None:
    sandbox.serve([{"id": 7, "name": "Bayiler", "count": 3}])
    assert ask(sandbox, envelope(7))[0] == 200
    assert ask(sandbox, envelope(97101)) == NO_GROUP


def test_a_sandbox_returns_another_group_for_an_aliased_id() -> None:
    with Sandbox([CHILD], aliases={8: 97489}) as sandbox:
        assert ask(sandbox, envelope(8))[1]["group"] == CHILD
        assert ask(sandbox, envelope(5)) == NO_GROUP


def test_a_sandbox_accepts_only_its_custom_credentials() -> None:
    with Sandbox(key="k", hash="h") as sandbox:
        assert ask(sandbox, envelope(5, key="k", hash="h"))[0] == 200
        assert ask(sandbox, envelope(5)) == UNAUTHORIZED


def test_custom_headers_are_sent_with_each_answer_and_replace_default_headers(
    sandbox: Sandbox,
) -> None:
    sandbox.headers = {"Retry-After": "7", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    with closing(connect(sandbox)) as connection:
        for group_id in (5, 6):
            connection.request("POST", PATH, json.dumps(envelope(group_id)))
            answer = connection.getresponse()
            answer.read()
            assert answer.getheader("Retry-After") == "7"
            assert answer.headers.get_all("Date") == ["Thu, 01 Jan 2026 00:00:00 GMT"]


def test_two_sandboxes_run_side_by_side(sandbox: Sandbox) -> None:
    with Sandbox([CHILD]) as other:
        assert other.url != sandbox.url
        assert ask(other, envelope(97101)) == NO_GROUP
        assert ask(sandbox, envelope(97101))[0] == 200


def test_a_sandbox_starts_and_stops_without_a_with_statement() -> None:
    sandbox = Sandbox().start()
    assert ask(sandbox, envelope(5))[0] == 200
    sandbox.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(sandbox, envelope(5))


def test_a_sandbox_writes_nothing_to_the_terminal(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    ask(sandbox, envelope(5))
    ask(sandbox, None, method="GET")
    assert capfd.readouterr() == ("", "")


# With the settings of a host project


@pytest.mark.django_db
def test_a_project_with_the_settings_of_a_sandbox_fetches_from_the_sandbox() -> None:
    with Sandbox([{"id": 7, "name": "Müşteriler", "count": 3}]) as sandbox:
        with override_settings(**sandbox.settings):
            assert fetch_group(7).group.name == "Müşteriler"
        assert sandbox.asked == [7]


@pytest.mark.django_db
def test_a_project_fetches_the_documented_sample(sandbox: Sandbox) -> None:
    result = fetch_group(5)
    assert (result.group.pk, result.created) == (97101, 2)


@pytest.mark.django_db
def test_fetching_an_unknown_group_raises_group_not_found(sandbox: Sandbox) -> None:
    with pytest.raises(GroupNotFound):
        fetch_group(6)
    assert sandbox.asked == [6]


@pytest.mark.django_db
def test_fetching_with_a_wrong_hash_raises_authentication_failed(sandbox: Sandbox) -> None:
    with override_settings(ILETIMERKEZI_API_HASH="x"), pytest.raises(AuthenticationFailed):
        fetch_group(5)
    assert sandbox.asked == []


def test_the_sandbox_answers_an_invalid_content_length_with_400(sandbox: Sandbox) -> None:
    with closing(connect(sandbox)) as connection:
        for method in ("POST", "GET"):
            connection.request(method, PATH, headers={"Content-Length": "-1"})
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["response"]) == UNREADABLE


def test_a_sandbox_connection_stays_usable_after_a_get_request_with_a_body(
    sandbox: Sandbox,
) -> None:
    with closing(connect(sandbox)) as connection:
        assert send(connection, b"{}", "GET") == NO_METHOD
        assert send(connection, b"{}") == UNREADABLE


def test_stopping_a_sandbox_closes_open_connections() -> None:
    sandbox = Sandbox().start()
    with closing(connect(sandbox)) as connection:
        assert send(connection, b"{}") == UNREADABLE
        sandbox.stop()
        with pytest.raises(OSError):  # noqa: PT011 - its type depends on which side closes first
            send(connection, b"{}")


def test_stopping_a_sandbox_twice_without_starting_the_sandbox_does_not_raise() -> None:
    sandbox = Sandbox()
    sandbox.stop()
    sandbox.stop()


def test_an_empty_aliases_argument_removes_the_alias_of_the_sample() -> None:
    with Sandbox(aliases={}) as sandbox:
        assert ask(sandbox, envelope(5)) == NO_GROUP


def test_children_in_the_tree_of_a_sandbox_may_be_null() -> None:
    with Sandbox([{"id": 7, "name": "", "count": 0, "children": None}]) as sandbox:
        assert ask(sandbox, envelope(7))[0] == 200


def test_a_connection_dropped_by_the_client_is_not_reported_by_the_sandbox(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    address = "127.0.0.1", urlsplit(sandbox.url).port
    for _ in range(5):
        with socket.create_connection(address) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(sandbox, envelope(5))[0] == 200
    assert capfd.readouterr().err == ""


def test_a_bug_in_the_sandbox_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    with Sandbox([{"id": 7, "name": object(), "count": 0}]) as sandbox:
        with pytest.raises(RemoteDisconnected):
            ask(sandbox, envelope(7))
    assert "TypeError" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_cannot_read_or_change_the_sandbox_of_its_parent() -> None:
    """“manage.py test --parallel” forks after a module may have started the sandbox."""
    with Sandbox() as sandbox:
        pid = os.fork()
        if pid == 0:
            refusals = 0
            for use in (lambda: sandbox.asked, lambda: sandbox.serve([])):
                with suppress(RuntimeError):
                    use()
                    continue
                refusals += 1
            os._exit(refusals)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2


def test_the_error_for_a_sandbox_of_another_process_names_the_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox() as sandbox:
        monkeypatch.setattr(os, "getpid", lambda: 0)
        with pytest.raises(RuntimeError, match="Start it in setUpClass or in a fixture"):
            _ = sandbox.asked
