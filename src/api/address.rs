//! Where a request leads: host, resource, the URL under which the client knows us, and whose cross-origin rules apply.
//!
//! Owns: [`Address`], read once per request before anything can fail, and the path prefix of `--public-url`: behind a proxy that passes
//! the prefix on, it is left behind here, so that no other file knows of it.
//! Never does: decide whether a host is served (`host.rs` does), or look at a body.
//! Invariant: a prefix is left behind only when a whole segment ends there; a bucket must not be named like it. Below a bucket's own
//! host the path is the key, and nothing tells `/prefix/key` of a proxy that passes the prefix on from the key `prefix/key`: it is the
//! key `key` there, and the other one is reached with the bucket in the path only.

use std::borrow::Cow;

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::app::{App, Connection};
use super::cors::Cors;
use super::cors_rules::BucketRules;
use super::error::ApiError;
use super::host;
use super::route::{self, Route};
use crate::model::{Bucket, BucketSetting, CorsRule, SettingKind, SettingValue};
use crate::store::{CatalogEntry, CatalogKey};

/// Where a request leads.
pub(super) struct Address {
    /// The resource.
    pub(super) route: Route,
    /// Absolute URL of this service as the client knows it, without a trailing `/`; or why its host is not served.
    pub(super) base_url: Result<String, ApiError>,
}

impl App {
    /// Reads where a request leads.
    pub(super) fn address(&self, head: &Parts, connection: Connection) -> Address {
        let bases = self.host_bases();
        let host = host::named(head, &self.options.hosts);
        let named = host.as_deref().unwrap_or_default();
        let bucket = route::bucket_of_host(named, &bases);
        let route = route::parse(head.uri.path(), bucket);
        let base_url = match &host {
            Ok(host) => Ok(self.base_url(host, bucket, connection)),
            Err(error) => Err(ApiError::new(error.code, error.message.clone())),
        };
        Address { route, base_url }
    }

    /// The host that a request names, and the bucket in front of it, if there is one.
    pub(super) fn named_host(&self, head: &Parts) -> (String, Option<String>) {
        let host = host::named(head, &self.options.hosts).unwrap_or_default();
        let bucket = route::bucket_of_host(&host, &self.host_bases()).map(str::to_owned);
        (host, bucket)
    }

    /// By what cross-origin requests to a resource are answered: the configured rules of its bucket, those that were set over S3, or the
    /// configured origins. Where rules may be set and cannot be read, nobody is let in.
    pub(super) async fn cors(&self, route: &Route) -> Cors<'_> {
        let (bucket, resource) = match route {
            Route::Bucket(bucket) => (bucket, "BUCKET"),
            Route::Object { bucket, .. } => (bucket, "OBJECT"),
            _ => return Cors::Origins(&self.options.cors_origins),
        };
        let configured = self.options.bucket_options(bucket);
        let rules = match configured.and_then(|bucket| bucket.cors.as_deref()) {
            Some(rules) => Some(Cow::Borrowed(rules)),
            None => self.set_rules(bucket).await.map(Cow::Owned),
        };
        match rules {
            Some(rules) => Cors::Rules(BucketRules { rules, resource }),
            None => Cors::Origins(&self.options.cors_origins),
        }
    }

    /// The rules that were set for a bucket over S3, if any were.
    async fn set_rules(&self, bucket: &str) -> Option<Vec<CorsRule>> {
        let key = CatalogKey::Setting(Bucket::parse(bucket).ok()?, SettingKind::Cors);
        match self.store.find(&key).await {
            Ok(Some(CatalogEntry::Setting(BucketSetting {
                value: SettingValue::Cors(rules),
                ..
            }))) => Some(rules),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the cross-origin rules of a bucket cannot be read");
                Some(Vec::new())
            }
        }
    }

    /// Takes the path prefix of the public URL off the path, for proxies that pass it on.
    pub(super) fn leave_prefix_behind(&self, head: &mut Parts) {
        let prefix = self.path_prefix();
        let sent = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let rest = match sent.strip_prefix(prefix.as_str()) {
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
    pub(super) fn path_prefix(&self) -> String {
        let public = self.public_uri();
        let path = public.as_ref().map_or("", |uri| uri.path());
        path.trim_end_matches('/').to_owned()
    }

    /// Host names whose subdomains are buckets.
    fn host_bases(&self) -> Vec<String> {
        let public = self.public_uri();
        let public = public.and_then(|uri| uri.host().map(str::to_ascii_lowercase));
        let named = self.options.hosts.iter().cloned();
        public
            .into_iter()
            .chain(named)
            .chain(["localhost".to_owned()])
            .filter(|base| base.parse::<std::net::IpAddr>().is_err())
            .collect()
    }

    fn public_uri(&self) -> Option<Uri> {
        self.options.public_url.as_deref()?.parse().ok()
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
        format!("{scheme}://{host}")
    }
}
