"""prefork: what is answered to whom."""

import signal
import socket

import pytest

from support.prefork import clients, is_pending, read_all, read_answer, request, server, title  # noqa: F401
from support.processes import LIMIT


def status(answer):
    return int(answer.split(" ", 2)[1])


def test_body_tells_who_answers(server):
    server.serve()
    master = server.process.pid
    code, body = server.ask()
    assert code == 200
    words = body.split()
    assert words[::2] == ["pid", "ppid", "generation", "worker"]
    pid, parent, generation, number = map(int, words[1::2])
    assert pid in server.workers_of(master)
    assert (parent, generation) == (master, 0)
    assert title(pid) == f"prefork worker[{number}]"
    assert title(master) == "prefork master"


def test_reply_option(server):
    server.serve("--reply", "hello, you")
    assert server.ask() == (200, "hello, you\n")


def test_several_listeners(server):
    """TCP, IPv6 and UNIX at once."""
    path = server.folder / "app.sock"
    server.serve("--listen", f"127.0.0.1:{server.port}", "--listen", f"unix:{path}", "--listen", "[::1]:0")
    assert server.get() == 200
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request())
        assert status(read_all(connection).decode()) == 200
    port = server.log().split("listening on [::1]:")[1].split("\n")[0]
    with socket.create_connection(("::1", int(port)), timeout=LIMIT) as connection:
        connection.sendall(request())
        assert status(read_all(connection).decode()) == 200


def test_head_has_a_length_and_no_body(server):
    server.serve("--reply", "12345")
    head, body = server.exchange(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").split("\r\n\r\n")
    assert "Content-Length: 6" in head
    assert body == ""


def test_other_methods(server):
    server.serve()
    answer = server.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert status(answer) == 405
    assert "Allow: GET, HEAD\r\n" in answer


def test_big_body(server):
    server.serve()
    code, body = server.ask("/big?kb=3000")
    assert (code, len(body)) == (200, 3000 * 1024)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / extra HTTP/1.1\r\nHost: a",
        b"GET /",
        b"GET relative HTTP/1.1\r\nHost: a",
        b"G@T / HTTP/1.1\r\nHost: a",
        b" / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon",
        b"GET / HTTP/1.1\r\nHost: a\r\nSpace : before",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: line",
        b"GET / HTTP/1.1\r\nHost: a\r\nBell: \x07",
        b"GET / HTTP/1.1\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
    ],
)
def test_malformed_is_400(server, head):
    server.serve()
    assert status(server.exchange(head + b"\r\n\r\n")) == 400
    assert server.get() == 200


@pytest.mark.parametrize(
    "code, data",
    [
        (413, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n"),
        (413, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nLong: " + 9000 * b"x" + b"\r\n\r\n"),
        (431, 9000 * b"x"),
        (501, b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ],
)
def test_refused(server, code, data):
    server.serve()
    assert status(server.exchange(data)) == code


def test_answer_reaches_a_client_that_is_still_sending(server):
    """Closing at once would reset the connection, and the client would never see the 413."""
    server.serve()
    body = 1_500_000
    head = f"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n".encode()
    assert status(server.exchange(head + body * b"x")) == 413


def test_slow_client_is_408(server, clients):
    """After half of the timeout, wherever it stopped."""
    server.serve("--timeout", "8s", "--workers", "3")
    head = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    answers = [clients.submit(server.exchange, data) for data in (b"", head[:18], head + b"x")]
    assert [status(answer.result()) for answer in answers] == [408] * 3
    assert "overdue" not in server.log()


def test_client_that_leaves_early(server):
    server.serve("--workers", "1")
    for data in (b"", b"GET / HT", request("/big?kb=60000")):
        with server.connect() as connection:
            connection.sendall(data)
    assert server.get() == 200
    assert len(server.workers_of(server.process.pid)) == 1
    assert "worker[0], process" not in server.log(), "the worker died of it"


def test_expect_100_continue(server):
    server.serve()
    with server.connect() as connection:
        connection.sendall(request("/", "Content-Length: 3", "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert status(read_all(connection).decode()) == 200


def test_close_is_the_default(server):
    server.serve()
    answer = server.exchange(request("/", "Connection: keep-alive"))
    assert "\r\nConnection: close\r\n" in answer


def test_keep_alive(server):
    server.serve("--keep-alive")
    with server.connect() as connection:
        for body in (b"", b"hello"):
            connection.sendall(request("/", f"Content-Length: {len(body)}") + body)
            assert "Connection: keep-alive" in read_answer(connection)[0]
        connection.sendall(request("/", "Connection: close"))
        assert "Connection: close" in read_all(connection).decode()


def test_keep_alive_of_http_1_0(server):
    server.serve("--keep-alive")
    assert "Connection: close" in server.exchange(b"GET / HTTP/1.0\r\n\r\n")
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert "Connection: keep-alive" in read_answer(connection)[0]


def test_pipelined_requests(server):
    server.serve("--keep-alive")
    both = server.exchange(request("/", "Content-Length: 2") + b"xy" + request("/", "Connection: close"))
    assert both.count("HTTP/1.1 200 OK") == 2


def test_keep_alive_yields_to_who_waits(server):
    server.serve("--keep-alive", "--workers", "1")
    with server.connect() as first, server.connect() as second:
        first.sendall(request())
        assert "Connection: close" in read_answer(first)[0]
        second.sendall(request())
        first.close()
        assert "Connection: keep-alive" in read_answer(second)[0]


def test_idle_connection_does_not_keep_a_worker(server):
    server.serve("--keep-alive", "--workers", "1")
    with server.connect() as idle:
        idle.sendall(request())
        assert "Connection: keep-alive" in read_answer(idle)[0]
        assert server.get() == 200
        assert read_all(idle) == b""


def test_request_on_a_kept_connection_is_answered_after_quit(server):
    """The client could not know: it was told keep-alive and has sent its request."""
    server.serve("--keep-alive", "--workers", "1")
    with server.connect() as connection:
        connection.sendall(request())
        assert "Connection: keep-alive" in read_answer(connection)[0]
        (worker,) = server.workers_of(server.process.pid)
        server.tell(signal.SIGSTOP, worker)
        server.tell(signal.SIGQUIT)
        server.until(lambda: is_pending(worker, signal.SIGQUIT), "the master to pass QUIT on")
        connection.sendall(request())
        server.tell(signal.SIGCONT, worker)
        assert "Connection: close" in read_all(connection).decode()
    assert server.process.wait(LIMIT) == 0
