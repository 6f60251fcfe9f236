"""prefork: requests as proxies send them, answers to HEAD, and connections that stay open."""

import time

import pytest

from support.prefork import read_all, read_answer, request, server  # noqa: F401


@pytest.mark.parametrize(
    "code, header",
    [
        (413, b"Content-Length: 1048577"),
        (400, b"Content-Length: x"),
        (501, b"Transfer-Encoding: chunked"),
        (431, b"Long: " + 9000 * b"x"),
    ],
)
def test_refused_head_gets_no_body(server, code, header):
    server.serve()
    head, body = server.exchange(b"HEAD / HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n").split("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {code} ")
    assert body == ""


@pytest.mark.parametrize(
    "target, size",
    [
        ("http://127.0.0.1/big?kb=3", 3072),
        ("HTTP://example:8080/big?kb=3", 3072),
        ("http://example/", 6),
        ("http://example", 6),
        ("http://example?kb=3", 6),
    ],
)
def test_absolute_form(server, target, size):
    server.serve("--reply", "12345")
    answer = server.exchange(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head, body = answer.split("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ")
    assert len(body) == size


@pytest.mark.parametrize("target", ["http://", "http:///", "http://?a=1", "https://a/", "ftp://a/", "*", "http:/a"])
def test_target_of_no_form(server, target):
    server.serve()
    assert server.exchange(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).startswith("HTTP/1.1 400 ")


def test_idle_connection_ends_sooner_when_somebody_waits(server):
    """Without a newcomer it would stay for 2 s, and no machine is so slow that it looks shorter."""
    server.serve("--keep-alive", "--workers", "1")

    def seconds_kept():
        with server.connect() as idle:
            before = time.monotonic()
            idle.sendall(request())
            assert "Connection: keep-alive" in read_answer(idle)[0]
            with server.connect() as newcomer:
                newcomer.sendall(request("/", "Connection: close"))
                assert read_all(idle) == b""
                kept = time.monotonic() - before
                idle.close()
                assert read_all(newcomer).startswith(b"HTTP/1.1 200")
                return kept

    server.until(lambda: seconds_kept() < 1.9, "the idle connection to yield")


def test_request_is_answered_on_a_connection_that_yields(server):
    """Its client could not know that somebody waits."""
    server.serve("--keep-alive", "--workers", "1")
    with server.connect() as idle:
        idle.sendall(request())
        assert "Connection: keep-alive" in read_answer(idle)[0]
        with server.connect() as newcomer:
            newcomer.sendall(request("/", "Connection: close"))
            idle.sendall(request())
            assert "Connection: close" in read_all(idle).decode()
            idle.close()
            assert read_all(newcomer).startswith(b"HTTP/1.1 200")
