export { Constants } from "./database.js";
export * from "./errors.js";
export * from "./payloads.js";
