//! Deleting the files that rows no longer name.

use crate::{
    artifacts::Artifacts,
    store::{Doomed, Store, StoreError},
};

/// Works the list of doomed files through, and returns how many entries are done. A file that cannot be deleted stays
/// listed, and is tried again the next time; one that is gone already is done.
///
/// # Errors
/// The database fails.
pub async fn bury(store: &Store, artifacts: &Artifacts) -> Result<usize, StoreError> {
    let mut done = 0;
    let mut last: Option<Doomed> = None;
    loop {
        let entries = store.doomed(last.as_ref()).await?;
        let Some(newest) = entries.last() else { return Ok(done) };
        last = Some(newest.clone());
        let mut gone = Vec::new();
        for entry in entries {
            let deleted = match &entry.key {
                Some(key) => artifacts.delete_key(key).await,
                None => artifacts.delete_job(entry.job).await,
            };
            match deleted {
                Ok(()) => gone.push(entry),
                Err(error) => tracing::error!(job = %entry.job, %error, "a file cannot be deleted; it is tried again"),
            }
        }
        store.buried(&gone).await?;
        done += gone.len();
    }
}
