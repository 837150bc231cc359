"""The files of the doctor's job: each has one name, and one writer."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trident.launch.schedulers.slurm.probe_files import ProbeFiles
from trident.protocol.records import write_json

HOSTS = st.sets(st.from_regex(r"[a-z][a-z0-9-]{0,9}(\.[a-z]{1,5})?", fullmatch=True), max_size=5)


@given(HOSTS)
def test_no_two_files_have_one_name(hosts: set[str]) -> None:
    files = ProbeFiles(Path("/f"))
    common = [files.script, files.log, files.login, files.hosts, files.head, files.ping]
    of_hosts = [name(host) for host in hosts for name in (files.hello, files.peers, files.pong)]
    paths = [*common, *of_hosts]
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {files.folder}


def test_hellos_are_those_of_the_nodes(tmp_path: Path) -> None:
    files = ProbeFiles(tmp_path)
    write_json(files.login, {"version": "1"})
    for host in ("n1", "n2"):
        write_json(files.hello(host), {"host": host})
        write_json(files.peers(host), {"peers_s": {}})
    assert sorted(record["host"] for record in files.hellos()) == ["n1", "n2"]
