export type Json = string | number | boolean | null | {
    [key: string]: Json | undefined;
} | Json[];
export type Database = {
    "orbyt": {
        Tables: {
            "accounts": {
                Row: {
                    "account_id": string;
                    "checked_at": string | null;
                    "created_at": string;
                    "data_access_expires_at": string | null;
                    "error_code": string | null;
                    "handle": string | null;
                    "name": string;
                    "picture_url": string | null;
                    "platform": string;
                    "platform_account_id": string;
                    "scopes": (string)[];
                    "status": Database["orbyt"]['Enums']["account_status"];
                    "token_expires_at": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                ComputedFields: never;
                Insert: {
                    "account_id"?: string;
                    "checked_at"?: string | null;
                    "created_at"?: string;
                    "data_access_expires_at"?: string | null;
                    "error_code"?: string | null;
                    "handle"?: string | null;
                    "name": string;
                    "picture_url"?: string | null;
                    "platform": string;
                    "platform_account_id": string;
                    "scopes"?: (string)[];
                    "status"?: Database["orbyt"]['Enums']["account_status"];
                    "token_expires_at"?: string | null;
                    "updated_at"?: string;
                    "user_id": string;
                    "version"?: number;
                };
                Update: {
                    "account_id"?: string;
                    "checked_at"?: string | null;
                    "created_at"?: string;
                    "data_access_expires_at"?: string | null;
                    "error_code"?: string | null;
                    "handle"?: string | null;
                    "name"?: string;
                    "picture_url"?: string | null;
                    "platform"?: string;
                    "platform_account_id"?: string;
                    "scopes"?: (string)[];
                    "status"?: Database["orbyt"]['Enums']["account_status"];
                    "token_expires_at"?: string | null;
                    "updated_at"?: string;
                    "user_id"?: string;
                    "version"?: number;
                };
                Relationships: [
                    {
                        foreignKeyName: "accounts_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "accounts_platform_fkey";
                        columns: ["platform"];
                        isOneToOne: false;
                        referencedRelation: "platforms";
                        referencedColumns: ["platform"];
                    }
                ];
            };
            "connect_sessions": {
                Row: {
                    "account_id": string | null;
                    "account_ids": (string)[];
                    "candidates": NonNullable<Json>;
                    "candidates_complete": boolean;
                    "created_at": string;
                    "error_code": string | null;
                    "error_message": string | null;
                    "expires_at": string;
                    "login": string;
                    "platform": string;
                    "return_to": string;
                    "session_id": string;
                    "status": Database["orbyt"]['Enums']["connect_status"];
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                ComputedFields: never;
                Insert: {
                    "account_id"?: string | null;
                    "account_ids"?: (string)[];
                    "candidates"?: NonNullable<Json>;
                    "candidates_complete"?: boolean;
                    "created_at"?: string;
                    "error_code"?: string | null;
                    "error_message"?: string | null;
                    "expires_at": string;
                    "login": string;
                    "platform": string;
                    "return_to": string;
                    "session_id"?: string;
                    "status"?: Database["orbyt"]['Enums']["connect_status"];
                    "updated_at"?: string;
                    "user_id": string;
                    "version"?: number;
                };
                Update: {
                    "account_id"?: string | null;
                    "account_ids"?: (string)[];
                    "candidates"?: NonNullable<Json>;
                    "candidates_complete"?: boolean;
                    "created_at"?: string;
                    "error_code"?: string | null;
                    "error_message"?: string | null;
                    "expires_at"?: string;
                    "login"?: string;
                    "platform"?: string;
                    "return_to"?: string;
                    "session_id"?: string;
                    "status"?: Database["orbyt"]['Enums']["connect_status"];
                    "updated_at"?: string;
                    "user_id"?: string;
                    "version"?: number;
                };
                Relationships: [
                    {
                        foreignKeyName: "connect_sessions_account_fkey";
                        columns: ["account_id", "user_id"];
                        isOneToOne: false;
                        referencedRelation: "accounts";
                        referencedColumns: ["account_id", "user_id"];
                    },
                    {
                        foreignKeyName: "connect_sessions_account_fkey";
                        columns: ["account_id", "user_id"];
                        isOneToOne: false;
                        referencedRelation: "connection_health";
                        referencedColumns: ["account_id", "user_id"];
                    },
                    {
                        foreignKeyName: "connect_sessions_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "connect_sessions_platform_fkey";
                        columns: ["platform"];
                        isOneToOne: false;
                        referencedRelation: "platforms";
                        referencedColumns: ["platform"];
                    }
                ];
            };
            "error_catalog": {
                Row: {
                    "action": string;
                    "area": string;
                    "code": string;
                    "counts_as_attempt": boolean;
                    "holds": boolean;
                    "needs_reauth": boolean;
                    "outcome": string;
                    "retired_at": string | null;
                    "retryable": boolean;
                    "since": string;
                    "sqlstate": string | null;
                    "title": string;
                    "what_happened": string;
                    "what_to_do": string;
                    "who_acts": string;
                };
                ComputedFields: never;
                Insert: {
                    "action": string;
                    "area": string;
                    "code": string;
                    "counts_as_attempt"?: boolean;
                    "holds"?: boolean;
                    "needs_reauth"?: boolean;
                    "outcome"?: string;
                    "retired_at"?: string | null;
                    "retryable": boolean;
                    "since"?: string;
                    "sqlstate"?: string | null;
                    "title": string;
                    "what_happened": string;
                    "what_to_do": string;
                    "who_acts": string;
                };
                Update: {
                    "action"?: string;
                    "area"?: string;
                    "code"?: string;
                    "counts_as_attempt"?: boolean;
                    "holds"?: boolean;
                    "needs_reauth"?: boolean;
                    "outcome"?: string;
                    "retired_at"?: string | null;
                    "retryable"?: boolean;
                    "since"?: string;
                    "sqlstate"?: string | null;
                    "title"?: string;
                    "what_happened"?: string;
                    "what_to_do"?: string;
                    "who_acts"?: string;
                };
                Relationships: [
                ];
            };
            "job_events": {
                Row: {
                    "attempt": number;
                    "created_at": string;
                    "detail": NonNullable<Json>;
                    "error_code": string | null;
                    "event": string;
                    "event_id": number;
                    "job_id": string;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "user_id": string;
                };
                ComputedFields: never;
                Insert: {
                    "attempt": number;
                    "created_at"?: string;
                    "detail"?: NonNullable<Json>;
                    "error_code"?: string | null;
                    "event": string;
                    "event_id"?: never;
                    "job_id": string;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "user_id": string;
                };
                Update: {
                    "attempt"?: number;
                    "created_at"?: string;
                    "detail"?: NonNullable<Json>;
                    "error_code"?: string | null;
                    "event"?: string;
                    "event_id"?: never;
                    "job_id"?: string;
                    "stage"?: Database["orbyt"]['Enums']["job_stage"];
                    "status"?: Database["orbyt"]['Enums']["job_status"];
                    "user_id"?: string;
                };
                Relationships: [
                    {
                        foreignKeyName: "job_events_job_id_fkey";
                        columns: ["job_id"];
                        isOneToOne: false;
                        referencedRelation: "jobs_needing_attention";
                        referencedColumns: ["job_id"];
                    },
                    {
                        foreignKeyName: "job_events_job_id_fkey";
                        columns: ["job_id"];
                        isOneToOne: false;
                        referencedRelation: "publish_jobs";
                        referencedColumns: ["job_id"];
                    }
                ];
            };
            "platforms": {
                Row: {
                    "enabled": boolean;
                    "kinds": (Database["orbyt"]['Enums']["post_kind"])[];
                    "limits": NonNullable<Json>;
                    "options": NonNullable<Json>;
                    "pause_code": string | null;
                    "paused_until": string | null;
                    "platform": string;
                    "prepare_lead": string;
                    "required_scopes": (string)[];
                    "shapes": NonNullable<Json>;
                    "title": string;
                };
                ComputedFields: never;
                Insert: {
                    "enabled"?: boolean;
                    "kinds"?: (Database["orbyt"]['Enums']["post_kind"])[];
                    "limits"?: NonNullable<Json>;
                    "options"?: NonNullable<Json>;
                    "pause_code"?: string | null;
                    "paused_until"?: string | null;
                    "platform": string;
                    "prepare_lead"?: string;
                    "required_scopes"?: (string)[];
                    "shapes"?: NonNullable<Json>;
                    "title": string;
                };
                Update: {
                    "enabled"?: boolean;
                    "kinds"?: (Database["orbyt"]['Enums']["post_kind"])[];
                    "limits"?: NonNullable<Json>;
                    "options"?: NonNullable<Json>;
                    "pause_code"?: string | null;
                    "paused_until"?: string | null;
                    "platform"?: string;
                    "prepare_lead"?: string;
                    "required_scopes"?: (string)[];
                    "shapes"?: NonNullable<Json>;
                    "title"?: string;
                };
                Relationships: [
                    {
                        foreignKeyName: "platforms_pause_code_fkey";
                        columns: ["pause_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    }
                ];
            };
            "publish_jobs": {
                Row: {
                    "account_id": string;
                    "attempt": number;
                    "caption": string | null;
                    "client_ref": string | null;
                    "created_at": string;
                    "error_code": string | null;
                    "error_message": string | null;
                    "expires_at": string;
                    "job_id": string;
                    "kind": Database["orbyt"]['Enums']["post_kind"];
                    "media": NonNullable<Json>;
                    "needs_reauth": boolean;
                    "options": NonNullable<Json>;
                    "permalink": string | null;
                    "platform": string;
                    "platform_post_id": string | null;
                    "post_id": string;
                    "progress": number;
                    "publish_at": string;
                    "published_at": string | null;
                    "retryable": boolean | null;
                    "run_at": string | null;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "title": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                ComputedFields: never;
                Insert: {
                    "account_id": string;
                    "attempt"?: number;
                    "caption"?: string | null;
                    "client_ref"?: string | null;
                    "created_at"?: string;
                    "error_code"?: string | null;
                    "error_message"?: string | null;
                    "expires_at": string;
                    "job_id"?: string;
                    "kind": Database["orbyt"]['Enums']["post_kind"];
                    "media"?: NonNullable<Json>;
                    "needs_reauth"?: boolean;
                    "options"?: NonNullable<Json>;
                    "permalink"?: string | null;
                    "platform": string;
                    "platform_post_id"?: string | null;
                    "post_id"?: string;
                    "progress"?: number;
                    "publish_at"?: string;
                    "published_at"?: string | null;
                    "retryable"?: boolean | null;
                    "run_at"?: string | null;
                    "stage"?: Database["orbyt"]['Enums']["job_stage"];
                    "status"?: Database["orbyt"]['Enums']["job_status"];
                    "title"?: string | null;
                    "updated_at"?: string;
                    "user_id"?: string;
                    "version"?: number;
                };
                Update: {
                    "account_id"?: string;
                    "attempt"?: number;
                    "caption"?: string | null;
                    "client_ref"?: string | null;
                    "created_at"?: string;
                    "error_code"?: string | null;
                    "error_message"?: string | null;
                    "expires_at"?: string;
                    "job_id"?: string;
                    "kind"?: Database["orbyt"]['Enums']["post_kind"];
                    "media"?: NonNullable<Json>;
                    "needs_reauth"?: boolean;
                    "options"?: NonNullable<Json>;
                    "permalink"?: string | null;
                    "platform"?: string;
                    "platform_post_id"?: string | null;
                    "post_id"?: string;
                    "progress"?: number;
                    "publish_at"?: string;
                    "published_at"?: string | null;
                    "retryable"?: boolean | null;
                    "run_at"?: string | null;
                    "stage"?: Database["orbyt"]['Enums']["job_stage"];
                    "status"?: Database["orbyt"]['Enums']["job_status"];
                    "title"?: string | null;
                    "updated_at"?: string;
                    "user_id"?: string;
                    "version"?: number;
                };
                Relationships: [
                    {
                        foreignKeyName: "publish_jobs_account_fkey";
                        columns: ["account_id", "user_id"];
                        isOneToOne: false;
                        referencedRelation: "accounts";
                        referencedColumns: ["account_id", "user_id"];
                    },
                    {
                        foreignKeyName: "publish_jobs_account_fkey";
                        columns: ["account_id", "user_id"];
                        isOneToOne: false;
                        referencedRelation: "connection_health";
                        referencedColumns: ["account_id", "user_id"];
                    },
                    {
                        foreignKeyName: "publish_jobs_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "publish_jobs_platform_fkey";
                        columns: ["platform"];
                        isOneToOne: false;
                        referencedRelation: "platforms";
                        referencedColumns: ["platform"];
                    }
                ];
            };
            "side_tasks": {
                Row: {
                    "created_at": string;
                    "error_code": string | null;
                    "error_message": string | null;
                    "job_id": string;
                    "status": Database["orbyt"]['Enums']["side_task_status"];
                    "task": string;
                    "tries": number;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                ComputedFields: never;
                Insert: {
                    "created_at"?: string;
                    "error_code"?: string | null;
                    "error_message"?: string | null;
                    "job_id": string;
                    "status"?: Database["orbyt"]['Enums']["side_task_status"];
                    "task": string;
                    "tries"?: number;
                    "updated_at"?: string;
                    "user_id": string;
                    "version"?: number;
                };
                Update: {
                    "created_at"?: string;
                    "error_code"?: string | null;
                    "error_message"?: string | null;
                    "job_id"?: string;
                    "status"?: Database["orbyt"]['Enums']["side_task_status"];
                    "task"?: string;
                    "tries"?: number;
                    "updated_at"?: string;
                    "user_id"?: string;
                    "version"?: number;
                };
                Relationships: [
                    {
                        foreignKeyName: "side_tasks_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "side_tasks_job_id_fkey";
                        columns: ["job_id"];
                        isOneToOne: false;
                        referencedRelation: "jobs_needing_attention";
                        referencedColumns: ["job_id"];
                    },
                    {
                        foreignKeyName: "side_tasks_job_id_fkey";
                        columns: ["job_id"];
                        isOneToOne: false;
                        referencedRelation: "publish_jobs";
                        referencedColumns: ["job_id"];
                    }
                ];
            };
        };
        Views: {
            "connection_health": {
                Row: {
                    "account_id": string;
                    "checked_at": string | null;
                    "data_access_expires_at": string | null;
                    "days_left": number | null;
                    "error_code": string | null;
                    "held_jobs": number | null;
                    "name": string;
                    "open_jobs": number | null;
                    "platform": string;
                    "status": Database["orbyt"]['Enums']["account_status"];
                    "token_expires_at": string | null;
                    "user_id": string;
                };
                ComputedFields: never;
                Insert: {
                    "account_id"?: string | null;
                    "checked_at"?: string | null;
                    "data_access_expires_at"?: string | null;
                    "days_left"?: never;
                    "error_code"?: string | null;
                    "held_jobs"?: never;
                    "name"?: string | null;
                    "open_jobs"?: never;
                    "platform"?: string | null;
                    "status"?: Database["orbyt"]['Enums']["account_status"] | null;
                    "token_expires_at"?: string | null;
                    "user_id"?: string | null;
                };
                Update: {
                    "account_id"?: string | null;
                    "checked_at"?: string | null;
                    "data_access_expires_at"?: string | null;
                    "days_left"?: never;
                    "error_code"?: string | null;
                    "held_jobs"?: never;
                    "name"?: string | null;
                    "open_jobs"?: never;
                    "platform"?: string | null;
                    "status"?: Database["orbyt"]['Enums']["account_status"] | null;
                    "token_expires_at"?: string | null;
                    "user_id"?: string | null;
                };
                Relationships: [
                    {
                        foreignKeyName: "accounts_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "accounts_platform_fkey";
                        columns: ["platform"];
                        isOneToOne: false;
                        referencedRelation: "platforms";
                        referencedColumns: ["platform"];
                    }
                ];
            };
            "jobs_needing_attention": {
                Row: {
                    "account_id": string;
                    "account_name": string;
                    "attempt": number;
                    "error_code": string | null;
                    "job_id": string;
                    "platform": string;
                    "publish_at": string;
                    "run_at": string | null;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "updated_at": string;
                    "what_happened": string | null;
                    "what_to_do": string | null;
                    "who_acts": string | null;
                };
                ComputedFields: never;
                Relationships: [
                    {
                        foreignKeyName: "publish_jobs_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "publish_jobs_platform_fkey";
                        columns: ["platform"];
                        isOneToOne: false;
                        referencedRelation: "platforms";
                        referencedColumns: ["platform"];
                    }
                ];
            };
            "queue_overview": {
                Row: {
                    "error_code": string | null;
                    "jobs": number | null;
                    "next_run_at": string | null;
                    "oldest_created_at": string | null;
                    "platform": string;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                };
                ComputedFields: never;
                Relationships: [
                    {
                        foreignKeyName: "publish_jobs_error_code_fkey";
                        columns: ["error_code"];
                        isOneToOne: false;
                        referencedRelation: "error_catalog";
                        referencedColumns: ["code"];
                    },
                    {
                        foreignKeyName: "publish_jobs_platform_fkey";
                        columns: ["platform"];
                        isOneToOne: false;
                        referencedRelation: "platforms";
                        referencedColumns: ["platform"];
                    }
                ];
            };
        };
        Functions: {
            "begin_connect": {
                Args: {
                    "account_id"?: string;
                    "login"?: string;
                    "platform": string;
                    "return_to": string;
                };
                Returns: Json;
            };
            "callback_key": {
                Args: Record<PropertyKey, never>;
                Returns: Json;
            };
            "cancel_job": {
                Args: {
                    "job_id": string;
                };
                Returns: {
                    "account_id": string;
                    "attempt": number;
                    "caption": string | null;
                    "client_ref": string | null;
                    "created_at": string;
                    "error_code": string | null;
                    "error_message": string | null;
                    "expires_at": string;
                    "job_id": string;
                    "kind": Database["orbyt"]['Enums']["post_kind"];
                    "media": NonNullable<Json>;
                    "needs_reauth": boolean;
                    "options": NonNullable<Json>;
                    "permalink": string | null;
                    "platform": string;
                    "platform_post_id": string | null;
                    "post_id": string;
                    "progress": number;
                    "publish_at": string;
                    "published_at": string | null;
                    "retryable": boolean | null;
                    "run_at": string | null;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "title": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                SetofOptions: {
                    from: "*";
                    to: "publish_jobs";
                    isOneToOne: true;
                    isSetofReturn: false;
                };
            };
            "check_post": {
                Args: {
                    "account_id": string;
                    "caption"?: string;
                    "expires_at"?: string;
                    "kind": Database["orbyt"]['Enums']["post_kind"];
                    "media"?: Json;
                    "options"?: Json;
                    "publish_at"?: string;
                    "title"?: string;
                };
                Returns: Json;
            };
            "connect_callback": {
                Args: {
                    "error"?: string;
                    "key_id"?: string;
                    "sealed_code"?: string;
                    "state_hash": string;
                };
                Returns: Json;
            };
            "disconnect": {
                Args: {
                    "account_id": string;
                    "jobs"?: string;
                };
                Returns: {
                    "account_id": string;
                    "checked_at": string | null;
                    "created_at": string;
                    "data_access_expires_at": string | null;
                    "error_code": string | null;
                    "handle": string | null;
                    "name": string;
                    "picture_url": string | null;
                    "platform": string;
                    "platform_account_id": string;
                    "scopes": (string)[];
                    "status": Database["orbyt"]['Enums']["account_status"];
                    "token_expires_at": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                SetofOptions: {
                    from: "*";
                    to: "accounts";
                    isOneToOne: true;
                    isSetofReturn: false;
                };
            };
            "finish_connect": {
                Args: {
                    "account_ids": (string)[];
                    "proof"?: string;
                    "session_id": string;
                };
                Returns: {
                    "account_id": string;
                    "checked_at": string | null;
                    "created_at": string;
                    "data_access_expires_at": string | null;
                    "error_code": string | null;
                    "handle": string | null;
                    "name": string;
                    "picture_url": string | null;
                    "platform": string;
                    "platform_account_id": string;
                    "scopes": (string)[];
                    "status": Database["orbyt"]['Enums']["account_status"];
                    "token_expires_at": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                }[];
                SetofOptions: {
                    from: "*";
                    to: "accounts";
                    isOneToOne: false;
                    isSetofReturn: true;
                };
            };
            "reschedule_job": {
                Args: {
                    "expires_at"?: string;
                    "job_id": string;
                    "publish_at": string;
                };
                Returns: {
                    "account_id": string;
                    "attempt": number;
                    "caption": string | null;
                    "client_ref": string | null;
                    "created_at": string;
                    "error_code": string | null;
                    "error_message": string | null;
                    "expires_at": string;
                    "job_id": string;
                    "kind": Database["orbyt"]['Enums']["post_kind"];
                    "media": NonNullable<Json>;
                    "needs_reauth": boolean;
                    "options": NonNullable<Json>;
                    "permalink": string | null;
                    "platform": string;
                    "platform_post_id": string | null;
                    "post_id": string;
                    "progress": number;
                    "publish_at": string;
                    "published_at": string | null;
                    "retryable": boolean | null;
                    "run_at": string | null;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "title": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                SetofOptions: {
                    from: "*";
                    to: "publish_jobs";
                    isOneToOne: true;
                    isSetofReturn: false;
                };
            };
            "retry_job": {
                Args: {
                    "job_id": string;
                };
                Returns: {
                    "account_id": string;
                    "attempt": number;
                    "caption": string | null;
                    "client_ref": string | null;
                    "created_at": string;
                    "error_code": string | null;
                    "error_message": string | null;
                    "expires_at": string;
                    "job_id": string;
                    "kind": Database["orbyt"]['Enums']["post_kind"];
                    "media": NonNullable<Json>;
                    "needs_reauth": boolean;
                    "options": NonNullable<Json>;
                    "permalink": string | null;
                    "platform": string;
                    "platform_post_id": string | null;
                    "post_id": string;
                    "progress": number;
                    "publish_at": string;
                    "published_at": string | null;
                    "retryable": boolean | null;
                    "run_at": string | null;
                    "stage": Database["orbyt"]['Enums']["job_stage"];
                    "status": Database["orbyt"]['Enums']["job_status"];
                    "title": string | null;
                    "updated_at": string;
                    "user_id": string;
                    "version": number;
                };
                SetofOptions: {
                    from: "*";
                    to: "publish_jobs";
                    isOneToOne: true;
                    isSetofReturn: false;
                };
            };
        };
        Enums: {
            "account_status": "active" | "needs_reauth" | "disconnected";
            "connect_status": "started" | "exchanging" | "choose" | "connected" | "failed" | "expired";
            "job_stage": "waiting" | "preparing" | "downloading" | "uploading" | "processing" | "publishing" | "verifying";
            "job_status": "queued" | "publishing" | "held" | "published" | "failed" | "cancelled";
            "post_kind": "text" | "photo" | "carousel" | "video" | "reel" | "story";
            "side_task_status": "pending" | "done" | "failed";
        };
        CompositeTypes: {
            [_ in never]: never;
        };
    };
};
type DatabaseWithoutInternals = Omit<Database, '__InternalSupabase'>;
type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "orbyt">];
export type Tables<DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"]) | {
    schema: keyof DatabaseWithoutInternals;
}, TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"]) : never = never> = DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
    Row: infer R;
} ? R : never : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"]) ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
    Row: infer R;
} ? R : never : never;
export type TablesInsert<DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"] | {
    schema: keyof DatabaseWithoutInternals;
}, TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] : never = never> = DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
    Insert: infer I;
} ? I : never : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"] ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
    Insert: infer I;
} ? I : never : never;
export type TablesUpdate<DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"] | {
    schema: keyof DatabaseWithoutInternals;
}, TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] : never = never> = DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
    Update: infer U;
} ? U : never : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"] ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
    Update: infer U;
} ? U : never : never;
export type Enums<DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"] | {
    schema: keyof DatabaseWithoutInternals;
}, EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"] : never = never> = DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName] : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"] ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions] : never;
export type CompositeTypes<PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"] | {
    schema: keyof DatabaseWithoutInternals;
}, CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"] : never = never> = PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
} ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName] : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"] ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions] : never;
export declare const Constants: {
    readonly orbyt: {
        readonly Enums: {
            readonly account_status: readonly ["active", "needs_reauth", "disconnected"];
            readonly connect_status: readonly ["started", "exchanging", "choose", "connected", "failed", "expired"];
            readonly job_stage: readonly ["waiting", "preparing", "downloading", "uploading", "processing", "publishing", "verifying"];
            readonly job_status: readonly ["queued", "publishing", "held", "published", "failed", "cancelled"];
            readonly post_kind: readonly ["text", "photo", "carousel", "video", "reel", "story"];
            readonly side_task_status: readonly ["pending", "done", "failed"];
        };
    };
};
export {};
