/** The few requests everything else is made of. */
import type { SupabaseClient } from "@supabase/supabase-js";
import type { OrbytDatabase } from "../../types/index.js";
/** Any client of supabase-js, whatever its own database type is. */
export type AnySupabaseClient = SupabaseClient<any, any, any, any, any>;
export type OrbytClient = SupabaseClient<OrbytDatabase, "orbyt">;
interface Answer<T> {
    data: T | null;
    error: unknown;
    status?: number;
}
/** The data of an answer; throws an OrbytError. Also for a request that was thrown out before it was sent. */
export declare function ask<T>(request: PromiseLike<Answer<T>>): Promise<T>;
/** A random UUID (version 4), also where the platform has no `crypto` (React Native without a polyfill). Not a secret. */
export declare function newId(): string;
export {};
