//! `kegd health`: asks a running service whether it is ready, for containers without curl.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// Ask a running service whether it is ready; exit status 0 if it is.
#[derive(clap::Args, Debug)]
pub struct Health {
    /// Where the service listens.
    #[arg(long, env = "KEGD_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Print every check with its status and detail.
    #[arg(long, short)]
    verbose: bool,
}

const PATIENCE: Duration = Duration::from_secs(5);

impl Health {
    pub fn run(self) -> anyhow::Result<()> {
        let address = reachable(self.listen);
        let mut stream =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("nothing answers at {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let path = if self.verbose { "/readyz?verbose" } else { "/readyz" };
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(64 << 10).read_to_string(&mut answer).context("the answer cannot be read")?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if self.verbose {
            print!("{}", checks(body));
        }
        match head.split_whitespace().nth(1) {
            Some("200") => Ok(()),
            _ if self.verbose => bail!("not ready"),
            _ => bail!("not ready: {}", body.trim()),
        }
    }
}

/// The checks of an answer, one a line; the answer itself where it is none.
fn checks(body: &str) -> String {
    let readiness: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let Some(checks) = readiness["checks"].as_array() else { return format!("{}\n", body.trim()) };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let line = |check: &serde_json::Value| {
        format!("{:<8} {:<11} {}\n", text(&check["status"]), text(&check["name"]), text(&check["detail"]))
    };
    checks.iter().map(line).collect()
}

/// A service that listens everywhere is reached through the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
