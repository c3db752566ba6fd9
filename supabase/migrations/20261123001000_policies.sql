-- Orbyt: row level security policies. A file of their own, last and short: on hosted Supabase each policy statement takes
-- ACCESS EXCLUSIVE locks on auth, storage and realtime tables until commit (source: supabase/supautils, policy_grants.c, read 2026-11).
-- If the lock is not to be had, this fails fast: push again.
set local lock_timeout = '2s';

create policy error_catalog_select on orbyt.error_catalog for select to anon, authenticated using (true);
create policy platforms_select on orbyt.platforms for select to anon, authenticated using (true);
create policy accounts_select on orbyt.accounts for select to authenticated using (user_id = (select auth.uid()));
create policy publish_jobs_select on orbyt.publish_jobs for select to authenticated using (user_id = (select auth.uid()));
create policy publish_jobs_insert on orbyt.publish_jobs for insert to authenticated with check (user_id = (select auth.uid()));
create policy publish_jobs_update on orbyt.publish_jobs for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy job_events_select on orbyt.job_events for select to authenticated using (user_id = (select auth.uid()));
create policy side_tasks_select on orbyt.side_tasks for select to authenticated using (user_id = (select auth.uid()));
create policy connect_sessions_select on orbyt.connect_sessions for select to authenticated using (user_id = (select auth.uid()));
-- Both: the topic that is joined, and that of the message, so that who may listen to one topic does not read those of the others.
create policy orbyt_own_topic on realtime.messages for select to authenticated
  using (extension = 'broadcast' and topic = 'orbyt:' || (select auth.uid())::text
         and (select realtime.topic()) = 'orbyt:' || (select auth.uid())::text);
