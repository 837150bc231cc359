"""The ranks meet, or are told in seconds why they do not; all over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from trident.launch.agents.rendezvous import Hello, Rendezvous, RendezvousError, meet

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
    assert heard == [{"master_addr": "localhost", "master_port": 12345}] * 4


def test_strangers_are_not_heard() -> None:
    meeting = Rendezvous(["localhost"], 1, address="{host}", seconds=20)
    host, port, _ = meeting.invitation.split(":")
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
        meet(f"localhost:{port}:token", hello(0))
