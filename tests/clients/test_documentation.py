"""The TypeScript of README.md and docs/quickstart.md: one after the other, type-checked and run on the real Data API, as an app
would that was put together from it."""

from __future__ import annotations

import re
from pathlib import Path

from orbyt_worker.generate import ROOT
from tests.clients.conftest import App
from tests.fix_lite import CheckTypes, RunNode

# What the pages leave to the reader: values, and what a screen does with a row.
BEFORE = """
import assert from 'node:assert/strict'
const given = JSON.parse(process.env['GIVEN'] ?? '')
const { key: publishableKey, token: usersToken, userId, playbackId, page } = given
const account_id: string = given.account
const title = 'A title'
const caption = 'Hello'
const media = [{ type: 'video', url: `mux://${playbackId}` }]
const options = { privacy: 'public' }
const publish_at = new Date(Date.now() + 86_400_000).toISOString()
const show = (row: unknown) => assert.ok(row)
const merge = show
const reload = async () => undefined

/** Opens the address as a browser would, and waits until there is something to choose. */
async function browse(client: typeof supabase, begun: { session_id: string; authorize_url: string }) {
  let url = `${begun.authorize_url}&sandbox_account=${given.person}`
  while (url.startsWith('http')) {
    const next = (await fetch(url, { redirect: 'manual' })).headers.get('location')
    assert.ok(next)
    url = new URL(next, url).href
  }
  assert.match(url, /^studiox:\\/\\/connected\\?session_id=/)
  for (;;) {
    const { data } = await client.schema('orbyt').from('connect_sessions').select().eq('session_id', begun.session_id).single()
    if (data.status === 'choose') return
    assert.equal(data.status, 'exchanging')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
"""
AFTER = """
assert.equal(error, null)
assert.deepEqual(problems, [])
const { data: accounts } = await orbyt.from('accounts').select().eq('platform', 'facebook')
assert.equal(accounts?.length, 1)
await supabase.removeAllChannels()
console.log(JSON.stringify({ job_id }))
process.exit(0)
"""


def blocks(page: str) -> list[str]:
    return re.findall(r"^```ts\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def put_in(text: str, what: str, instead: str) -> str:
    changed, times = re.subn(what, lambda _: instead, text, flags=re.MULTILINE)
    assert times == 1, f"{what} is {times} times in the documentation: say here what stands for it now"
    return changed


def test_the_quickstart_works_as_it_stands(
    app: App, app_directory: Path, check_types: CheckTypes, run_node: RunNode
) -> None:
    state = app.world.sandbox.state
    youtube, person = app.connect("youtube"), state.meta.create_user()
    pages = state.meta.create_pages(2, user_id=person.user_id)
    text = "\n".join([*blocks("docs/quickstart.md"), *blocks("README.md")])
    text = put_in(text, r"'http://127\.0\.0\.1:8792'", "given.url")
    text = put_in(text, r"^// Open begun\.authorize_url in the system browser.*$", "await browse(supabase, begun)")
    text = put_in(text, r"^if \(error\) \{$", "const job_id: string = job.job_id\nif (error) {")
    imports = "\n".join(line for line in text.splitlines() if line.startswith("import "))
    body = "\n".join(line for line in text.splitlines() if not line.startswith("import "))
    (app_directory / "quickstart.ts").write_text("\n".join([imports, BEFORE, body, AFTER]), "utf-8")
    check_types("quickstart.ts", "--noUnusedLocals", "false")
    video = app.world.sandbox.state.mux.create_asset(size_bytes=700_000)
    answer = run_node(
        "quickstart.ts",
        app.given(
            account=youtube.account_id, playbackId=video.playback_id, person=person.user_id, page=pages[0].page_id
        ),
    )
    assert answer["job_id"]
