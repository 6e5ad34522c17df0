-- When the uploads of a finished job went; null while they are there. Without them a job cannot be retried.
alter table jobs add column upload_deleted_at integer;

-- What the collector goes by: finished jobs, the one that finished first at the front.
create index jobs_by_end on jobs (finished_at) where finished_at is not null;

-- Since when a task has waited: its age says nothing about that once it was given back or tried again.
alter table tasks add column queued_at integer not null default 0;
update tasks set queued_at = max(created_at, run_after);

-- Files that no row names any more, until they are gone from the disk. Written in the transaction that removes the rows, so
-- that a crash at any point leaves either a file with its row, or a file that is listed here.
create table doomed_files (
    id   integer primary key,
    job  text    not null,
    key  text    -- in the artifact storage; null: everything of the job
) strict;

-- Sums that only rise, whatever is deleted: what Prometheus calls counters. Kept here because several processes add to
-- them, and because a restart must not set them back.
create table totals (
    name   text    not null,
    label  text    not null, -- '' where the sum has no parts
    value  integer not null,
    primary key (name, label)
) strict, without rowid;

-- Histograms, under the same conditions: how many took at most so long, and more than the next lower bound.
create table durations (
    name    text    not null,
    label   text    not null,
    bound   integer not null, -- milliseconds; the largest integer is for all that took longer
    count   integer not null,
    millis  integer not null, -- of all that were counted here, summed
    primary key (name, label, bound)
) strict, without rowid;

-- What is known of the time before.
insert into totals select 'jobs_submitted', '', count(*) from jobs;
insert into totals select 'jobs_finished', status, count(*) from jobs where finished_at is not null group by status;
insert into totals
    select 'runs', kind || '/' || outcome, count(*) from runs join tasks on tasks.id = runs.task
    where outcome is not null group by kind, outcome;
insert into totals select 'upload_bytes', '', coalesce(sum(bytes), 0) from artifacts where task is null;
