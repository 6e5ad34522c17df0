-- Times are integer milliseconds since the Unix epoch, UTC. Identifiers are UUID v7 as text, so that they sort by age.
-- JSON columns hold the serde form of the type of the same name in `src/domain`.

create table jobs (
    id              text    not null primary key,
    name            text    not null,
    status          text    not null check (status in ('queued', 'running', 'succeeded', 'failed', 'canceled')),
    phase           text    not null,
    attempt         integer not null default 1,
    priority        integer not null,
    config          text    not null, -- as the client sent it
    settings        text    not null, -- as resolved; resolved again once the teacher is known
    model_file      text    not null, -- which of the uploaded artifacts is the model
    model           text,             -- facts, once inspected
    result          text,
    error           text,
    warnings        text    not null default '[]',
    device          text,
    progress        text,
    -- The newest value of every series, so that lists never touch the big metrics table.
    latest_metrics  text    not null default '{}',
    -- Rises with every visible change: the ETag, and what a long poll waits for.
    revision        integer not null default 1,
    created_at      integer not null,
    started_at      integer,
    finished_at     integer
) strict;

create index jobs_by_status on jobs (status, id);

create table tasks (
    id                text    not null primary key,
    job               text    not null references jobs (id) on delete cascade,
    kind              text    not null check (kind in ('inspect', 'extract', 'distill')),
    generator         integer check ((kind = 'extract') = (generator is not null)),
    status            text    not null check (status in ('queued', 'running', 'succeeded', 'failed', 'canceled')),
    device            text    not null, -- what may take it: auto, cpu, cuda, cuda:N
    priority          integer not null,
    run               integer not null default 0, -- number of the latest attempt; fences every write
    losses            integer not null default 0, -- attempts lost in a row, without a checkpoint between them
    run_after         integer not null,
    cancel_requested  integer not null default 0,
    worker            text,
    slot              text,
    lease_until       integer,
    progress          text,
    created_at        integer not null,
    started_at        integer,
    finished_at       integer,
    check ((status = 'running') = (lease_until is not null))
) strict;

-- What follows a finished task is enqueued once, even if two siblings finish together.
create unique index tasks_once on tasks (job, kind, coalesce(generator, -1));
create index tasks_to_claim on tasks (priority desc, run_after) where status = 'queued';
create index tasks_leased on tasks (lease_until) where status = 'running';

create table runs (
    task        text    not null references tasks (id) on delete cascade,
    run         integer not null,
    worker      text    not null,
    device      text    not null,
    started_at  integer not null,
    ended_at    integer,
    outcome     text, -- succeeded, failed, canceled, lost or interrupted; null while it runs
    detail      text,
    primary key (task, run)
) strict, without rowid;

-- The key has no run: a run that repeats a step replaces what the run before it wrote there.
create table metrics (
    task   text    not null references tasks (id) on delete cascade,
    name   text    not null,
    step   integer not null,
    value  real    not null,
    primary key (task, name, step)
) strict, without rowid;

create table artifacts (
    job         text    not null references jobs (id) on delete cascade,
    name        text    not null,
    role        text    not null,
    bytes       integer not null,
    sha256      text    not null,
    key         text    not null, -- where the bytes lie; belongs to one run, so that no other run can write there
    task        text    references tasks (id) on delete cascade, -- null: uploaded
    created_at  integer not null,
    primary key (job, name)
) strict, without rowid;

create table samples (
    job        text    not null,
    artifact   text    not null,
    generator  integer not null,
    epoch      integer not null,
    count      integer not null,
    primary key (job, artifact),
    foreign key (job, artifact) references artifacts (job, name) on delete cascade
) strict, without rowid;

create table job_events (
    -- Never used again, so that a client's Last-Event-ID stays meaningful.
    id    integer primary key autoincrement,
    job   text    not null references jobs (id) on delete cascade,
    type  text    not null,
    data  text    not null,
    at    integer not null
) strict;

create index job_events_of_job on job_events (job, id);

create table idempotency_keys (
    key          text    not null primary key,
    body_sha256  text    not null,
    job          text    not null references jobs (id) on delete cascade,
    created_at   integer not null
) strict, without rowid;

create table workers (
    name        text    not null primary key,
    version     text    not null,
    slots       text    not null, -- JSON list of devices
    started_at  integer not null,
    seen_at     integer not null
) strict, without rowid;
