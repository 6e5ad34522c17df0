-- API keys. The key itself is never stored: it is 256 random bits, so a plain hash of it tells nothing about it. Rows
-- stay when a key is revoked: their jobs keep their owner, and a service that ever had keys does not fall open.
create table api_keys (
    id                text    not null primary key, -- the key's public part: finds it, and names it in lists
    name              text    not null,
    scope             text    not null check (scope in ('read', 'submit', 'admin')),
    sha256            text    not null, -- of the whole key
    -- Quotas; null: as many as there is room for.
    max_open_jobs     integer,
    max_jobs_per_day  integer,
    max_stored_bytes  integer,
    created_at        integer not null,
    expires_at        integer,
    revoked_at        integer
) strict, without rowid;

-- A name can be given again once its key is revoked.
create unique index api_keys_by_name on api_keys (name) where revoked_at is null;

-- Null: submitted while nobody was asked for a key.
alter table jobs add column owner text references api_keys (id);
create index jobs_by_owner on jobs (owner, status);

-- What counts against a day's quota: each job, and each retry of one, also of jobs that were deleted since.
create table job_starts (
    id   integer primary key,
    key  text    not null references api_keys (id),
    at   integer not null
) strict;

create index job_starts_of_key on job_starts (key, at);

-- An Idempotency-Key is its owner's own: the same one of another owner must not give away a job.
create table idempotency_keys_of_owners (
    owner        text    not null, -- a key's id; '' for nobody
    key          text    not null,
    body_sha256  text    not null,
    job          text    not null references jobs (id) on delete cascade,
    created_at   integer not null,
    primary key (owner, key)
) strict, without rowid;
insert into idempotency_keys_of_owners select '', key, body_sha256, job, created_at from idempotency_keys;
drop table idempotency_keys;
alter table idempotency_keys_of_owners rename to idempotency_keys;
