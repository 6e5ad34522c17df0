//! Who is let in.

use clap::Args;

#[derive(Args, Clone, Debug, Default)]
pub struct AccessConfig {
    /// Serve everybody who reaches the address, without keys, also beyond this machine.
    ///
    /// Without it the service refuses to start on an address that others can reach while no key exists. With it, whoever
    /// reaches the address can submit jobs, and read and delete everybody's: only inside a network that you trust, or
    /// behind a proxy that asks who is there. Once a key exists (`kegd keys create`), keys are asked for all the same.
    #[arg(long, env = "KEGD_ALLOW_ANONYMOUS", value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_anonymous: bool,

    /// Names under which the service is reached, comma-separated: `kegd.example.com`.
    ///
    /// While it asks for no key, it answers only requests that are addressed to `localhost`, to an IP address, or to one
    /// of these names: otherwise any page in a browser on this machine could reach it by a name of its own that points
    /// here (DNS rebinding). Needed where a proxy in front passes its own name on; keys make it unnecessary.
    #[arg(long, env = "KEGD_ALLOWED_HOSTS", value_name = "LIST", value_delimiter = ',')]
    pub allowed_hosts: Vec<String>,
}
