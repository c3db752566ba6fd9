/**
 * What an app sends and reads where the database only knows jsonb: media, options, candidates, problems. Checked by the tests
 * against the database: option names and types with `orbyt.platforms.options`, platforms and logins with their tables.
 */
import type { Database } from "./database.ts";
import type { OrbytAction, OrbytErrorCode } from "./errors.ts";

type Schema = Database["orbyt"];
type Table<Name extends keyof Schema["Tables"]> = Schema["Tables"][Name];

export type Platform = "facebook" | "instagram" | "youtube";
export type Login = "facebook" | "google" | "instagram";
export type PostKind = Schema["Enums"]["post_kind"];
export type JobStatus = Schema["Enums"]["job_status"];
export type JobStage = Schema["Enums"]["job_stage"];
export type AccountStatus = Schema["Enums"]["account_status"];
export type ConnectStatus = Schema["Enums"]["connect_status"];

/** A code of the catalog, or one of a database that is newer than this package. */
export type AnyErrorCode = OrbytErrorCode | (string & {});

/** `https://…` (a Mux stream URL of any shape is recognised), `mux://<playback id>` or `storage://<bucket>/<path>`. */
export type MediaUrl = string;

export interface MediaItem {
  type: "image" | "video";
  url: MediaUrl;
  /** For people who cannot see it. Images only on Instagram. */
  alt_text?: string | null;
  /** An image to show before a video is played: same forms as `url`. */
  cover_url?: MediaUrl | null;
  /** A moment of the video to show before it is played, in milliseconds. */
  cover_offset_ms?: number | null;
}

/** Options with `platform: youtube`. What each means and its default: docs/platforms/youtube.md. */
export interface YouTubeOptions {
  privacy?: "public" | "unlisted" | "private" | null;
  tags?: string[] | null;
  /** The number of a YouTube category, as a string. */
  category_id?: string | null;
  made_for_kids?: boolean | null;
  /** Altered or generated content. */
  synthetic_media?: boolean | null;
  notify_subscribers?: boolean | null;
  playlist_id?: string | null;
  license?: "youtube" | "creativeCommon" | null;
  embeddable?: boolean | null;
  /** A captions file (SubRip or WebVTT); needs `captions_language`. */
  captions_url?: string | null;
  /** A language tag: `en`, `pt-BR`. */
  captions_language?: string | null;
  captions_name?: string | null;
}

/** A person on an item. `x` and `y` go from 0 to 1 and are for images. */
export interface UserTag {
  username: string;
  x?: number | null;
  y?: number | null;
  /** Which item, 0 is the first. */
  media?: number | null;
}

/** Options with `platform: instagram`. Which kinds take which: docs/platforms/instagram.md. */
export interface InstagramOptions {
  share_to_feed?: boolean | null;
  /** Usernames. */
  collaborators?: string[] | null;
  user_tags?: UserTag[] | null;
  /** The id of a Facebook page with a place. */
  location_id?: string | null;
  audio_name?: string | null;
  first_comment?: string | null;
  /** What to do with an image of another shape: white borders, or its middle. */
  image_fit?: "pad" | "crop" | null;
}

/** Options with `platform: facebook`. See docs/platforms/facebook.md. */
export interface FacebookOptions {
  link?: string | null;
  first_comment?: string | null;
}

export interface OptionsOf {
  facebook: FacebookOptions;
  instagram: InstagramOptions;
  youtube: YouTubeOptions;
}

/** Of the platform of the account. Unknown keys are refused by name. */
export type PostOptions<P extends Platform = Platform> = OptionsOf[P];

type Content<P extends Platform> = {
  title?: string | null;
  caption?: string | null;
  media?: MediaItem[];
  options?: PostOptions<P>;
  /** When it should be public, ISO 8601; now if left out. */
  publish_at?: string;
  /** Not later than this; 24 hours after `publish_at` if left out. */
  expires_at?: string;
  /** The app's own reference, unique per user: a repeated insert is recognised by it. */
  client_ref?: string | null;
};

