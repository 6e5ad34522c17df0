//! The database as it lies on the disk, past the store: everything in it, and what must hold of it at any moment.

use std::path::Path;

use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

/// A connection of its own.
pub struct Ledger(SqliteConnection);

/// Statements that find what must not be. Each row they return is a violation, named by its first column.
const RULES: &[(&str, &str)] = &[
    (
        "a task has a lease, a worker and a slot if, and only if, it runs",
        "select id from tasks where (status = 'running') <> (lease_until is not null) \
         or (status = 'running') <> (worker is not null) or (status = 'running') <> (slot is not null)",
    ),
    (
        "a running task has one open run, its newest",
        "select id from tasks where status = 'running' \
         and (select group_concat(run) from runs where task = id and ended_at is null) is not cast(run as text)",
    ),
    (
        "no run is open of a task that does not run",
        "select task from runs join tasks on id = task where ended_at is null and status <> 'running'",
    ),
    (
        "a run has ended if, and only if, it has an outcome",
        "select task from runs where (ended_at is null) <> (outcome is null)",
    ),
    (
        "runs are numbered from 1 without a gap",
        "select id from tasks where run <> (select count(*) from runs where task = id) \
         or run <> (select coalesce(max(run), 0) from runs where task = id)",
    ),
    (
        "of a finished job nothing waits, and what runs was told to stop",
        "select jobs.id from jobs join tasks on job = jobs.id where jobs.status in ('succeeded', 'failed', 'canceled') \
         and (tasks.status = 'queued' or (tasks.status = 'running' and cancel_requested = 0))",
    ),
    (
        "an unfinished job has something to come",
        "select id from jobs where status in ('queued', 'running') \
         and not exists (select 1 from tasks where job = jobs.id and status in ('queued', 'running'))",
    ),
    (
        "nothing runs of a job that waits",
        "select jobs.id from jobs join tasks on job = jobs.id where jobs.status = 'queued' and tasks.status = 'running'",
    ),
    (
        "a job has succeeded if, and only if, all its tasks have, the last of them too",
        "select id from jobs where (status = 'succeeded') <> \
         (not exists (select 1 from tasks where job = jobs.id and status <> 'succeeded') \
         and exists (select 1 from tasks where job = jobs.id and kind = 'distill'))",
    ),
    (
        "a result is that of a success, an error that of a failure",
        "select id from jobs where (status = 'succeeded') <> (result is not null) or (status = 'failed') <> (error is not null)",
    ),
    (
        "distillation comes when everything before it has succeeded",
        "select d.id from tasks d join tasks t on t.job = d.job where d.kind = 'distill' and t.kind <> 'distill' \
         and t.status <> 'succeeded'",
    ),
    (
        "nothing is tried after three losses in a row",
        "select id from tasks where losses > 3 or (status in ('queued', 'running') and losses >= 3)",
    ),
    (
        "what is finished has a time for it, and nothing else has",
        "select id from jobs where (status in ('succeeded', 'failed', 'canceled')) <> (finished_at is not null) \
         union all select id from tasks where (status in ('succeeded', 'failed', 'canceled')) <> (finished_at is not null)",
    ),
    (
        "status and phase go together",
        "select id from jobs where (phase = 'done') <> (status in ('succeeded', 'failed', 'canceled')) \
         or (phase = 'queued') <> (status = 'queued') or status not in ('queued', 'running', 'succeeded', 'failed', 'canceled') \
         or phase not in ('queued', 'importing', 'extracting', 'compressing', 'distilling', 'evaluating', 'exporting', 'done')",
    ),
    (
        "progress lies between 0 and 1",
        "select id from jobs where coalesce(json_extract(progress, '$.fraction'), 0) not between 0 and 1",
    ),
    (
        "metrics, runs and files belong to tasks that are there, and tasks and events to jobs",
        "select task from metrics where task not in (select id from tasks) \
         union all select task from runs where task not in (select id from tasks) \
         union all select key from artifacts where task is not null and task not in (select id from tasks) \
         union all select artifact from samples where (job, artifact) not in (select job, name from artifacts) \
         union all select id from tasks where job not in (select id from jobs) \
         union all select cast(id as text) from job_events where job not in (select id from jobs)",
    ),
    (
        "SQLite finds its file in order",
        "select integrity_check from pragma_integrity_check where integrity_check <> 'ok'",
    ),
];

impl Ledger {
    pub async fn open(database: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(database).pragma("query_only", "1");
        Self(SqliteConnection::connect_with(&options).await.unwrap())
    }

    /// Every row of every table, as SQL literals.
    pub async fn lines(&mut self) -> Vec<String> {
        let tables = "select name from sqlite_schema where type = 'table' order by name";
        let mut lines = Vec::new();
        for table in self.texts(tables).await {
            let columns = format!(
                "select group_concat('quote(\"' || name || '\")', ' || '', '' || ') from pragma_table_info('{table}')"
            );
            let columns = self.texts(&columns).await.remove(0);
            let rows = self.texts(&format!("select {columns} from \"{table}\" order by 1")).await;
            lines.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
        }
        lines
    }

    /// What holds of the database and should not, in words.
    pub async fn violations(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for (rule, sql) in RULES {
            found.extend(self.texts(sql).await.into_iter().map(|culprit| format!("{rule}: not so of {culprit}")));
        }
        found
    }

    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        let rows = sqlx::query(sql).fetch_all(&mut self.0).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    }

    /// Panics where something does not hold.
    pub async fn check(&mut self) {
        let violations = self.violations().await;
        assert!(violations.is_empty(), "{violations:#?}");
    }
}
