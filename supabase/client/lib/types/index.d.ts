/** Everything an app needs to talk to Orbyt's tables and functions in TypeScript. */
export type { Database, Json } from "./database.js";
export { Constants } from "./database.js";
export * from "./errors.js";
export * from "./payloads.js";
