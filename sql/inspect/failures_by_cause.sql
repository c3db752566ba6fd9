-- Question: What failed in the last seven days, by platform and cause?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.

select
  j.platform,
  j.error_code,
  e.title,
  e.who_acts,
  count(*) as jobs,
  count(distinct j.account_id) as accounts,
  max(j.updated_at) as last_at
from orbyt.publish_jobs j
left join orbyt.error_catalog e on e.code = j.error_code
where j.status = 'failed' and j.updated_at > now() - interval '7 days'
group by j.platform, j.error_code, e.title, e.who_acts
order by jobs desc, j.platform, j.error_code;
