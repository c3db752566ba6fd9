// Runs the Edge Function's handler on cases from standard input, with an environment and a Data API that each case brings along.

import { handle } from "../../supabase/functions/connect-callback/handler.ts";
import { CallbackKey, seal } from "../../supabase/functions/connect-callback/seal.ts";

interface Answer {
  readonly status?: number;
  readonly json?: unknown;
  readonly text?: string;
  readonly fails?: boolean;
}

interface Case {
  readonly url?: string;
  readonly env?: Record<string, string>;
  readonly answers?: readonly Answer[];
  readonly seal?: string;
  readonly key?: CallbackKey;
  readonly open?: string;
  readonly der?: string;
  readonly state_hash?: string;
}

async function visit(each: Case): Promise<unknown> {
  const calls: unknown[] = [];
  const answers = [...each.answers ?? []];
  const fetch = (url: string, init: RequestInit): Promise<Response> => {
    const headers = Object.fromEntries(new Headers(init.headers));
    calls.push({ url, method: init.method, headers, body: JSON.parse(String(init.body)) });
    const answer = answers.shift();
    if (answer === undefined) throw new Error("one call more than there are answers");
    if (answer.fails) return Promise.reject(new TypeError("connection reset: planted"));
    return Promise.resolve(new Response(answer.text ?? JSON.stringify(answer.json), { status: answer.status }));
  };
  const env = { get: (name: string) => each.env?.[name] };
  // Nothing but the results goes to standard output.
  const log: unknown[] = [];
  console.log = (line: string) => log.push(JSON.parse(line));
  const response = await handle(new Request(each.url ?? ""), env, fetch);
  const headers = Object.fromEntries(response.headers);
  return { status: response.status, headers, text: await response.text(), calls, log };
}

async function open(sealed: string, der: string, stateHash: string): Promise<string> {
  const bytes = (text: string) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const blob = bytes(sealed);
  if (blob[0] !== 1) throw new Error("version");
  const wrappedBytes = ((blob[1] ?? 0) << 8) + (blob[2] ?? 0);
  const ivAt = 3 + wrappedBytes;
  const rsa = await crypto.subtle.importKey("pkcs8", bytes(der), { name: "RSA-OAEP", hash: "SHA-256" }, false, [
    "decrypt",
  ]);
  const secret = await crypto.subtle.decrypt({ name: "RSA-OAEP" }, rsa, blob.slice(3, ivAt));
  const aes = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["decrypt"]);
  const plain = await crypto.subtle.decrypt(
    { name: "AES-GCM", iv: blob.slice(ivAt, ivAt + 12), additionalData: new TextEncoder().encode(stateHash) },
    aes,
    blob.slice(ivAt + 12),
  );
  return new TextDecoder().decode(plain);
}

const print = console.log;
const results: unknown[] = [];
for (const each of JSON.parse(await new Response(Deno.stdin.readable).text()) as Case[]) {
  const stateHash = each.state_hash ?? "";
  if (each.seal !== undefined && each.key !== undefined) {
    results.push({ sealed: await seal(each.seal, each.key, stateHash) });
  } else if (each.open !== undefined && each.der !== undefined) {
    results.push({ opened: await open(each.open, each.der, stateHash) });
  } else {
    results.push(await visit(each));
  }
}
print(JSON.stringify(results));
