-- Every statement the worker says to the database. One name, one sentence, one statement with named parameters.
-- State changes are functions of the schema orbyt_private; the worker's role can execute those and nothing else.

-- name: register_worker
-- Say hello, get a lease; returns the database time.
select orbyt_private.register_worker(%(worker_id)s, %(host)s, %(version)s, %(slots)s, %(lease_seconds)s) as now;

-- name: heartbeat
-- Renew the lease; returns the attempts this worker still owns (one row at least) and which master key seals.
select h.job_id, h.attempt, k.active_key_id
from orbyt_private.active_key_id() as k (active_key_id)
left join orbyt_private.heartbeat(%(worker_id)s, %(lease_seconds)s) h on true;

-- name: use_key
-- Say which master key this worker seals with.
select orbyt_private.use_key(%(worker_id)s, %(key_id)s);

-- name: claim_jobs
-- Claim the heads of due lanes, up to the free slots.
select job_id, attempt, failures, phase, claimed_at, created_at, account_id, user_id, platform, platform_account_id, account_name,
       handle, scopes, login, kind, title, caption, media, options, publish_at, expires_at, platform_post_id, permalink, steps
from orbyt_private.claim_jobs(%(worker_id)s, %(background)s, %(publish)s, %(lease_seconds)s);

-- name: next_due_in_seconds
-- Seconds until the next lane falls due, or null.
select orbyt_private.next_due_in_seconds() as seconds;

-- name: give_back
-- Put everything this worker still holds back into the queue.
select orbyt_private.give_back(%(worker_id)s) as jobs;

-- name: return_jobs
-- Give back jobs this worker owns but does not run.
select orbyt_private.return_jobs(%(worker_id)s, %(job_ids)s) as jobs;

-- name: retire_worker
-- Say goodbye.
select orbyt_private.retire_worker(%(worker_id)s);

-- name: save_step
-- Journal a partial or final result of a hidden step.
select orbyt_private.save_step(%(job_id)s, %(attempt)s, %(step)s, %(done)s, %(result)s, %(secret)s, %(key_id)s) as answer;

-- name: forget_steps
-- Forget hidden steps so that they are done anew.
select orbyt_private.forget_steps(%(job_id)s, %(attempt)s, %(steps)s) as answer;

-- name: begin_publish
-- Announce the visible call.
select orbyt_private.begin_publish(%(job_id)s, %(attempt)s, %(step)s, %(call_timeout_seconds)s) as answer;

-- name: confirm_publish
-- The visible call happened; keep what it returned.
select orbyt_private.confirm_publish(%(job_id)s, %(attempt)s, %(step)s, %(result)s) as answer;

-- name: unbegin_publish
-- The visible call provably did not happen.
select orbyt_private.unbegin_publish(%(job_id)s, %(attempt)s, %(step)s, %(forget_steps)s) as answer;

-- name: set_progress
-- Stage and percent for the user.
select orbyt_private.set_progress(%(job_id)s, %(attempt)s, %(stage)s, %(progress)s) as answer;

-- name: put_back
-- Give the claim back and come again later.
select orbyt_private.put_back(%(job_id)s, %(attempt)s, %(seconds)s, %(phase)s, %(stage)s, %(code)s, %(message)s, %(counts)s, %(detail)s) as answer;

-- name: succeed_job
-- The post is out.
select orbyt_private.succeed_job(%(job_id)s, %(attempt)s, %(published_at)s, %(code)s, %(message)s) as answer;

-- name: fail_job
-- The job will not be published.
select orbyt_private.fail_job(%(job_id)s, %(attempt)s, %(code)s, %(message)s, %(detail)s, %(never_visible)s) as answer;

-- name: hold_job
-- Somebody has to act first.
select orbyt_private.hold_job(%(job_id)s, %(attempt)s, %(code)s, %(message)s, %(detail)s) as answer;

-- name: set_throttle
-- Leave a platform or an account alone for a while.
select orbyt_private.set_throttle(%(scope)s, %(key)s, %(seconds)s, %(code)s, %(phase)s) as until;

-- name: report_outage
-- A platform seems to be down for this account; true when its breaker is open.
select orbyt_private.report_outage(%(platform)s, %(account_id)s) as open;

-- name: report_recovery
-- A platform answered.
select orbyt_private.report_recovery(%(platform)s);

-- name: reserve_quota
-- Reserve units before a call.
select granted, reset_in_seconds from orbyt_private.reserve_quota(%(bucket)s, %(key)s, %(units)s, %(units_max)s);

