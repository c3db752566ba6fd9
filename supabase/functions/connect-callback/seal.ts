// Sealing of the authorization code, so that only a worker can open it: neither a row nor a statement log ever shows a code.
// Format and reasons: orbyt_worker/callback_crypto.py, which opens it.

const VERSION = 1;
const SECRET_BYTES = 32;
const IV_BYTES = 12;

/** The public half of a callback key, as `orbyt.callback_key()` gives it. */
export interface CallbackKey {
  readonly key_id: string;
  readonly jwk: { readonly kty: string; readonly n: string; readonly e: string };
}

/** The code for this session only, in base64. */
export async function seal(code: string, key: CallbackKey, stateHash: string): Promise<string> {
  const text = new TextEncoder();
  const { kty, n, e } = key.jwk;
  const rsa = await crypto.subtle.importKey(
    "jwk",
    { kty, n, e },
    { name: "RSA-OAEP", hash: "SHA-256" },
    false,
    ["encrypt"],
  );
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
  const aes = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt"]);
  const wrapped = new Uint8Array(await crypto.subtle.encrypt({ name: "RSA-OAEP" }, rsa, secret));
  const ciphertext = new Uint8Array(
    await crypto.subtle.encrypt(
      { name: "AES-GCM", iv, additionalData: text.encode(stateHash), tagLength: 128 },
      aes,
      text.encode(code),
    ),
  );
  const sealed = Uint8Array.of(VERSION, wrapped.length >> 8, wrapped.length & 255, ...wrapped, ...iv, ...ciphertext);
  return btoa(String.fromCharCode(...sealed));
}
