-- Where a task can be taken up again: at its newest checkpoint, and no other. The file's row is an artifact like any other,
-- so whatever deletes that, or the task, makes the task start from nothing.
create table checkpoints (
    task      text    not null primary key references tasks (id) on delete cascade,
    job       text    not null,
    artifact  text    not null,
    step      integer not null, -- how far it leads: what was measured beyond is measured again
    worked    integer not null, -- milliseconds of work in it, over all runs that led there
    at        integer not null,
    foreign key (job, artifact) references artifacts (job, name) on delete cascade
) strict, without rowid;

-- Deleting a job's artifacts looks for them here.
create index checkpoints_by_artifact on checkpoints (job, artifact);

-- The step that a run went on from; null where it started from nothing.
alter table runs add column resumed_step integer;

-- Milliseconds of work in that checkpoint. Together with a run's own time this is how long its result took to make, without
-- the time that was lost, or spent waiting, in between.
alter table runs add column worked_before integer not null default 0;