-- name: close_quota
-- The platform says the bucket is used up; returns the seconds until its reset.
select orbyt_private.close_quota(%(bucket)s, %(key)s, %(units_max)s) as reset_in_seconds;

-- name: reserve_rolling_quota
-- Reserve units that come back 24 hours after their use.
select granted, reset_in_seconds from orbyt_private.reserve_rolling_quota(%(bucket)s, %(key)s, %(once)s, %(units)s, %(units_max)s);

-- name: close_rolling_quota
-- The platform says a rolling allowance is used up; returns the seconds until the next look.
select orbyt_private.close_rolling_quota(%(bucket)s, %(key)s, %(units_max)s) as reset_in_seconds;

-- name: begin_side_task
-- A try of a side task begins.
select answer, tries, age_seconds from orbyt_private.begin_side_task(%(job_id)s, %(attempt)s, %(task)s);

-- name: note_side_task
-- How a side task stands.
select orbyt_private.note_side_task(%(job_id)s, %(attempt)s, %(task)s, %(status)s, %(code)s, %(message)s) as answer;

-- name: note_hosted
-- A file is about to be put into our bucket for this job.
select orbyt_private.note_hosted(%(job_id)s, %(attempt)s, %(path)s) as answer;

-- name: hosted_to_remove
-- Files in our bucket that nobody needs any more.
select path from orbyt_private.hosted_to_remove(%(limit)s);

-- name: forget_hosted
-- These files are gone.
select orbyt_private.forget_hosted(%(paths)s);

-- name: expire_jobs
-- Fail jobs that missed their deadline.
select orbyt_private.expire_jobs() as jobs;

-- name: tend_accounts
-- Hold and release the jobs of accounts whose state changed.
select orbyt_private.tend_accounts() as jobs;

-- name: prune
-- Delete what is no longer needed.
select orbyt_private.prune() as rows;

-- name: queue_facts
-- Numbers for the metrics.
select orbyt_private.queue_facts() as facts;

-- name: master_keys
-- The master keys out of Vault.
select key_id, key_base64, active from orbyt_private.master_keys();

-- name: read_grant
-- Sealed secrets of an account and the version that guards them.
select login, version, status, kind, sealed, key_id, expires_in_seconds from orbyt_private.read_grant(%(account_id)s);

-- name: begin_refresh
-- Take the refresh lease of an account.
select orbyt_private.begin_refresh(%(account_id)s, %(version)s, %(lease_id)s, %(lease_seconds)s, %(worker_id)s) as answer;

-- name: finish_refresh
-- Store refreshed tokens, compare and set.
select orbyt_private.finish_refresh(%(account_id)s, %(version)s, %(lease_id)s, %(secrets)s, %(scopes)s) as answer;

-- name: fail_refresh
-- A refresh failed.
select orbyt_private.fail_refresh(%(account_id)s, %(version)s, %(lease_id)s, %(code)s, %(cool_seconds)s) as answer;

-- name: mark_needs_reauth
-- A platform rejected the account itself.
select orbyt_private.mark_needs_reauth(%(account_id)s, %(version)s, %(code)s) as answer;

-- name: accounts_to_refresh
-- Accounts whose connection should be tried now.
select account_id, platform from orbyt_private.accounts_to_refresh(%(logins)s, %(limit)s);

-- name: claim_connects
-- Take sessions whose code came back.
select session_id, user_id, platform, login, account_id, platform_account_id, state_hash, redirect_uri, code_verifier, sealed_code,
       code_key_id, attempt, known
from orbyt_private.claim_connects(%(worker_id)s, %(limit)s);

-- name: offer_candidates
-- What the person may connect, with sealed tokens; some of it at once.
select orbyt_private.offer_candidates(%(session_id)s, %(attempt)s, %(candidates)s, %(complete)s, %(grants)s, %(auto)s) as answer;

-- name: fail_connect
-- A session ends without an account.
select orbyt_private.fail_connect(%(session_id)s, %(attempt)s, %(code)s, %(message)s) as answer;

-- name: expire_connects
-- End sessions whose time is over.
select orbyt_private.expire_connects() as sessions;

-- name: set_connect_app
-- A login this installation has client credentials for.
select orbyt_private.set_connect_app(%(login)s, %(platforms)s, %(client_id)s, %(redirect_uri)s, %(authorize_url)s, %(scopes)s,
                                     %(parameters)s, %(pkce)s, %(scope_separator)s);

