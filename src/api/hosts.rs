//! What a browser says about where a request comes from. A page of a stranger can make a browser on this machine send
//! requests to it; without keys nothing else would tell those from the user's own.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, Method,
        header::{HOST, ORIGIN},
        uri::Authority,
    },
};

use super::error::ApiResult;
use crate::{
    config::AccessConfig,
    domain::problem::{ErrorCode, Problem},
};

/// The names under which the service may be addressed.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    allowed: Vec<String>,
}

impl Hosts {
    pub fn new(config: &AccessConfig) -> Self {
        let plain = |host: &String| host_of(host.trim()).to_ascii_lowercase();
        Self { allowed: config.allowed_hosts.iter().map(plain).filter(|host| !host.is_empty()).collect() }
    }

    /// Refuses a request that is addressed to a name we do not have: a name that its owner lets point here makes the
    /// browser take the owner's page and this service for one site (DNS rebinding). An address cannot be bent like that.
    /// A request that names no host comes from no browser.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_host(&self, request: &Request) -> ApiResult<()> {
        let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
        let addressed = header.or_else(|| request.uri().authority().map(Authority::as_str));
        let Some(host) = addressed.map(host_of) else { return Ok(()) };
        if is_address(host) || host.eq_ignore_ascii_case("localhost") || self.is_allowed(host) {
            return Ok(());
        }
        let shown: String = host.escape_debug().take(100).collect();
        Err(Problem::new(
            ErrorCode::Forbidden,
            format!("The request is addressed to `{shown}`, which is no name of this service."),
        )
        .param("Host")
        .hint("If it is one, start the service with --allowed-hosts, or make a key: kegd keys create.")
        .into())
    }

    /// Refuses a request that would change something and was made by a page of another site. Other ports of this machine
    /// are other sites too: a browser would call them `same-site`.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn check_origin(&self, request: &Request) -> ApiResult<()> {
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) || self.is_own(request.headers()) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Forbidden, "The request was made by a page of another site.")
            .param("Origin")
            .hint("Use the service's own page, or a client that is no browser. A proxy must pass the Host header on.")
            .into())
    }

    /// Whether a browser says that our own page, or its user, made the request; whatever else asks says neither.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        // <https://www.w3.org/TR/fetch-metadata/>. Browsers send it to addresses that they find trustworthy, and no page
        // can set it.
        if let Some(site) = headers.get("sec-fetch-site") {
            return site == "same-origin" || site == "none";
        }
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let Some((_, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
            return false;
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) || self.is_allowed(host_of(authority))
    }

    fn is_allowed(&self, host: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// `localhost:8080` or `[::1]:8080` without the port and the brackets. Whatever port: tunnels have others.
fn host_of(authority: &str) -> &str {
    if let Some((host, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use rstest::rstest;

    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(&AccessConfig { allowed_hosts: vec!["Kegd.example.com:443".into()], ..AccessConfig::default() })
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().method(method).uri("/jobs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[rstest]
    #[case::loopback("127.0.0.1:8080", true)]
    #[case::loopback_six("[::1]:8080", true)]
    #[case::tunnel("localhost:9000", true)]
    #[case::capitals("LOCALHOST", true)]
    #[case::address("192.168.1.5:8080", true)]
    #[case::ours("kegd.example.com", true)]
    #[case::rebound("attacker.example:8080", false)]
    #[case::ends_alike("evilkegd.example.com", false)]
    #[case::begins_alike("localhost.attacker.example", false)]
    #[case::address_in_a_name("127.0.0.1.attacker.example:8080", false)]
    #[case::with_a_user("localhost@attacker.example", false)]
    #[case::empty("", false)]
    fn names_that_are_ours(#[case] host: &str, #[case] fits: bool) {
        assert_eq!(hosts().check_host(&request("GET", &[("host", host)])).is_ok(), fits);
    }

    #[rstest]
    #[case::no_browser(&[], true)]
    #[case::own_page(&[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8080")], true)]
    #[case::typed(&[("sec-fetch-site", "none")], true)]
    #[case::stranger(&[("sec-fetch-site", "cross-site")], false)]
    #[case::other_port(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")], false)]
    #[case::older_browser(&[("origin", "http://localhost:8080")], true)]
    #[case::older_browser_other_port(&[("origin", "http://localhost:3000")], false)]
    #[case::older_browser_stranger(&[("origin", "https://attacker.example")], false)]
    #[case::behind_a_proxy(&[("origin", "https://kegd.example.com")], true)]
    #[case::sandboxed(&[("origin", "null")], false)]
    fn who_may_change_things(#[case] headers: &[(&str, &str)], #[case] fits: bool) {
        let mut headers = headers.to_vec();
        headers.push(("host", "localhost:8080"));
        assert_eq!(hosts().check_origin(&request("POST", &headers)).is_ok(), fits);
        assert!(hosts().check_origin(&request("GET", &headers)).is_ok(), "looking is not changing");
    }
}
