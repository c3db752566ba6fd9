"""The simulator of Mux: API with its limits, renditions that become ready later, and the streaming host."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any, cast
from urllib.parse import urljoin

import av
import httpx
import jwt
import pytest
from av.container import InputContainer

from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.mux import READ_ONLY_TOKEN_ID, TOKEN_ID, TOKEN_SECRET
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox

AUTH = httpx.BasicAuth(TOKEN_ID, TOKEN_SECRET)


def asset_of(client: httpx.Client, asset_id: str) -> dict[str, Any]:
    answer = client.get(f"/mux-api/video/v1/assets/{asset_id}", auth=AUTH)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def ask_for(client: httpx.Client, asset_id: str, resolution: str) -> httpx.Response:
    return client.post(
        f"/mux-api/video/v1/assets/{asset_id}/static-renditions", json={"resolution": resolution}, auth=AUTH
    )


@pytest.fixture(autouse=True)
def _no_limits(sandbox: Sandbox) -> None:
    sandbox.mux.configure(rate_limits=False)


# --- API ----------------------------------------------------------------------------------------------------------


def test_a_playback_id_leads_to_the_asset_and_its_files(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(size_bytes=3_000_000, width=1920, height=1080)
    found = client.get(f"/mux-api/video/v1/playback-ids/{made.playback_id}", auth=AUTH).json()["data"]
    assert found == {"id": made.playback_id, "policy": "public", "object": {"type": "asset", "id": made.asset_id}}
    asset = asset_of(client, made.asset_id)
    assert (asset["status"], asset["aspect_ratio"], asset["created_at"].isdecimal()) == ("ready", "16:9", True)
    (file,) = asset["static_renditions"]["files"]
    assert (file["name"], file["status"], file["filesize"], file["height"]) == ("highest.mp4", "ready", "3000000", 1080)


def test_credentials_and_permissions(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(renditions=())
    path = f"/mux-api/video/v1/assets/{made.asset_id}"
    assert client.get(path).status_code == 401
    assert client.get(path, auth=httpx.BasicAuth(TOKEN_ID, "wrong")).json()["error"]["type"] == "unauthorized"
    reader = httpx.BasicAuth(READ_ONLY_TOKEN_ID, TOKEN_SECRET)
    assert client.get(path, auth=reader).status_code == 200
    assert client.post(path + "/static-renditions", json={"resolution": "highest"}, auth=reader).status_code == 403
    assert client.get("/mux-api/video/v1/assets/none", auth=AUTH).json()["error"]["type"] == "not_found"
    assert client.get("/mux-api/video/v1/playback-ids/none", auth=AUTH).status_code == 404


def test_rate_limits(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.clock.freeze()
    sandbox.mux.configure(rate_limits=True)
    made = sandbox.mux.create_asset()
    statuses = [client.get(f"/mux-api/video/v1/assets/{made.asset_id}", auth=AUTH).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    answer = client.get(f"/mux-api/video/v1/assets/{made.asset_id}", auth=AUTH)
    assert answer.headers["retry-after"] == "1"
    sandbox.clock.advance(1)
    assert client.get(f"/mux-api/video/v1/assets/{made.asset_id}", auth=AUTH).status_code == 200


def test_a_rendition_asked_for_becomes_ready_later(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.clock.freeze()
    made = sandbox.mux.create_asset(renditions=())
    answer = ask_for(client, made.asset_id, "highest")
    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "preparing")
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 404
    sandbox.mux.configure(not_ready_status=412)
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 412
    sandbox.clock.advance(6)
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 200
    assert ask_for(client, made.asset_id, "highest").status_code == 409


def test_exclusions_and_skipped_files(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(renditions=("highest",), width=640, height=360, audio=False)
    assert ask_for(client, made.asset_id, "720p").status_code == 400
    assert ask_for(client, made.asset_id, "nonsense").json()["error"]["type"] == "invalid_parameters"
    path = f"/mux-api/video/v1/assets/{made.asset_id}/mp4-support"
    assert client.put(path, json={"mp4_support": "capped-1080p"}, auth=AUTH).status_code == 400
    small = sandbox.mux.create_asset(renditions=("360p", "1080p", "audio-only"), width=640, height=360, audio=False)
    files = {file["name"]: file["status"] for file in asset_of(client, small.asset_id)["static_renditions"]["files"]}
    assert files == {"360p.mp4": "ready", "1080p.mp4": "skipped", "audio.m4a": "skipped"}
    assert client.get(f"{small.stream_url}/1080p.mp4").status_code == 404


def test_legacy_files_have_no_status_of_their_own(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(mp4_support="standard", width=800, height=450)
    renditions = asset_of(client, made.asset_id)["static_renditions"]
    assert renditions["status"] == "ready"
    assert [file["name"] for file in renditions["files"]] == ["low.mp4", "medium.mp4"]
    assert all("status" not in file and "id" not in file for file in renditions["files"])
    assert client.get(f"{made.stream_url}/medium.mp4").status_code == 200


def test_control_over_the_life_of_an_asset(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(asset_ready_after_seconds=None, renditions_ready_after_seconds=None)
    assert asset_of(client, made.asset_id)["status"] == "preparing"
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 412
    sandbox.mux.finish_asset(made.asset_id)
    assert client.get(made.hls_url).status_code == 200
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 404
    sandbox.mux.finish_rendition(made.asset_id, "highest.mp4", ends_as="errored")
    assert asset_of(client, made.asset_id)["static_renditions"]["files"][0]["status"] == "errored"
    sandbox.mux.finish_rendition(made.asset_id)
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 200
    sandbox.mux.delete_asset(made.asset_id)
    assert client.get(f"{made.stream_url}/highest.mp4").status_code == 404


def test_errored_test_and_live(sandbox: Sandbox, client: httpx.Client) -> None:
    broken = sandbox.mux.create_asset(errored=True)
    assert asset_of(client, broken.asset_id)["errors"]["type"] == "invalid_input"
    trial = sandbox.mux.create_asset(test=True, seconds=30)
    assert (asset_of(client, trial.asset_id)["test"], asset_of(client, trial.asset_id)["duration"]) == (True, 10.0)
    live = sandbox.mux.create_live_stream()
    assert (
        client.get(f"/mux-api/video/v1/playback-ids/{live}", auth=AUTH).json()["data"]["object"]["type"]
        == "live_stream"
    )
    assert client.get(f"/mux-stream/{live}.m3u8").status_code == 412


def test_the_master_lives_a_day(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.clock.freeze()
    made = sandbox.mux.create_asset(size_bytes=500_000)
    path = f"/mux-api/video/v1/assets/{made.asset_id}/master-access"
    answer = client.put(path, json={"master_access": "temporary"}, auth=AUTH)
    assert answer.json()["data"]["master"] == {"status": "preparing"}
    sandbox.clock.advance(121)
    url = asset_of(client, made.asset_id)["master"]["url"]
    assert len(client.get(url).content) == 1_000_000
    sandbox.clock.advance(86_400)
    assert "master" not in asset_of(client, made.asset_id)
    assert client.get(url).status_code == 403


def test_faults_of_the_api_have_its_error_shape(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.faults.add("mux.api", "status", status=500)
    answer = client.get("/mux-api/video/v1/assets/x", auth=AUTH)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal_server_error")


# --- streaming host -----------------------------------------------------------------------------------------------


def test_public_files(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(size_bytes=2_000_000)
    answer = client.get(f"{made.stream_url}/highest.mp4")
    assert hashlib.sha256(answer.content).hexdigest() == sandbox.mux.file_sha256(made.asset_id)
    assert client.get(made.hls_url).text.startswith("#EXTM3U")
    assert client.get(f"{made.stream_url}/1080p.mp4").json() == {"code": 5, "message": "Not Found"}
    token = sandbox.mux.sign(made.playback_id)
    assert client.get(f"{made.stream_url}/highest.mp4", params={"token": token}).status_code == 403
    head = client.head(f"{made.stream_url}/highest.mp4")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "2000000", b"")


def test_signed_files(sandbox: Sandbox, server: SandboxServer, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(policy="signed")
    url = f"{made.stream_url}/highest.mp4"

    def status(token: str | None, **more: str) -> int:
        return client.get(url, params={**({"token": token} if token else {}), **more}).status_code

    assert status(None) == 403
    good = sandbox.mux.sign(made.playback_id)
    assert status(good) == 200
    assert status(good, download="x") == 400
    assert status(sandbox.mux.sign(made.playback_id, aud="t")) == 403
    assert status(sandbox.mux.sign("another")) == 403
    assert status(sandbox.mux.sign(made.playback_id, seconds=-1)) == 403
    assert status("nonsense") == 403
    sandbox.clock.advance(3601)
    assert status(good) == 403
    # A token minted from the settings, as a worker does.
    env = server.settings_env()
    claims = {"sub": made.playback_id, "aud": "v", "exp": int(sandbox.clock.timestamp()) + 60}
    key = base64.b64decode(env["ORBYT_MUX_SIGNING_PRIVATE_KEY"])
    assert status(jwt.encode(claims, key, algorithm="RS256", headers={"kid": env["ORBYT_MUX_SIGNING_KEY_ID"]})) == 200
    assert status(jwt.encode(claims, key, algorithm="RS256", headers={"kid": "another"})) == 403
    assert (
        status(
            jwt.encode(
                {**claims, "aud": ["v", "t"]}, key, algorithm="RS256", headers={"kid": env["ORBYT_MUX_SIGNING_KEY_ID"]}
            )
        )
        == 403
    )


def test_drm_files_are_out_of_reach(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(policy="drm")
    answer = client.get(f"{made.stream_url}/highest.mp4", params={"token": sandbox.mux.sign(made.playback_id)})
    assert answer.status_code == 403


def test_another_playback_id_can_be_made(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(policy="drm")
    path = f"/mux-api/video/v1/assets/{made.asset_id}/playback-ids"
    public = client.post(path, json={"policy": "public"}, auth=AUTH).json()["data"]["id"]
    assert client.get(f"/mux-stream/{public}/highest.mp4").status_code == 200
    assert client.delete(f"{path}/{public}", auth=AUTH).status_code == 204
    assert client.get(f"/mux-stream/{public}/highest.mp4").status_code == 404


def test_the_streaming_host_can_misbehave(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(size_bytes=2_000_000, behaviour=Behaviour(ranges=False, head=False))
    url = f"{made.stream_url}/highest.mp4"
    assert client.get(url, headers={"Range": "bytes=0-9"}).status_code == 200
    assert client.head(url).status_code == 405
    sandbox.mux.set_behaviour(made.asset_id, Behaviour(truncate_after_bytes=1_000_000))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(url)


def test_a_large_asset_costs_nothing_until_it_is_read(sandbox: Sandbox, client: httpx.Client) -> None:
    size = 200 * 1024**3
    made = sandbox.mux.create_asset(size_bytes=size)
    url = f"{made.stream_url}/highest.mp4"
    assert client.head(url).headers["content-length"] == str(size)
    tail = client.get(url, headers={"Range": f"bytes={size - 10}-"})
    assert (tail.status_code, len(tail.content), tail.headers["content-range"]) == (
        206,
        10,
        f"bytes {size - 10}-{size - 1}/{size}",
    )


# --- HLS ----------------------------------------------------------------------------------------------------------


def lines(client: httpx.Client, url: str) -> list[str]:
    answer = client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-mpegURL")
    found = answer.text.splitlines()
    assert found[0] == "#EXTM3U"
    return found


def addresses(url: str, found: list[str]) -> list[str]:
    return [urljoin(url, each) for each in found if each and not each.startswith("#")]


@pytest.mark.parametrize("policy", ["public", "signed"])
def test_a_stream_in_transport_segments(policy: Any, sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(renditions=(), seconds=5.0, width=640, height=360, policy=policy)
    url = made.hls_url
    if policy == "signed":
        assert client.get(url).status_code == 403
        url += f"?token={sandbox.mux.sign(made.playback_id)}"
    master = lines(client, url)
    large, small = addresses(url, master)
    assert [each.partition("RESOLUTION=")[2].partition(",")[0] for each in master if "RESOLUTION" in each] == [
        "640x360",
        "480x270",
    ]
    found = lines(client, large)
    assert found[-1] == "#EXT-X-ENDLIST"
    assert sum(float(each[8:-1]) for each in found if each.startswith("#EXTINF:")) == pytest.approx(5.0, abs=0.1)
    segments = [client.get(each) for each in addresses(large, found)]
    assert [each.status_code for each in segments] == [200, 200, 200]
    assert all(each.content[::188].strip(b"G") == b"" for each in segments)
    with cast(InputContainer, av.open(io.BytesIO(b"".join(each.content for each in segments)), format="mpegts")) as ts:
        assert {each.type for each in ts.streams} == {"video", "audio"}
        assert sum(1 for _ in ts.decode(video=0)) == 125
    assert lines(client, small) != found


def test_a_stream_in_fragments_has_its_sound_apart(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(renditions=(), seconds=5.0, width=640, height=360, hls="fmp4")
    master = lines(client, made.hls_url)
    (sound,) = [each for each in master if each.startswith("#EXT-X-MEDIA:TYPE=AUDIO")]
    uri = sound.partition('URI="')[2].rstrip('"')
    for url, kind in ((addresses(made.hls_url, master)[0], "video"), (uri, "audio")):
        found = lines(client, url)
        header = next(each for each in found if each.startswith("#EXT-X-MAP:")).partition('URI="')[2].rstrip('"')
        parts = [client.get(urljoin(url, header)), *(client.get(each) for each in addresses(url, found))]
        with cast(InputContainer, av.open(io.BytesIO(b"".join(each.content for each in parts)), format="mov")) as mp4:
            assert [each.type for each in mp4.streams] == [kind]


def test_addresses_in_playlists_are_signed_and_end(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.clock.freeze()
    sandbox.mux.configure(stream_url_seconds=60)
    made = sandbox.mux.create_asset(renditions=(), seconds=2.0, width=640, height=360)
    url = addresses(made.hls_url, lines(client, made.hls_url))[0]
    (segment,) = addresses(url, lines(client, url))
    assert client.get(segment).status_code == 200
    assert client.get(segment.replace("360p", "270p")).status_code == 403
    assert client.get(segment.partition("?")[0]).status_code == 403
    assert client.get(segment.replace("0.ts", "1.ts")).status_code == 404
    sandbox.clock.advance(60)
    assert client.get(segment).status_code == 403
    assert client.get(url).status_code == 403
    assert client.get(addresses(made.hls_url, lines(client, made.hls_url))[0]).status_code == 200


def test_a_stream_that_is_not_there(sandbox: Sandbox, client: httpx.Client) -> None:
    waiting = sandbox.mux.create_asset(asset_ready_after_seconds=None, seconds=1.0)
    broken = sandbox.mux.create_asset(errored=True, seconds=1.0)
    gone = sandbox.mux.create_asset(seconds=1.0)
    url = addresses(gone.hls_url, lines(client, gone.hls_url))[0]
    sandbox.mux.delete_asset(gone.asset_id)
    statuses = [client.get(each).status_code for each in (waiting.hls_url, broken.hls_url, gone.hls_url, url)]
    assert statuses == [412, 404, 404, 404]


def test_segments_misbehave_like_files(sandbox: Sandbox, client: httpx.Client) -> None:
    made = sandbox.mux.create_asset(renditions=(), seconds=2.0, behaviour=Behaviour(truncate_after_bytes=1000))
    url = addresses(made.hls_url, lines(client, made.hls_url))[0]
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(addresses(url, lines(client, url))[0])


def test_one_request_for_a_file_a_second(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.clock.freeze()
    sandbox.mux.configure(rate_limits=True)
    made = [sandbox.mux.create_asset(renditions=(), seconds=1.0).asset_id for _ in range(2)]
    assert [ask_for(client, each, "highest").status_code for each in made] == [201, 429]
    sandbox.clock.advance(1)
    assert ask_for(client, made[1], "highest").status_code == 201


def test_requests_that_are_refused(sandbox: Sandbox, client: httpx.Client) -> None:
    legacy = sandbox.mux.create_asset(mp4_support="capped-1080p", seconds=1.0)
    advanced = sandbox.mux.create_asset(renditions=("720p",), seconds=1.0)
    assert ask_for(client, legacy.asset_id, "highest").status_code == 400
    assert ask_for(client, advanced.asset_id, "highest").status_code == 400
    assert ask_for(client, advanced.asset_id, "720p").status_code == 409
    assert ask_for(client, advanced.asset_id, "audio-only").status_code == 201
    path = f"/mux-api/video/v1/assets/{legacy.asset_id}/mp4-support"
    assert client.put(path, json={"mp4_support": "none"}, auth=AUTH).status_code == 200
    assert ask_for(client, legacy.asset_id, "highest").status_code == 201