-- name: keep_connect_apps
-- These are all the logins; withdraw the others.
select orbyt_private.keep_connect_apps(%(logins)s) as withdrawn;

-- name: set_connect_proof
-- Whether the link back to the app carries a proof.
select orbyt_private.set_connect_proof(%(proof)s);

-- name: set_connect_return_to
-- Where a browser may be sent back to.
select orbyt_private.set_connect_return_to(%(urls)s);

-- name: callback_key
-- The public key of the callback doors, or null.
select orbyt_private.callback_key() as key;

-- name: add_callback_key
-- The first callback key; false if there is one already.
select orbyt_private.add_callback_key(%(key_id)s, %(public_jwk)s, %(owner_id)s, %(sealed_private)s, %(sealed_key_id)s) as added;

-- name: read_callback_key
-- The private half of a callback key, sealed.
select owner_id, sealed_private, sealed_key_id from orbyt_private.read_callback_key(%(key_id)s);

-- name: connect_facts
-- What is set up for connecting, for `orbyt-worker check`.
select orbyt_private.connect_facts() as facts;

-- name: read_account
-- One account without secrets.
select account_id, user_id, platform, platform_account_id, name, handle, scopes, login, version, status
from orbyt_private.read_account(%(account_id)s);

-- name: accounts_to_check
-- Take accounts whose connection should be looked at now.
select account_id, user_id, platform, platform_account_id, name, handle, scopes, login, version
from orbyt_private.accounts_to_check(%(worker_id)s, %(limit)s, %(lease_seconds)s);

-- name: note_check
-- How a connection stands.
select orbyt_private.note_check(%(account_id)s, %(version)s, %(code)s, %(token_expires_in_seconds)s,
                                %(data_access_expires_in_seconds)s, %(scopes)s, %(cool_seconds)s) as answer;

-- name: accounts_to_revoke
-- Take disconnected accounts whose grant still has to be ended at the platform.
select account_id, user_id, platform, platform_account_id, name, handle, scopes, login, others_active, give_up
from orbyt_private.accounts_to_revoke(%(worker_id)s, %(limit)s, %(lease_seconds)s);

-- name: note_revoke_failed
-- Try to revoke it again later.
select orbyt_private.note_revoke_failed(%(account_id)s, %(code)s, %(cool_seconds)s) as answer;

-- name: finish_disconnect
-- Destroy the secrets of a disconnected account.
select orbyt_private.finish_disconnect(%(account_id)s, %(code)s) as answer;

-- name: connect_callback
-- A platform sent a browser back: where it goes now.
select orbyt_private.connect_callback(%(state_hash)s, %(sealed_code)s, %(key_id)s, %(error)s) as answer;

-- name: disconnect_by_platform_user
-- A person removed the app at the platform, or wants their data deleted.
select accounts, confirmation_code
from orbyt_private.disconnect_by_platform_user(%(login)s, %(platform_user_id)s, %(delete)s, %(issued_at)s);

-- name: deletion_status
-- How a request for deletion stands.
select requested_at, finished_at from orbyt_private.deletion_status(%(confirmation_code)s);

-- name: wake_media
-- Jobs that wait for Mux look again; null wakes all of them.
select orbyt_private.wake_media(%(playback_ids)s) as jobs;

-- name: key_status
-- Master keys by id, and what is sealed with each.
select key_id, active, in_vault, account_secrets, job_steps, connect_grants, callback_keys, workers from orbyt_private.key_status();

-- name: secrets_to_reseal
-- A page of what is sealed with another key.
select address, source, owner_id, kind, sealed, key_id from orbyt_private.secrets_to_reseal(%(active_key_id)s, %(limit)s, %(after)s);

-- name: reseal
-- The same secret under another key, compare and set.
select orbyt_private.reseal(%(address)s, %(old_sealed)s, %(sealed)s, %(key_id)s) as answer;

-- name: create_master_key
-- A new master key, made inside the database. Refused to the worker's role: for an operator's command.
select orbyt_private.create_master_key(%(key_id)s) as created;

-- name: retire_master_key
-- Delete a master key nobody needs. Refused to the worker's role: for an operator's command.
select orbyt_private.retire_master_key(%(key_id)s) as answer;

-- name: workers_and_keys
-- Living workers and the key each seals with. Not the worker's to read: for an operator's command.
select worker_id, host, key_id, key_since, now() - key_since as key_age
from orbyt_private.workers
where lease_until > now()
order by host, worker_id
limit %(limit)s;
