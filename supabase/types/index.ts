/** Everything an app needs to talk to Orbyt's tables and functions in TypeScript. */
export type { Database, Json } from "./database.ts";
export { Constants } from "./database.ts";
export * from "./errors.ts";
export * from "./payloads.ts";
