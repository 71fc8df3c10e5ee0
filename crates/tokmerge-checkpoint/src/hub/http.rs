//! One request to the Hub, redirects included.
//!
//! The Hub answers for a large file with a redirect to a storage host; commit and entity tag stand in the Hub's own
//! answer. Redirects are followed here and not by the HTTP library, so that these headers are seen and the token
//! stays with the host it was meant for.

use std::io;

use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body};

use super::cache::{Commit, Etag};
use super::{HubConfig, HubError};
use crate::RepoId;

const MAX_REDIRECTS: usize = 5;

pub(super) struct Client {
    agent: Agent,
    config: HubConfig,
}

/// The Hub's answer for one file.
pub(super) enum Reply {
    Found(Found),
    /// The repository and revision exist, the file does not.
    Missing {
        commit: Option<Commit>,
    },
}

/// A file about to be downloaded.
pub(super) struct Found {
    pub(super) commit: Commit,
    pub(super) etag: Etag,
    /// In bytes, where the Hub tells.
    pub(super) size: Option<u64>,
    pub(super) body: Body,
}

/// What the endpoint's own answers said, the latest word on each.
#[derive(Default)]
struct Told {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl Told {
    fn listen(&mut self, headers: &HeaderMap) {
        let commit = text(headers, "x-repo-commit");
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
        let size = text(headers, "x-linked-size").and_then(|size| size.parse().ok());
        self.commit = commit.or(self.commit.take());
        self.etag = etag.or(self.etag.take());
        self.size = size.or(self.size);
    }
}

/// Which file of which repository, for requests and for errors.
pub(super) struct Wanted<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a str,
    pub(super) file: &'a str,
}

impl Client {
    pub(super) fn new(config: HubConfig) -> Result<Self, HubError> {
        let endpoint = &config.endpoint;
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        let plain = |host: &str| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"@?#\\".contains(&b))
        };
        if !host.is_some_and(plain) {
            // Not repeated: an address may hold a password.
            let reason =
                "must be an address like https://huggingface.co, without user name or query".to_owned();
            return Err(HubError::Setting { setting: "HF_ENDPOINT", reason });
        }
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("tokmerge/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(config.connect_timeout))
            .timeout_recv_response(Some(config.read_timeout))
            .timeout_per_read(Some(config.read_timeout));
        let is_local = |host: &str| matches!(host.split([':', '/']).next(), Some("127.0.0.1" | "localhost"));
        if host.is_some_and(is_local) {
            // No proxy knows this machine's own servers.
            builder = builder.proxy(None);
        }
        Ok(Self { agent: builder.build().new_agent(), config })
    }

    pub(super) fn config(&self) -> &HubConfig {
        &self.config
    }

    pub(super) fn get(&self, wanted: &Wanted<'_>) -> Result<Reply, HubError> {
        let endpoint = &self.config.endpoint;
        let revision = wanted.revision.replace('/', "%2F");
        let mut url = format!("{endpoint}/{}/resolve/{revision}/{}", wanted.repo, wanted.file);
        let mut told = Told::default();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(&url, wanted)?;
            if origin(&url) == origin(endpoint) {
                told.listen(response.headers());
            }
            match response.status().as_u16() {
                200 => return found(told, response, wanted).map(Reply::Found),
                301 | 302 | 303 | 307 | 308 => {
                    let location = text(response.headers(), header::LOCATION.as_str());
                    url = follow(&url, location.as_deref()).map_err(|reason| wanted.unusable(reason))?;
                }
                status => return self.refused(status, response.headers(), &told, wanted),
            }
        }
        Err(wanted.unusable(format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn request(&self, url: &str, wanted: &Wanted<'_>) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.config.token
            && origin(url) == origin(&self.config.endpoint)
        {
            request = request.header(header::AUTHORIZATION, token.authorization());
        }
        request.call().map_err(|error| self.transport_error(error, wanted))
    }

    fn refused(
        &self,
        status: u16,
        headers: &HeaderMap,
        told: &Told,
        wanted: &Wanted<'_>,
    ) -> Result<Reply, HubError> {
        let code = text(headers, "x-error-code");
        let endpoint = &self.config.endpoint;
        let repo = wanted.repo;
        let reason = match (status, code.as_deref()) {
            (404, Some("RepoNotFound")) => "there is no such repository; check the name".to_owned(),
            (404, Some("RevisionNotFound")) => format!("there is no revision {}", wanted.revision),
            (404, _) => return Ok(Reply::Missing { commit: told.commit.as_deref().and_then(Commit::parse) }),
            (401, _) => "the repository does not exist, or it needs a token; check the name, or set HF_TOKEN"
                .to_owned(),
            (403, _) => format!(
                "the token may not read it; if the repository is gated, accept its terms at {endpoint}/{repo}"
            ),
            (429, _) => "too many requests; wait a while, or set HF_TOKEN".to_owned(),
            (500.., _) => "the server has a problem; try again later".to_owned(),
            _ => "unexpected".to_owned(),
        };
        Err(HubError::Status { repo: repo.clone(), file: wanted.file.to_owned(), status, reason })
    }

    /// In our own words: the library's may hold the address, whose query can be a signature.
    fn transport_error(&self, error: ureq::Error, wanted: &Wanted<'_>) -> HubError {
        use ureq::Timeout;
        let reason = match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                return wanted.timed_out(self.config.connect_timeout.as_secs(), "connecting");
            }
            ureq::Error::Timeout(_) => {
                return wanted.timed_out(self.config.read_timeout.as_secs(), "waiting for data");
            }
            ureq::Error::Io(error) => format!("{error}"),
            ureq::Error::HostNotFound => "the host name cannot be resolved".to_owned(),
            ureq::Error::ConnectionFailed => "the connection failed".to_owned(),
            ureq::Error::Rustls(error) => format!("TLS: {error}"),
            ureq::Error::Tls(error) => format!("TLS: {error}"),
            ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
                "the proxy refused".to_owned()
            }
            ureq::Error::Protocol(error) => format!("not HTTP as expected: {error}"),
            _ => "the request failed".to_owned(),
        };
        HubError::Network { repo: wanted.repo.clone(), file: wanted.file.to_owned(), reason }
    }

    /// For an error while the body is read.
    pub(super) fn body_error(&self, error: io::Error, wanted: &Wanted<'_>) -> HubError {
        match error.downcast::<ureq::Error>() {
            Ok(error) => self.transport_error(error, wanted),
            Err(error) => self.transport_error(ureq::Error::Io(error), wanted),
        }
    }
}