/** One post to one account: what an app may set of `orbyt.publish_jobs`. */
export type NewPost<P extends Platform = Platform> = Content<P> & {
  account_id: string;
  kind: PostKind;
  /** May be chosen by the app, so that a repeated insert is harmless. */
  job_id?: string;
  /** Groups the rows of one post to several accounts. */
  post_id?: string;
  /** The signed-in user if left out. */
  user_id?: string;
};

/** What may be changed while nothing with an effect outside was done. */
export type PostChanges<P extends Platform = Platform> = Content<P> & { kind?: PostKind };

/** A row of `orbyt.publish_jobs`. */
export type Job = Omit<Table<"publish_jobs">["Row"], "media" | "options" | "platform" | "error_code"> & {
  platform: Platform;
  media: MediaItem[];
  options: PostOptions;
  error_code: AnyErrorCode | null;
};

/** A row of `orbyt.accounts`. */
export type Account = Omit<Table<"accounts">["Row"], "platform" | "error_code"> & {
  platform: Platform;
  error_code: AnyErrorCode | null;
};

/** An account on offer in a `ConnectSession`. */
export interface Candidate {
  platform_account_id: string;
  name: string;
  handle: string | null;
  picture_url: string | null;
  /** False: `code` says why it cannot be connected. */
  usable: boolean;
  code: AnyErrorCode | null;
  /** The user has it already. */
  connected: boolean;
}

/** A row of `orbyt.connect_sessions`. */
export type ConnectSession = Omit<Table<"connect_sessions">["Row"], "platform" | "login" | "candidates" | "error_code"> & {
  platform: Platform;
  login: Login;
  candidates: Candidate[];
  error_code: AnyErrorCode | null;
};

/** What `rpc('begin_connect')` answers. */
export interface BegunConnect {
  session_id: string;
  /** To be opened in the system browser. */
  authorize_url: string;
  expires_at: string;
}

/** One element of what `rpc('check_post')` answers. */
export interface Problem {
  code: AnyErrorCode;
  /** What to mark: `title`, `media[0].url`, `options.tags`. */
  field: string;
  /** Numbers that help; may be empty. */
  detail: string;
  /** False: the job would be accepted, and wait (for its account to be connected again). */
  blocking: boolean;
  title: string;
  what_happened: string;
  what_to_do: string;
  action: OrbytAction;
}

/** `details` of a refusal, as JSON. */
export interface ErrorDetails {
  code: AnyErrorCode;
  field?: string;
  detail?: string;
}

/** For `createClient<OrbytDatabase>`: the generated types with what an app may really set and what the jsonb columns hold. */
export type OrbytDatabase = {
  orbyt: Omit<Schema, "Tables" | "Functions"> & {
    Tables: Omit<Schema["Tables"], "publish_jobs" | "accounts" | "connect_sessions"> & {
      publish_jobs: Omit<Table<"publish_jobs">, "Row" | "Insert" | "Update"> & {
        Row: Job;
        Insert: NewPost;
        Update: PostChanges;
      };
      accounts: Omit<Table<"accounts">, "Row" | "Insert" | "Update"> & {
        Row: Account;
        Insert: never;
        Update: never;
      };
      connect_sessions: Omit<Table<"connect_sessions">, "Row" | "Insert" | "Update"> & {
        Row: ConnectSession;
        Insert: never;
        Update: never;
      };
    };
    Functions: Omit<Schema["Functions"], "begin_connect" | "check_post" | "cancel_job" | "retry_job" | "reschedule_job" | "finish_connect" | "disconnect"> & {
      begin_connect: { Args: { platform: Platform; return_to: string; login?: Login | null; account_id?: string | null }; Returns: BegunConnect };
      check_post: { Args: Omit<NewPost, "job_id" | "post_id" | "user_id" | "client_ref">; Returns: Problem[] };
      cancel_job: { Args: { job_id: string }; Returns: Job };
      retry_job: { Args: { job_id: string }; Returns: Job };
      reschedule_job: { Args: { job_id: string; publish_at: string; expires_at?: string }; Returns: Job };
      finish_connect: { Args: { session_id: string; account_ids: string[]; proof?: string }; Returns: Account[] };
      disconnect: { Args: { account_id: string; jobs?: "hold" | "cancel" }; Returns: Account };
    };
  };
};
