"""A video in a private bucket of the project: from the row, past the policies, to the platform."""

from __future__ import annotations

import psycopg
import pytest

from orbyt_worker.sandbox.storage import SECRET_KEY
from tests.fix_world import World


def test_a_private_video_in_storage_is_published(world: World) -> None:
    account = world.channel()
    name = f"{world.user_id}/my clip.mp4"
    put = world.sandbox.state.storage.put_object(name, size_bytes=2_000_000)
    item = {"type": "video", "url": f"storage://media/{world.user_id}/my%20clip.mp4"}
    # Not uploaded yet, as far as the database knows.
    with pytest.raises(psycopg.Error, match="nothing at the address"):
        world.insert(account, title="Too early", media=[item])
    world.database.fetch("insert into storage.buckets (id, name) values ('media', 'media')")
    world.database.fetch("insert into storage.objects (bucket_id, name) values ('media', %s)", [name])
    with pytest.raises(psycopg.Error, match="nothing at the address"):
        world.insert(account, title="Not one the user may read", media=[item])
    world.database.fetch(
        "create policy own_folder on storage.objects for select to authenticated"
        " using (bucket_id = 'media' and (storage.foldername(name))[1] = (select auth.uid())::text)"
    )
    job_id = world.insert(account, title="From Storage", media=[item])
    with world.worker() as worker:
        row = world.wait_for(job_id, "published", "failed", "held")
        assert worker.stop() == 0
    assert (row["status"], row["error_code"]) == ("published", None)
    (video,) = world.videos(account)
    assert video.size_bytes == put.size_bytes
    assert video.sha256 == put.sha256
    log = (world.directory / "worker.log").read_text()
    for secret in (SECRET_KEY, "token=", "eyJ"):
        assert secret not in log
