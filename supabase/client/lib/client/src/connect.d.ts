/** From a button to connected accounts: begin, open the platform's page, follow the session, let the person choose. */
import type { Account, BegunConnect, Candidate, ConnectSession, Login, Platform } from "../../types/index.js";
import { type AnySupabaseClient, type OrbytClient } from "./api.js";
import { type Subject, type WatchOptions } from "./watch.js";
/** What the link back to the app carries. */
export interface ReturnLink {
    sessionId: string | undefined;
    status: string | undefined;
    /** Once, and only with ORBYT_CONNECT_PROOF: whoever has the link may finish. */
    proof: string | undefined;
}
type Maybe<T> = T | Promise<T>;
export interface FollowOptions extends Pick<WatchOptions, "via" | "pollSeconds" | "onFocus" | "signal" | "timers"> {
    /**
     * Which of the candidates to connect, by `platform_account_id`; null or [] when the person does not want any. Called when there
     * is a choice, and with ORBYT_CONNECT_PROOF always.
     */
    choose: (candidates: Candidate[], session: ConnectSession) => Maybe<readonly string[] | null>;
    /** Every state of the session, for the screen in between. */
    onSession?: (session: ConnectSession) => void;
}
export interface ConnectOptions extends FollowOptions {
    platform: Platform;
    /** One of the installation's links, letter for letter (ORBYT_CONNECT_RETURN_TO). */
    returnTo: string;
    /** Only where a platform has several (Instagram: facebook, instagram). */
    login?: Login;
    /** To connect this account again; no other is taken. */
    accountId?: string;
    /**
     * Opens the address in the system browser (not in a web view: the platforms refuse those). Resolves with the link the browser
     * came back by, with null when the person closed it, or with undefined when the app hears of the link elsewhere.
     */
    open: (authorizeUrl: string, session: BegunConnect) => Maybe<string | null | undefined>;
}
/** What `session_id`, `status` and `proof` of the link back to the app are. No URL class: React Native's is incomplete. */
export declare function readReturnLink(link: string): ReturnLink;
export declare function connect(client: AnySupabaseClient, orbyt: OrbytClient, options: ConnectOptions): Promise<Account[]>;
/** Goes on after the link back has opened the app anew (a web page, or an app the system had ended). */
export declare function resume(client: AnySupabaseClient, orbyt: OrbytClient, link: string, options: FollowOptions): Promise<Account[]>;
export declare function finishConnect(orbyt: OrbytClient, sessionId: string, platformAccountIds: readonly string[], proof?: string): Promise<Account[]>;
export declare function sessionSubject(orbyt: OrbytClient, sessionId: string): Subject<ConnectSession>;
export {};