impl Wanted<'_> {
    pub(super) fn unusable(&self, reason: String) -> HubError {
        HubError::Answer { repo: self.repo.clone(), file: self.file.to_owned(), reason }
    }

    fn timed_out(&self, seconds: u64, phase: &'static str) -> HubError {
        HubError::Timeout { repo: self.repo.clone(), file: self.file.to_owned(), seconds, phase }
    }
}

fn found(told: Told, response: Response<Body>, wanted: &Wanted<'_>) -> Result<Found, HubError> {
    let commit = told.commit.as_deref().and_then(Commit::parse);
    let commit =
        commit.ok_or_else(|| wanted.unusable("no X-Repo-Commit header; is HF_ENDPOINT a Hub?".to_owned()))?;
    let etag = told.etag.as_deref().and_then(Etag::parse);
    let etag =
        etag.ok_or_else(|| wanted.unusable("no usable ETag header; is HF_ENDPOINT a Hub?".to_owned()))?;
    let body = response.into_body();
    let size = match (told.size, body.content_length()) {
        (Some(told), Some(sent)) if told != sent => {
            return Err(
                wanted.unusable(format!("the Hub announced {told} bytes, the storage host sends {sent}"))
            );
        }
        (told, sent) => told.or(sent),
    };
    Ok(Found { commit, etag, size, body })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Scheme, host and port as written.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// The address a redirect leads to.
fn follow(from: &str, location: Option<&str>) -> Result<String, String> {
    let location = location.ok_or("a redirect without an address")?;
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(format!("{}{location}", origin(from)));
    }
    match (from.starts_with("https://"), location) {
        (_, secure) if secure.starts_with("https://") => Ok(secure.to_owned()),
        (false, plain) if plain.starts_with("http://") => Ok(plain.to_owned()),
        (true, plain) if plain.starts_with("http://") => {
            Err("a redirect from https to plain http".to_owned())
        }
        _ => Err("a redirect to something other than an http address".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_http_and_never_lose_tls() {
        assert_eq!(follow("https://a/x", Some("/y?z")).unwrap(), "https://a/y?z");
        assert_eq!(follow("https://a/x", Some("https://b/y")).unwrap(), "https://b/y");
        for location in ["http://b/y", "file:///etc/passwd", "//b/y", "y", ""] {
            assert!(follow("https://a/x", Some(location)).is_err(), "{location}");
        }
    }

    #[test]
    fn origins_are_compared_with_port_and_user() {
        assert_eq!(origin("https://hub.co/a/b"), "https://hub.co");
        assert_ne!(origin("https://hub.co:8443/a"), origin("https://hub.co/a"));
        assert_ne!(origin("https://hub.co@evil.example/a"), origin("https://hub.co/a"));
        assert_ne!(origin("https://hub.co.evil.example"), origin("https://hub.co"));
        assert_ne!(origin("http://hub.co"), origin("https://hub.co"));
    }
}
