//! A copy of the database while it is in use.

use std::path::Path;

use super::{Store, StoreError};

impl Store {
    /// Writes a copy of the database, as it stands now, to `file`. Others read and write meanwhile.
    ///
    /// # Errors
    /// There is a file of that name already, or it cannot be written.
    pub async fn back_up(&self, file: &Path) -> Result<(), StoreError> {
        // Readers may not: `query_only` counts the copy as a change. For SQLite it is a read of this database all the same.
        sqlx::query("vacuum into ?").bind(file.to_string_lossy().as_ref()).execute(&self.writer).await?;
        Ok(())
    }
}
