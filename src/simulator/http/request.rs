//! Requests as plain values, without a socket.

use serde_json::Value;

use crate::domain::money::units::Timestamp;

/// The hosts that the simulator replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Data,
    Clob,
    Gamma,
    GitHub,
}

/// A request as a route reads it.
#[derive(Debug, Clone)]
pub struct Request {
    pub host: Host,
    pub post: bool,
    /// The path below the host's base address, with its leading slash.
    pub path: String,
    /// The query as it was sent, still encoded.
    pub query: String,
    /// Names and values; names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// One entry of the request log.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub host: Host,
    pub path: String,
    pub query: String,
    pub status: u16,
    pub at: Timestamp,
    pub from_cache: bool,
}

impl Request {
    /// Returns a GET request; a `?` separates path and query.
    pub fn get(host: Host, path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self {
            host,
            post: false,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Returns a POST request with a JSON body.
    pub fn post(host: Host, path: &str, body: &Value) -> Self {
        Self { post: true, body: body.to_string().into_bytes(), ..Self::get(host, path) }
    }

    /// Returns path and query.
    pub fn url(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    /// Returns the value of a header; empty when the request has no such header. `name` is in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Returns the decoded pairs of the query in order; none when the query cannot be decoded.
    pub fn pairs(&self) -> Vec<(String, String)> {
        actix_web::web::Query::<Vec<(String, String)>>::from_query(&self.query)
            .map(actix_web::web::Query::into_inner)
            .unwrap_or_default()
    }
}
