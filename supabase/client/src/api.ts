/** The few requests everything else is made of. */
import type { SupabaseClient } from "@supabase/supabase-js";
import type { OrbytDatabase } from "../../types/index.ts";
import { OrbytError, toOrbytError } from "./errors.ts";

/** Any client of supabase-js, whatever its own database type is. */
// biome-ignore lint/suspicious/noExplicitAny: the app's own types say nothing about the schema orbyt
export type AnySupabaseClient = SupabaseClient<any, any, any, any, any>;
export type OrbytClient = SupabaseClient<OrbytDatabase, "orbyt">;

interface Answer<T> {
  data: T | null;
  error: unknown;
  status?: number;
}

/** The data of an answer; throws an OrbytError. Also for a request that was thrown out before it was sent. */
export async function ask<T>(request: PromiseLike<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await request;
  } catch (error) {
    throw toOrbytError(error);
  }
  if (answer.error) throw toOrbytError(answer.error, answer.status);
  if (answer.data === null) throw new OrbytError("request_failed", { message: "The answer is empty." });
  return answer.data;
}

/** A random UUID (version 4), also where the platform has no `crypto` (React Native without a polyfill). Not a secret. */
export function newId(): string {
  const crypto = (globalThis as { crypto?: { randomUUID?: () => string } }).crypto;
  if (crypto?.randomUUID) return crypto.randomUUID();
  return "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replace(/[xy]/g, (letter) => {
    const digit = Math.floor(Math.random() * 16);
    return (letter === "x" ? digit : (digit & 3) | 8).toString(16);
  });
}
