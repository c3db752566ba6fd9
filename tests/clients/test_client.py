"""supabase/client: as packed, on the real Data API, with its examples; and that its documentation shows what was tested."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from uuid import UUID

from tests.clients.conftest import App
from tests.fix_lite import CLIENT, CheckTypes, RunNode

HERE = Path(__file__).parent
EXAMPLES = CLIENT / "examples"

# What the phone's example imports, as far as it uses it.
PHONE = """
declare module "react-native" {
  export const AppState: { addEventListener(name: "change", told: (state: "active" | "background" | "inactive") => void): { remove(): void } };
}
declare module "expo-web-browser" {
  export function openAuthSessionAsync(url: string, returnTo: string): Promise<{ type: "success"; url: string } | { type: "cancel" | "dismiss" }>;
}
"""


def test_an_app_publishes_watches_connects_and_understands_errors(
    app: App, app_directory: Path, check_types: CheckTypes, run_node: RunNode
) -> None:
    state = app.world.sandbox.state
    youtube, facebook, theirs = app.connect("youtube"), app.connect("facebook"), app.connect("youtube", app.other_id)
    google, meta = state.google.create_account(channel_title="A channel"), state.meta.create_user()
    pages = state.meta.create_pages(3, user_id=meta.user_id)
    shutil.copytree(EXAMPLES, app_directory / "examples")
    shutil.copy(HERE / "client.ts", app_directory)
    (app_directory / "phone.d.ts").write_text(PHONE, "utf-8")
    check_types("client.ts", "examples/react-native.ts", "phone.d.ts")
    playback_id = app.world.video(width=540, height=960, seconds=4.0)["url"].removeprefix("https://stream.mux.com/")
    answer = run_node(
        "client.ts",
        app.given(
            youtube=youtube.account_id,
            facebook=facebook.account_id,
            theirs=theirs.account_id,
            playbackId=playback_id.removesuffix(".m3u8"),
            googlePerson=google.sub,
            metaPerson=meta.user_id,
            page=pages[1].page_id,
        ),
    )
    assert app.world.job(UUID(answer["published"]))["status"] == "published"
    assert len(app.world.videos(youtube)) == 1


def test_the_readme_shows_the_tested_examples() -> None:
    readme = (CLIENT / "README.md").read_text("utf-8")
    shown = dict(re.findall(r"<!-- (examples/[\w-]+\.ts) -->\n\n```ts\n(.*?)```", readme, re.DOTALL))
    assert set(shown) == {f"examples/{path.name}" for path in EXAMPLES.glob("*.ts")}
    for name, text in shown.items():
        assert text == (CLIENT / name).read_text("utf-8"), f"{name}: copy the file into the README"
    assert readme.count("```ts") == len(shown)


def test_the_package_runs_anywhere() -> None:
    """React Native has no modules of Node's, and Metro no import of the types that are only there at compile time."""
    imports = {
        name
        for path in (CLIENT / "lib").rglob("*.js")
        for name in re.findall(r"""(?:from|import|require\()\s*["']([^"']+)["']""", path.read_text("utf-8"))
    }
    assert imports
    assert [name for name in imports if not name.startswith(".")] == []
    sources = "".join(path.read_text("utf-8") for path in (CLIENT / "src").glob("*.ts"))
    for word in ("process.", "Buffer", "require(", "node:", "structuredClone", "new URL("):
        assert word not in sources
