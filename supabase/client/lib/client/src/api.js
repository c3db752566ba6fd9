import { OrbytError, toOrbytError } from "./errors.js";
/** The data of an answer; throws an OrbytError. Also for a request that was thrown out before it was sent. */
export async function ask(request) {
    let answer;
    try {
        answer = await request;
    }
    catch (error) {
        throw toOrbytError(error);
    }
    if (answer.error)
        throw toOrbytError(answer.error, answer.status);
    if (answer.data === null)
        throw new OrbytError("request_failed", { message: "The answer is empty." });
    return answer.data;
}
/** A random UUID (version 4), also where the platform has no `crypto` (React Native without a polyfill). Not a secret. */
export function newId() {
    const crypto = globalThis.crypto;
    if (crypto?.randomUUID)
        return crypto.randomUUID();
    return "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx".replace(/[xy]/g, (letter) => {
        const digit = Math.floor(Math.random() * 16);
        return (letter === "x" ? digit : (digit & 3) | 8).toString(16);
    });
}
