"""Hugging Face's client beside a collection of garbage."""

import hashlib
import os
import threading
from pathlib import Path

from baigong.hub.garbage.collect import Garbage


def garbage(served):
    platform = served.platform
    return Garbage(platform.hub, platform.database, platform.settings.cache_folder)


def test_what_was_collected_is_sent_again_whatever_the_client_remembers(
    alice, make, served, tmp_path
):
    name, weights = make(), os.urandom(3_000_000)
    digest = hashlib.sha256(weights).hexdigest()

    def send(path):
        alice.upload_file(path_or_fileobj=weights, path_in_repo=path, repo_id=name)

    send("a.bin")
    alice.delete_file("a.bin", name)
    alice.super_squash_history(name)
    garbage(served).collect(lambda _progress: None, -60)
    assert not served.platform.hub.blobs.has(digest)
    send("b.bin")
    path = alice.hf_hub_download(name, "b.bin", cache_dir=tmp_path)
    assert Path(path).read_bytes() == weights


def test_uploads_and_commits_go_on_beside_it(alice, make, served):
    stop, name = threading.Event(), make()
    collector = garbage(served)

    def gather():
        while not stop.is_set():
            collector.collect(lambda _progress: None)

    thread = threading.Thread(target=gather)
    thread.start()
    try:
        for n in range(5):
            data = b"%d" % n + os.urandom(200_000)
            alice.upload_file(path_or_fileobj=data, path_in_repo=f"{n}.bin", repo_id=name)
            alice.upload_file(path_or_fileobj=b"%d" % n, path_in_repo="n.txt", repo_id=name)
    finally:
        stop.set()
        thread.join()
    files = alice.list_repo_files(name)
    assert [path for path in files if path.endswith(".bin")] == [f"{n}.bin" for n in range(5)]
    assert alice.list_repo_commits(name)[0].title.startswith("Upload")
