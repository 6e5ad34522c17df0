//! `kegd gc`: collects by hand what has expired, or says what would go.

use super::{data::Data, table};
use crate::{
    config::{LogConfig, RetentionConfig, StorageConfig},
    retention::{Expired, What},
    telemetry,
};

/// Delete what has expired, once; with --dry-run only say what would go, and why.
///
/// Takes the same rules as `kegd serve`. The service collects by itself: this is for looking first, and for rules that shall
/// hold once. It may run beside the service; running and queued jobs are never touched.
#[derive(clap::Args, Debug)]
pub struct Gc {
    #[command(flatten)]
    storage: StorageConfig,
    #[command(flatten)]
    retention: RetentionConfig,
    /// Change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    log: LogConfig,
}

impl Gc {
    pub fn run(self) -> anyhow::Result<()> {
        telemetry::init(&self.log)?;
        tokio::runtime::Runtime::new()?.block_on(self.collect())
    }

    async fn collect(self) -> anyhow::Result<()> {
        let data = Data::open_existing(&self.storage).await?;
        let collector = data.collector(&self.retention);
        if collector.policy().keeps_everything() {
            println!("No rule is given, so nothing expires: see --retain-jobs, --retain-uploads and --max-storage.");
        }
        let used = collector.usage().await?.total();
        println!("{} bytes are kept in {}.", table::counted(used), data.directory.display());
        let plan = collector.plan().await?;
        if !plan.is_empty() {
            print!("{}", table::render(&rows(&plan)));
        }
        if self.dry_run {
            let bytes = plan.iter().map(Expired::bytes).sum();
            println!("Would free {} bytes: {}.", table::counted(bytes), parts(&plan));
        } else {
            let done = collector.collect().await?;
            let (jobs, uploads) = (done.jobs, done.uploads);
            println!("Freed {} bytes: {jobs} jobs, uploads of {uploads} more.", table::counted(done.bytes));
        }
        data.store.close().await;
        Ok(())
    }
}

fn parts(plan: &[Expired]) -> String {
    let jobs = plan.iter().filter(|expired| expired.what == What::Job).count();
    format!("{jobs} jobs, uploads of {} more", plan.len() - jobs)
}

fn rows(plan: &[Expired]) -> Vec<Vec<String>> {
    let head = ["job", "name", "finished", "what", "bytes", "why"].map(str::to_owned).to_vec();
    let row = |expired: &Expired| {
        let what = match expired.what {
            What::Job => "job",
            What::Uploads => "uploads",
        };
        let job = &expired.job;
        let finished = format!("{:.0}", job.finished_at);
        let (bytes, why) = (table::counted(expired.bytes()), expired.reason.name().to_owned());
        vec![job.id.to_string(), job.name.escape_debug().to_string(), finished, what.to_owned(), bytes, why]
    };
    std::iter::once(head).chain(plan.iter().map(row)).collect()
}
