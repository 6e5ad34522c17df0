//! How much traffic at once, and how slow it may be.

use std::time::Duration;

use clap::Args;

use super::server::seconds;

#[derive(Args, Clone, Debug)]
pub struct TrafficConfig {
    /// Open connections at once; further ones wait until one is closed.
    ///
    /// Each takes a file descriptor and some 100 KiB at most, whatever its client does.
    #[arg(long, env = "KEGD_MAX_CONNECTIONS", value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_connections: u32,

    /// Requests being answered at once; further ones get 503 with `Retry-After`.
    #[arg(long, env = "KEGD_MAX_REQUESTS", value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_requests: u32,

    /// Event streams and long polls at once; further ones get 503 with `Retry-After`.
    ///
    /// Each looks into the database once a second. Keep it below --max-requests and --max-connections, or those who only
    /// wait keep out those who ask.
    #[arg(long, env = "KEGD_MAX_WAITING", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_waiting: u32,

    /// Longest time for a request's line and headers, and between two requests of a connection, in seconds.
    #[arg(long, env = "KEGD_HEADER_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub header_timeout: Duration,

    /// Longest time in which nothing of an upload arrives, or nothing of an answer can be sent, in seconds.
    ///
    /// The connection is closed then, and a half-received upload is deleted; a client resumes a download with `Range`.
    #[arg(long, env = "KEGD_IDLE_TIMEOUT", value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub idle_timeout: Duration,
}

impl Default for TrafficConfig {
    /// As on the command line.
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_requests: 512,
            max_waiting: 256,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
        }
    }
}
