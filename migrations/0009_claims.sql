-- Tasks are claimed in the order of their jobs, which is that of the places that clients are told: what was lost, or is retried,
-- keeps its job's place.
drop index tasks_to_claim;
create index tasks_to_claim on tasks (priority desc, job, id) where status = 'queued';
