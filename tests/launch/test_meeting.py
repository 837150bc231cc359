"""The ranks meet, or are told in seconds why they do not; all over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pytest

from trident.launch.agents.rendezvous import Hello, Meeting, Rendezvous, RendezvousError, meet
from trident.launch.lib.network import addresses

HOSTS = ["localhost", "n2"]


def hello(rank: int, **changes: Any) -> Hello:
    values = {"rank": rank, "world_size": 4, "host": HOSTS[rank // 2], "port": 12345 + rank}
    return Hello(**{**values, "sees": "a", **changes})


def held(hellos: Iterable[Hello], seconds: float = 20) -> tuple[list[Any], str | None]:
    """What each rank hears, in the order of `hellos`, and what kept them from meeting."""
    meeting = Rendezvous(HOSTS, 2, address="{host}", seconds=seconds)
    heard: dict[int, Any] = {}

    def come(at: int, said: Hello) -> None:
        try:
            heard[at] = meet(meeting.invitation, said, seconds=30)
        except RendezvousError as error:
            heard[at] = str(error)

    threads = [threading.Thread(target=come, args=item) for item in enumerate(hellos)]
    for thread in threads:
        thread.start()
    failure = None
    try:
        while not meeting.step():
            time.sleep(0.01)
    except RendezvousError as error:
        failure = str(error)
    meeting.close()
    for thread in threads:
        thread.join()
    return [heard[at] for at in sorted(heard)], failure


def test_all_hear_where_rank_0_holds_a_port() -> None:
    heard, failure = held(hello(rank) for rank in (2, 0, 3, 1))
    assert failure is None
    for met in heard:
        assert (met.master_addr, met.master_port) == ("127.0.0.1", 12345)


@pytest.mark.parametrize("names", [["nowhere.invalid", "127.0.0.1"], ["::1"]])
def test_the_address_is_one_at_which_the_head_node_was_reached(names: list[str]) -> None:
    meeting = Rendezvous(["n1"], 1, address="{host}", seconds=20)
    assert meeting.names == ["n1", *addresses()]
    meeting.names = names
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(meet, meeting.invitation, hello(0, host="n1", world_size=1))
        while not meeting.step():
            time.sleep(0.01)
        assert heard.result().master_addr == names[-1]
    meeting.close()


def test_a_name_that_the_user_gives_is_the_only_one() -> None:
    meeting = Rendezvous(["n1", "n2"], 1, address="{host}-fast", seconds=20)
    assert meeting.names == ["n1-fast"]
    meeting.close()


def test_another_program_at_the_first_address_is_passed_over() -> None:
    with socket.create_server(("127.0.0.2", 0)) as stranger:
        port = stranger.getsockname()[1]
        with (
            socket.create_server(("127.0.0.3", port)) as head,
            ThreadPoolExecutor() as pool,
        ):
            heard = pool.submit(meet, f"{port} token 127.0.0.2 127.0.0.3", hello(1))
            with stranger.accept()[0] as sock:
                sock.sendall(b"220 smtp.example.org ESMTP\n")
            with head.accept()[0] as sock:
                assert json.loads(sock.recv(4096))["rank"] == 1
                sock.sendall(b'{"heard": 1}\n')
                answer = {"master_addr": "10.0.0.7", "master_port": 4, "one_node": True}
                sock.sendall(json.dumps(answer).encode() + b"\n")
            assert heard.result() == Meeting(master_addr="10.0.0.7", master_port=4, interface=None)


def test_a_rank_that_tries_again_counts_once() -> None:
    meeting = Rendezvous(["n1"], 1, address="{host}", seconds=20)
    port, token, *_ = meeting.invitation.split(" ")
    said = {**asdict(hello(0, host="n1", world_size=1)), "token": token}
    with socket.create_connection(("127.0.0.1", int(port))) as first:
        first.sendall(json.dumps({**said, "world_size": 1, "rank": 0}).encode() + b"\n")
    meeting.names = ["127.0.0.1"]
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(meet, meeting.invitation, hello(0, host="n1", world_size=1))
        time.sleep(0.2)  # both lie there when the head node looks
        while not meeting.step():
            time.sleep(0.01)
        assert heard.result().master_port == 12345
    meeting.close()


def test_strangers_are_not_heard() -> None:
    meeting = Rendezvous(["localhost"], 1, address="{host}", seconds=20)
    port, _, host, *_ = meeting.invitation.split(" ")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b'{"rank": 0, "token": "guess"}\n')
        for _ in range(20):
            assert not meeting.step()
            time.sleep(0.01)
    meeting.close()


@pytest.mark.parametrize(
    ("hellos", "message"),
    [
        ([hello(0), hello(1), hello(2)], "1 of 4 ranks did not connect within 0.5 s: rank 3 on n2"),
        (
            [hello(0), hello(0), hello(1), hello(2)],
            "rank 0 connected 2 times: from localhost and localhost",
        ),
        ([hello(0), hello(1), hello(2, host="n7"), hello(3)], "rank 2 is on n7, expected n2"),
        ([hello(0), hello(1, world_size=2)], "rank 1 on localhost sees 2 ranks, expected 4"),
        ([hello(0), hello(3, sees="b")], "sees other code or configs than rank"),
    ],
)
def test_what_is_wrong_is_told_to_all(hellos: list[Hello], message: str) -> None:
    heard, failure = held(hellos, seconds=0.5)
    assert message in (failure or "")
    # Who comes when all is over finds nobody: srun has ended, or ends, the other ranks.
    over = ("ended before all ranks had connected", "cannot be reached")
    assert all(message in said or any(word in said for word in over) for said in heard)
    assert any(message in said for said in heard)


def test_the_head_node_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(
        RendezvousError, match=f"the head node localhost cannot be reached at port {port}"
    ):
        meet(f"{port} token localhost", hello(0))
