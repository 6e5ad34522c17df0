-- A job's place in the queue is counted in the index alone: its rows are large, and clients poll for it.
create index jobs_by_place on jobs (status, priority desc, id);

-- `GET /jobs?name=` would otherwise read every job there is.
create index jobs_by_name on jobs (name, id);

-- For forgetting the old ones.
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- A browser's EventSource has an `error` event of its own, for a broken connection.
update job_events set type = 'failed' where type = 'error';
