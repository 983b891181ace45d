//! Where a request leads: host, resource, the URL under which the client knows us, and whose cross-origin rules apply.
//!
//! Owns: [`Address`], read before anything can fail, and again for a refusal that is explained; [`OwnNames`], read once of the options, and the path prefix of
//! `--public-url`: behind a proxy that passes the prefix on, it is left behind here.
//! Never does: decide whether a host is served (`host.rs` does), or look at a body.
//! Invariant: a prefix is left behind only when a whole segment ends there; a bucket must not be named like it. Below a bucket's own
//! host the path is the key, and nothing tells `/prefix/key` of a proxy that passes the prefix on from the key `prefix/key`: it is the
//! key `key` there, and the other one is reached with the bucket in the path only.

use http::header::ORIGIN;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};

use super::app::{App, AppOptions, Connection};
use super::cors::Cors;
use super::cors_rules::BucketRules;
use super::error::ApiError;
use super::host;
use super::route::{self, Route};
use crate::model::{Bucket, BucketSetting, CorsRule, SettingKind, SettingValue, SharedRules};
use crate::store::{CatalogEntry, CatalogKey};

/// Under which names this service is reached, as its options say.
pub(crate) struct OwnNames {
    /// The path of the public URL without a trailing `/`; empty when it has none.
    path_prefix: String,
    /// Host names whose subdomains are buckets.
    host_bases: Vec<String>,
}

impl OwnNames {
    pub(super) fn of(options: &AppOptions) -> Self {
        let public = options.public_url.as_deref();
        let public = public.and_then(|url| url.parse::<Uri>().ok());
        let path = public.as_ref().map_or("", Uri::path);
        let host = public.as_ref().and_then(Uri::host);
        let host = host.map(str::to_ascii_lowercase).into_iter();
        let bases = host
            .chain(options.hosts.iter().cloned())
            .chain(["localhost".to_owned()]);
        Self {
            path_prefix: path.trim_end_matches('/').to_owned(),
            host_bases: bases
                .filter(|base| base.parse::<std::net::IpAddr>().is_err())
                .collect(),
        }
    }
}

/// Where a request leads.
pub(super) struct Address<'a> {
    /// The resource.
    pub(super) route: Route,
    /// The host it names; or why that is not served.
    pub(super) host: Result<Host<'a>, ApiError>,
}

/// The host that a request names.
pub(super) struct Host<'a> {
    /// As it was sent, with its port, if it has one.
    pub(super) name: &'a str,
    /// The bucket in front of it, if there is one.
    pub(super) bucket: Option<&'a str>,
    /// Absolute URL of this service as the client knows it, without a trailing `/`.
    pub(super) base_url: String,
}

impl App {
    /// Reads where a request leads.
    pub(super) fn address<'a>(&self, head: &'a Parts, connection: Connection) -> Address<'a> {
        let host = host::named(head, &self.options.hosts).map(|name| {
            let bucket = route::bucket_of_host(name, &self.names.host_bases);
            Host {
                name,
                bucket,
                base_url: self.base_url(name, bucket, connection),
            }
        });
        let bucket = host.as_ref().ok().and_then(|host| host.bucket);
        let route = route::parse(head.uri.path(), bucket);
        Address { route, host }
    }

    /// By what cross-origin requests to a resource are answered: the configured rules of its bucket, those that were set over S3, or the
    /// configured origins. Where rules may be set and cannot be read, nobody is let in.
    pub(super) async fn cors(&self, route: &Route, request: &HeaderMap) -> Cors<'_> {
        let origins = &self.options.cors_origins;
        // Who names no origin is let in by no rule, so the rules are not looked for.
        if !request.contains_key(ORIGIN) && !origins.is_empty() {
            return Cors::Origins(origins);
        }
        let (bucket, resource) = match route {
            Route::Bucket(bucket) => (bucket, "BUCKET"),
            Route::Object { bucket, .. } => (bucket, "OBJECT"),
            _ => return Cors::Origins(origins),
        };
        let configured = self.options.bucket_options(bucket);
        let rules = match configured.and_then(|bucket| bucket.cors.clone()) {
            Some(rules) => Some(rules),
            None => self.set_rules(bucket).await,
        };
        match rules {
            Some(rules) => Cors::Rules(BucketRules { rules, resource }),
            None => Cors::Origins(origins),
        }
    }

    /// The rules that were set for a bucket over S3, if any were.
    async fn set_rules(&self, bucket: &str) -> Option<SharedRules<CorsRule>> {
        let key = CatalogKey::Setting(Bucket::parse(bucket).ok()?, SettingKind::Cors);
        match self.store.find(&key).await {
            Ok(Some(CatalogEntry::Setting(BucketSetting {
                value: SettingValue::Cors(rules),
                ..
            }))) => Some(rules),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the cross-origin rules of a bucket cannot be read");
                Some(SharedRules::default())
            }
        }
    }

    /// Takes the path prefix of the public URL off the path, for proxies that pass it on.
    pub(super) fn leave_prefix_behind(&self, head: &mut Parts) {
        let prefix = self.path_prefix();
        let sent = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let rest = match sent.strip_prefix(prefix) {
            Some(rest) if !prefix.is_empty() => rest,
            _ => return,
        };
        let path = match rest.as_bytes().first() {
            Some(b'/') => rest.to_owned(),
            None | Some(b'?') => format!("/{rest}"),
            _ => return,
        };
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.path_and_query = path.parse().ok();
        head.uri = Uri::from_parts(parts).unwrap_or_default();
    }

    /// The path of the public URL without a trailing `/`; empty when it has none.
    pub(super) fn path_prefix(&self) -> &str {
        &self.names.path_prefix
    }

    /// Where the client reaches us.
    fn base_url(&self, host: &str, bucket: Option<&str>, connection: Connection) -> String {
        if let Some(url) = &self.options.public_url {
            return url.clone();
        }
        let scheme = if connection.tls { "https" } else { "http" };
        let host = bucket
            .and_then(|bucket| host.get(bucket.len() + 1..))
            .unwrap_or(host);
        [scheme, "://", host].concat()
    }
}
