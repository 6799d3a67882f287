from __future__ import annotations

import pytest

from django_iletimerkezi.api.base_url import base_url_flaw

NOT_PLAIN = "must be a plain URL without user, query, fragment or whitespace"
NOT_A_URL = "must be a URL such as https://api.iletimerkezi.com/v1/"
NO_TLS = "must start with https:// because it receives the credentials"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.iletimerkezi.com/v1/",
        "https://api.iletimerkezi.com/v1",
        "https://api.iletimerkezi.com",
        "https://api.iletimerkezi.com:8443/v1/",
        "https://örnek.example/v1/",
        "https://10.0.0.1/",
        "https://[2001:db8::1]/",
        "https://[2001:DB8::1]:8443/v1/",
        "HTTPS://API.iletimerkezi.com:/v1/",
    ],
)
def test_any_host_is_allowed_with_tls(url: str) -> None:
    assert base_url_flaw(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "http://LOCALHOST:8000/v1/",
        "http://127.0.0.1:8000/v1/",
        "http://127.9.9.9/",
        "http://[::1]:8000/v1/",
    ],
)
def test_loopback_hosts_are_allowed_without_tls(url: str) -> None:
    assert base_url_flaw(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://api.iletimerkezi.com/v1/",
        "HTTP://api.iletimerkezi.com/v1/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://127.1/",
        "http://2130706433/",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "http://[2001:db8::1]/",
    ],
)
def test_other_hosts_are_refused_without_tls(url: str) -> None:
    assert base_url_flaw(url) == NO_TLS


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.iletimerkezi.com",
        "//api.iletimerkezi.com/v1/",
        "/v1/",
        "https://",
        "https:///v1/",
        "https://:443/",
        "https:api.iletimerkezi.com",
        "ftp://api.iletimerkezi.com/",
        "file:///etc/passwd",
        "https://[::1/",
        "https://[nonsense]/",
        "https://[v1.a]/",
        "https://[::1]x:9/",
        "http://[::1].example/",
        "https://api.iletimerkezi.com:port/",
        "https://api.iletimerkezi.com:99999/",
        "https://api..iletimerkezi.com/",
        "https://" + "a" * 64 + ".example/",
        "https://*/",
        "https://a,b/",
        "https://a$b/",
    ],
)
def test_invalid_urls_and_hosts_are_refused(url: str) -> None:
    assert base_url_flaw(url) == NOT_A_URL


@pytest.mark.parametrize(
    "url",
    [
        "https://user@api.iletimerkezi.com/",
        "https://user:password@api.iletimerkezi.com/",
        "http://127.0.0.1:80@api.iletimerkezi.com/",
        "http://127.0.0.1\\@api.iletimerkezi.com/",
        "http://127.0.0.1#.api.iletimerkezi.com/",
        "https://api.iletimerkezi.com/v1/?debug=1",
        "https://api.iletimerkezi.com/v1/#top",
        " https://api.iletimerkezi.com/v1/",
        "https://api.iletimerkezi.com/v1/\n",
        "https://api.iletimerkezi.com/\tv1/",
        "ht\ntps://api.iletimerkezi.com/v1/",
        "https://api.iletimerkezi.com\u00a0/",
    ],
)
def test_urls_with_more_than_host_and_path_are_refused(url: str) -> None:
    assert base_url_flaw(url) == NOT_PLAIN


@pytest.mark.parametrize(
    "url", ["\x00https://a.example/", "https://a\x1b.example/", "https://a\u202e/"]
)
def test_control_characters_in_a_base_url_are_refused(url: str) -> None:
    assert base_url_flaw(url) == NOT_PLAIN
