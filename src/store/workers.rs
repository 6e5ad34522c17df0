//! Who works here: each worker's slots, and what they run.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Store, StoreError, Tx, rows};
use crate::{
    clock::Millis,
    domain::ids::{JobId, TaskId},
};

/// What a slot runs right now.
#[derive(Clone, Debug)]
pub struct Occupied {
    pub device: String,
    pub job: JobId,
    pub task: TaskId,
    /// `inspect`, `extract` or `distill`.
    pub kind: String,
    pub run: u32,
}

#[derive(Clone, Debug)]
pub struct WorkerRow {
    pub name: String,
    pub version: String,
    /// The device of each slot.
    pub slots: Vec<String>,
    pub started_at: Timestamp,
    /// When it last said that it is there.
    pub seen_at: Timestamp,
    pub running: Vec<Occupied>,
}

/// How long a worker may be silent: it says that it is there a few times within each lease, which is a minute.
const SILENCE: Millis = 60_000;

impl WorkerRow {
    /// Whether it was there a moment before `now`. Seen in the future: the clock was set back, and it has not spoken since.
    pub fn is_alive(&self, now: Millis) -> bool {
        (now - self.seen_at.as_millisecond()).abs() <= SILENCE
    }

    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            slots: rows::json(row, "slots")?,
            started_at: rows::time(row, "started_at")?,
            seen_at: rows::time(row, "seen_at")?,
            running: Vec::new(),
        })
    }
}

impl Occupied {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            device: row.try_get("slot")?,
            job: rows::parsed(row, "job")?,
            task: rows::parsed(row, "id")?,
            kind: row.try_get("kind")?,
            run: rows::number(row, "run")?,
        })
    }
}

impl Store {
    /// Every worker that ever said it is there, by name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let rows = sqlx::query("select * from workers order by name").fetch_all(&self.readers).await?;
        let mut workers = rows.iter().map(WorkerRow::read).collect::<Result<Vec<_>, _>>()?;
        for worker in &mut workers {
            let sql = "select id, job, kind, run, slot from tasks where status = 'running' and worker = ? order by id";
            let rows = sqlx::query(sql).bind(&worker.name).fetch_all(&self.readers).await?;
            worker.running = rows.iter().map(Occupied::read).collect::<Result<_, _>>()?;
        }
        Ok(workers)
    }

    /// The devices of the workers that are there now, each once.
    ///
    /// # Errors
    /// The database fails.
    pub async fn offered_devices(&self) -> Result<Vec<String>, StoreError> {
        let now = self.clock().now();
        // As in `WorkerRow::is_alive`.
        let rows = sqlx::query("select slots from workers where seen_at between ? and ?")
            .bind(now.saturating_sub(SILENCE))
            .bind(now.saturating_add(SILENCE))
            .fetch_all(&self.readers)
            .await?;
        let slots = rows.iter().map(|row| rows::json::<Vec<String>>(row, "slots")).collect::<Result<Vec<_>, _>>()?;
        Ok(slots.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// What waiting tasks ask for, each device once.
    ///
    /// # Errors
    /// The database fails.
    pub async fn wanted_devices(&self) -> Result<Vec<String>, StoreError> {
        let sql = "select distinct device from tasks where status = 'queued' order by device";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(row.try_get("device")?)).collect()
    }
}

impl Tx {
    /// A worker starts its life.
    pub(crate) async fn put_worker(&mut self, name: &str, slots: &[String]) -> Result<(), StoreError> {
        let sql = "insert into workers (name, version, slots, started_at, seen_at) values (?1, ?2, ?3, ?4, ?4) \
                   on conflict (name) do update set version = ?2, slots = ?3, started_at = ?4, seen_at = ?4";
        sqlx::query(sql)
            .bind(name)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(rows::to_json(slots, "slots")?)
            .bind(self.now)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }

    pub(crate) async fn see_worker(&mut self, name: &str) -> Result<(), StoreError> {
        sqlx::query("update workers set seen_at = ? where name = ?")
            .bind(self.now)
            .bind(name)
            .execute(&mut *self.sql)
            .await?;
        Ok(())
    }
}
