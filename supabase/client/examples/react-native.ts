import * as WebBrowser from "expo-web-browser";
import type { Job, Orbyt, Watch } from "orbyt-client";
import { AppState } from "react-native";

/** A phone sleeps: look again when the app is opened. */
export function watchOnPhone(orbyt: Orbyt, postId: string, show: (jobs: Job[]) => void): Watch {
  return orbyt.watch({ postId }, show, {
    onFocus: (refresh) => {
      const subscription = AppState.addEventListener("change", (state) => {
        if (state === "active") refresh();
      });
      return () => subscription.remove();
    },
  });
}

/** `browse` of connect.ts: the system browser, which closes by itself when the link leads back to the app. */
export async function browse(url: string, returnTo: string): Promise<string | null> {
  const result = await WebBrowser.openAuthSessionAsync(url, returnTo);
  return result.type === "success" ? result.url : null;
}
