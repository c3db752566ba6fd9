// The Data API of hosted Supabase on a plain PostgreSQL: @supabase/lite, embedded, so that the real supabase-js works without Docker.
// Development only, started by lite.py; what it is told comes in the environment, and it ends when its standard input does.
//
//   ORBYT_LITE_MODULES       node_modules with @supabase/lite and postgres
//   ORBYT_LITE_DATABASE_URL  as the role lite_api. With a database it is served at /; without one the first part of the path names it
//   ORBYT_LITE_SCHEMAS       exposed schemas, comma separated
//   ORBYT_LITE_JWT_SECRET, ORBYT_LITE_PUBLISHABLE_KEY, ORBYT_LITE_SECRET_KEY
//   ORBYT_LITE_PORT          0 takes a free one
//
// `DELETE /_databases/<name>` closes the connections to a database, so that it can be dropped.
import { createServer } from 'node:http'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const env = process.env
const load = (path) => import(pathToFileURL(join(env.ORBYT_LITE_MODULES, '@supabase', 'lite', 'dist', path)).href)
const { App } = await load('index.js')
const { createPostgresConnection } = await load('db/postgres/PostgresConnection.js')

const CONNECTIONS_MAX = 4 // for each database
const BODY_BYTES_MAX = 8 * 1024 * 1024
// lite looks the table up before it answers a browser's preflight, and finds none without the schema the real request will name.
const PREFLIGHT = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD',
  'access-control-max-age': '600',
}
const HEADERS_MANAGED = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length'])
// What lite already answers as PostgREST does; for any other SQLSTATE it says HTTP 500 and drops code, details and hint.
const ANSWERED_BY_LITE = /^(21|22|42|53|55|PGRST|PT|23502|23503|23505|25006)/

/** PostgREST answers an SQLSTATE it does not know with 400 and all four fields. Source: its Error.hs, `pgErrorStatus`. */
function likePostgrest(error) {
  if (typeof error?.code !== 'string' || error.code.length !== 5 || ANSWERED_BY_LITE.test(error.code)) return error
  const { code, message, detail = null, hint = null } = error
  // A function may choose its whole answer this way (PostgREST docs, "Raise errors with HTTP status codes"); lite knows it.
  return {
    code: 'PGRST',
    message: JSON.stringify({ code, message, details: detail, hint }),
    detail: JSON.stringify({ status: 400, headers: {} }),
  }
}

/** `2026-11-22 10:44:49.3+00`, as PostgreSQL writes it, in the form of its JSON, which is what PostgREST sends. */
const jsonTime = (text) => text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')

/** Lite sends the jsonb arguments of a function as text that the driver would then take for a JSON string. */
function json(value) {
  return typeof value === 'string' && /^\s*[{[]/.test(value) ? value : JSON.stringify(value)
}

const apps = new Map()

function open(name) {
  const url = new URL(env.ORBYT_LITE_DATABASE_URL)
  if (name) url.pathname = `/${name}`
  const connection = createPostgresConnection({
    url: url.href,
    postgresOptions: {
      max: CONNECTIONS_MAX,
      // "no privileges were granted" for every object: that it may grant nothing is the point (see lite.py).
      onnotice: () => {},
      types: {
        jsonb: { to: 3802, from: [3802], serialize: json, parse: (text) => JSON.parse(text) },
        timestamptz: { to: 1184, from: [1184], serialize: (value) => (value instanceof Date ? value.toISOString() : value), parse: jsonTime },
      },
    },
  })
  const normalize = connection.normalizeDbError.bind(connection)
  connection.normalizeDbError = (error) => likePostgrest(normalize(error))
  return new App({
    connection,
    api: { schemas: env.ORBYT_LITE_SCHEMAS.split(',') },
    auth: {
      enabled: true,
      jwt_secret: env.ORBYT_LITE_JWT_SECRET,
      publishable_key: env.ORBYT_LITE_PUBLISHABLE_KEY,
      secret_key: env.ORBYT_LITE_SECRET_KEY,
    },
  })
}

/** A promise each, so that two first requests share one. */
function appOf(name) {
  let app = apps.get(name)
  if (!app) {
    app = open(name).init()
    app.catch(() => apps.delete(name))
    apps.set(name, app)
  }
  return app
}

async function close(name) {
  const app = apps.get(name)
  apps.delete(name)
  await (await app?.catch(() => undefined))?.connection.close()
}

/**
 * Rows of a bulk insert that lack a key of the others: PostgREST puts null there, unless the request says `missing=default`. Lite puts
 * the column's default, and shows null whatever was stored.
 */
function filled(incoming, path, body) {
  const columns = new URL(path, 'http://localhost').searchParams.get('columns')
  if (incoming.method !== 'POST' || !columns || String(incoming.headers.prefer).includes('missing=default')) return body
  try {
    const rows = JSON.parse(body.toString('utf8'))
    if (!Array.isArray(rows)) return body
    const nulls = Object.fromEntries(columns.split(',').map((each) => [each.trim().replace(/^"|"$/g, ''), null]))
    return Buffer.from(JSON.stringify(rows.map((row) => ({ ...nulls, ...row }))))
  } catch {
    return body
  }
}

async function bodyOf(incoming) {
  const parts = []
  let bytes = 0
  for await (const part of incoming) {
    bytes += part.length
    if (bytes > BODY_BYTES_MAX) return undefined
    parts.push(part)
  }
  return Buffer.concat(parts)
}

async function handle(incoming, outgoing) {
  let path = incoming.url
  let name = ''
  const closing = incoming.method === 'DELETE' && /^\/_databases\/(\w+)$/.exec(path)
  if (closing) {
    await close(closing[1])
    outgoing.writeHead(204).end()
    return
  }
  if (incoming.method === 'OPTIONS' && incoming.headers['access-control-request-method']) {
    const wanted = incoming.headers['access-control-request-headers'] ?? ''
    outgoing.writeHead(204, { ...PREFLIGHT, 'access-control-allow-headers': wanted }).end()
    return
  }
  if (new URL(env.ORBYT_LITE_DATABASE_URL).pathname.length <= 1) {
    const found = /^\/(\w+)(\/.*)$/.exec(path)
    if (!found) {
      outgoing.writeHead(404).end()
      return
    }
    ;[, name, path] = found
  }
  const body = await bodyOf(incoming)
  if (body === undefined) {
    outgoing.writeHead(413).end()
    return
  }
  const request = new Request(`http://${incoming.headers.host}${path}`, {
    method: incoming.method,
    headers: Object.entries(incoming.headers)
      .filter(([key]) => !HEADERS_MANAGED.has(key))
      .flatMap(([key, value]) => [value].flat().map((each) => [key, each])),
    body: body.length ? filled(incoming, path, body) : undefined,
  })
  const answer = await (await appOf(name)).fetch(request, { peerAddress: incoming.socket.remoteAddress ?? null })
  const content = Buffer.from(await answer.arrayBuffer())
  const headers = [...answer.headers].filter(([key]) => !HEADERS_MANAGED.has(key))
  outgoing.writeHead(answer.status, Object.fromEntries([...headers, ['content-length', content.length]]))
  outgoing.end(content)
}

const server = createServer((incoming, outgoing) => {
  handle(incoming, outgoing).catch((error) => {
    console.error(error)
    if (!outgoing.headersSent) outgoing.writeHead(500)
    outgoing.end()
  })
})
server.listen(Number(env.ORBYT_LITE_PORT ?? 0), '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`)
})
process.stdin.on('end', () => process.exit(0)).resume()
