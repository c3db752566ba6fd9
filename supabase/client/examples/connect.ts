import { type Account, type Candidate, explain, type Orbyt, OrbytError, type Platform } from "orbyt-client";

/** The parts of an app that a login needs: a system browser, a list to choose from, a message. */
export interface Screens {
  /** Opens the browser; resolves with the link it came back by, or null when it was closed. */
  browse(url: string, returnTo: string): Promise<string | null>;
  choose(candidates: Candidate[]): Promise<string[]>;
  tell(text: string): void;
}

/** The button "Connect", and with an account the button "Reconnect". */
export async function connectAccounts(orbyt: Orbyt, platform: Platform, screens: Screens, account?: Account): Promise<Account[]> {
  const returnTo = "studiox://connected"; // one of ORBYT_CONNECT_RETURN_TO
  try {
    return await orbyt.connect({
      platform,
      returnTo,
      ...(account ? { accountId: account.account_id } : {}),
      open: (url) => screens.browse(url, returnTo),
      choose: (candidates) => screens.choose(candidates.filter((candidate) => candidate.usable)),
    });
  } catch (error) {
    if (error instanceof OrbytError && error.code === "connect_cancelled") return [];
    const reason = explain(error);
    screens.tell(reason ? `${reason.title}. ${reason.whatToDo}` : "Something went wrong.");
    return [];
  }
}
