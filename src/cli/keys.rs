//! `kegd keys`: makes, lists and revokes API keys, on the data directory and without a server.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use rand::{TryRngCore, rngs::OsRng};

use super::data::Data;
use crate::{
    config::{ByteSize, Span, StorageConfig},
    domain::{
        access::{ApiKey, Entropy, KeyId, Quota, Scope},
        problem::{ErrorCode, Problem},
    },
    store::{KeyRow, KeyState, NewKey},
};

/// Make, list and revoke API keys.
///
/// Works on the data directory, whether the service runs or not; what is changed counts from the next request on. Once a
/// key was made, the service asks everybody for one, also where it listens on this machine alone.
#[derive(Args, Debug)]
pub struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Box<Create>),
    List(List),
    Revoke(Revoke),
}

/// Make a key and print it, once: it is not stored, and nobody can show it again.
///
/// Clients send it as `Authorization: Bearer kegd_…`; the page asks for it.
#[derive(Args, Debug)]
struct Create {
    /// What the key is for, or whose it is: lists and logs show it.
    #[arg(long)]
    name: String,
    /// `read`: look at all jobs and their results. `submit`: also inspect models, submit jobs, and cancel, retry and delete
    /// one's own. `admin`: everything, others' jobs and uploads, workers and metrics among it.
    #[arg(long)]
    scope: Scope,
    /// When the key ends by itself: `30d`, `12h`. It is valid until it is revoked where this is not given.
    #[arg(long, value_name = "TIME")]
    expires: Option<Span>,
    /// Most jobs of this key that may wait or run at once, or `unlimited`; further ones get 429.
    #[arg(long, env = "KEGD_KEY_OPEN_JOBS", value_name = "JOBS", default_value = "20", value_parser = count)]
    max_open_jobs: Bound,
    /// Most jobs and retries that may be begun with this key within 24 hours, or `unlimited`; further ones get 429.
    #[arg(long, env = "KEGD_KEY_JOBS_PER_DAY", value_name = "JOBS", default_value = "200", value_parser = count)]
    max_jobs_per_day: Bound,
    /// Most that all files of this key's jobs may take up, or `unlimited`; beyond it new jobs get 429.
    #[arg(long, env = "KEGD_KEY_STORED", value_name = "SIZE", default_value = "50GiB", value_parser = size)]
    max_stored: Bound,
    #[command(flatten)]
    storage: StorageConfig,
}

/// List all keys, also those that open nothing any more.
#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    storage: StorageConfig,
}

/// Revoke a key: requests with it are refused from now on. Its jobs stay, and go on.
///
/// There is no way back. Revoking the last key does not open the service: it then refuses everybody until a new key is made.
#[derive(Args, Debug)]
struct Revoke {
    /// The key's name, or its id as in the list.
    key: String,
    #[command(flatten)]
    storage: StorageConfig,
}

/// A bound that may be none.
#[derive(Clone, Copy, Debug)]
struct Bound(Option<u64>);

const UNLIMITED: &str = "unlimited";

fn count(text: &str) -> Result<Bound, String> {
    if text == UNLIMITED {
        return Ok(Bound(None));
    }
    text.parse().map(|count| Bound(Some(count))).map_err(|_| format!("`{text}` is neither a number nor `{UNLIMITED}`"))
}

fn size(text: &str) -> Result<Bound, String> {
    if text == UNLIMITED { Ok(Bound(None)) } else { text.parse().map(|ByteSize(bytes)| Bound(Some(bytes))) }
}

impl Keys {
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.verb {
                Verb::Create(create) => create.run().await,
                Verb::List(list) => list.run().await,
                Verb::Revoke(revoke) => revoke.run().await,
            }
        })
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let name = checked(&self.name)?;
        let data = Data::open(&self.storage).await?;
        let mut entropy: Entropy = [0; 36];
        OsRng.try_fill_bytes(&mut entropy).context("the system has no random numbers")?;
        let key = ApiKey::new(&entropy);
        let expires_at = self.expires.map(expiry).transpose()?;
        let new = NewKey {
            id: key.id().clone(),
            name,
            scope: self.scope,
            digest: key.digest(),
            quota: Quota {
                open_jobs: self.max_open_jobs.0,
                jobs_per_day: self.max_jobs_per_day.0,
                stored_bytes: self.max_stored.0,
            },
            expires_at,
        };
        data.store.create_key(&new).await.map_err(Problem::from)?;
        data.store.close().await;
        let until = expires_at.map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {end:.0}"));
        eprintln!("Key {} `{}`, scope {}, valid {until}. It is shown this once:", new.id, new.name, new.scope);
        // Alone on standard output, for scripts.
        writeln!(std::io::stdout(), "{}", key.expose())?;
        Ok(())
    }
}

/// A name that fits on a line.
fn checked(name: &str) -> Result<String, Problem> {
    // A name like an id could stand for two keys.
    let plain = !name.chars().any(char::is_control) && name.trim() == name && name.parse::<KeyId>().is_err();
    if (1..=100).contains(&name.len()) && plain {
        return Ok(name.to_owned());
    }
    Err(Problem::new(ErrorCode::InvalidRequest, format!("`{}` is no name of a key", name.escape_debug()))
        .hint("A name has 1 to 100 bytes, no control characters, no blanks at its ends, and is not like a key's id."))
}

fn expiry(Span(span): Span) -> anyhow::Result<Timestamp> {
    Timestamp::now().checked_add(SignedDuration::try_from(span)?).context("--expires lies too far in the future")
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let data = Data::open_existing(&self.storage).await?;
        let (keys, now) = (data.store.keys().await?, data.store.clock().now());
        data.store.close().await;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:8}  {:6}  {:8}  {:20}  {:20}  {:>9}  {:>8}  {:>9}  name",
            "id", "scope", "state", "created", "expires", "open jobs", "jobs/day", "stored"
        )?;
        for key in &keys {
            writeln!(out, "{}", line(key, now))?;
        }
        Ok(())
    }
}

fn line(key: &KeyRow, now: i64) -> String {
    let state = match key.state(now) {
        KeyState::Valid => "valid",
        KeyState::Expired => "expired",
        KeyState::Revoked => "revoked",
    };
    let count = |bound: Option<u64>| bound.map_or_else(|| "-".to_owned(), |bound| bound.to_string());
    let stored = key.quota.stored_bytes.map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
    let expires = key.expires_at.map_or_else(|| "-".to_owned(), |end| format!("{end:.0}"));
    format!(
        "{:8}  {:6}  {state:8}  {:20}  {expires:20}  {:>9}  {:>8}  {stored:>9}  {}",
        key.id,
        key.scope,
        format!("{:.0}", key.created_at),
        count(key.quota.open_jobs),
        count(key.quota.jobs_per_day),
        key.name,
    )
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let data = Data::open_existing(&self.storage).await?;
        let revoked = data.store.revoke_key(&self.key).await?;
        data.store.close().await;
        let Some(key) = revoked else {
            return Err(Problem::new(
                ErrorCode::NotFound,
                format!("There is no key `{}` that is not revoked.", self.key),
            )
            .hint("kegd keys list shows all keys.")
            .into());
        };
        eprintln!("Key {} `{}` is revoked.", key.id, key.name);
        Ok(())
    }
}
