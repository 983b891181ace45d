//! The application: what every request needs, and the clock.
//!
//! Owns: [`App`] (the store, the options, the clock), and [`Clock`], the only place that asks what time it is. Tests set it.
//!
//! Never does: know sockets or TLS; the server floor hands requests in and carries answers out.
//!
//! Invariant: [`App::handle`] always answers; a panic in a handler becomes a 500 for that one request.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Mutex;

use super::address::OwnNames;
use super::admission::Admission;
use super::documents::Documents;
use super::explain::kept::Kept;
use super::request_id::RequestIds;
use super::turns::{Lists, MaxLists};
use crate::model::{AccessKey, Bucket, CorsRule, SharedRules, Timestamp};
use crate::policy::{DerivedKeys, Rules};
use crate::store::{ClockReading, Store};

/// The region that signatures are made for when nothing else is configured; also what SDKs take by default.
pub const DEFAULT_REGION: &str = "us-east-1";

/// A clock that tests can set. Clones share the same time.
#[derive(Clone)]
pub struct Clock(Arc<ClockState>);

struct ClockState {
    /// `i64::MIN` while the clock runs with the system's.
    frozen_millis: AtomicI64,
    started: Instant,
}

impl Clock {
    /// Runs with the system's clock.
    pub fn system() -> Self {
        Self(Arc::new(ClockState {
            frozen_millis: AtomicI64::new(i64::MIN),
            started: Instant::now(),
        }))
    }

    /// Stands still at `now` until it is set again.
    pub fn fixed(now: Timestamp) -> Self {
        let clock = Self::system();
        clock.set(now);
        clock
    }

    /// Stops the clock at `now`.
    pub fn set(&self, now: Timestamp) {
        self.0.frozen_millis.store(now.millis(), Ordering::SeqCst);
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match self.0.frozen_millis.load(Ordering::SeqCst) {
            i64::MIN => system_now(),
            frozen => Timestamp::from_millis(frozen),
        }
    }

    /// Both clocks, for the sweep.
    pub fn reading(&self) -> ClockReading {
        ClockReading {
            wall: self.now(),
            monotonic: self.0.started.elapsed(),
        }
    }
}

fn system_now() -> Timestamp {
    let since = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp::from_millis(since(after)),
        Err(before) => Timestamp::from_millis(-since(before.duration())),
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A place that forms are posted to, for uploaders of certain networks.
#[derive(Clone, Debug)]
pub struct Site {
    /// Networks it serves; the longest prefix of all sites wins.
    pub networks: Vec<IpNet>,
    /// Absolute URL that ends in `/BUCKET/`.
    pub form_post_url: String,
}

/// A bucket that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketOptions {
    /// Its name.
    pub name: Bucket,
    /// Whether anybody may post a form into it without a policy.
    pub public_write: bool,
    /// Its cross-origin rules; `None` leaves them to `[cors] origins`.
    pub cors: Option<SharedRules<CorsRule>>,
}

/// What the application is told by the configuration.
#[derive(Clone, Debug)]
pub struct AppOptions {
    /// Absolute URL without a trailing `/` that rules every URL we make; the request's own host when not set.
    pub public_url: Option<String>,
    /// The bucket that sessions upload into.
    pub bucket: Bucket,
    /// Further buckets, and what is special about any.
    pub buckets: Vec<BucketOptions>,
    /// The region that a Signature Version 4 must be made for; `None` is any.
    pub region: Option<String>,
    /// Where Amazon's behaviour is not known.
    pub rules: Rules,
    /// Where forms are posted to when no site fits; `<public_url>/<bucket>/` when not set.
    pub form_post_url: Option<String>,
    /// Sites for uploaders of certain networks.
    pub sites: Vec<Site>,
    /// How long a signed form lives.
    pub form_lifetime: Duration,
    /// After how long an unfinished session is swept.
    pub session_lifetime: Duration,
    /// After how long an object expires when neither the session nor its pipeline says so.
    pub object_lifetime: Duration,
    /// How long a download link lives when the client does not say so.
    pub link_lifetime: Duration,
    /// How long a token lives when the client does not say so.
    pub token_lifetime: Duration,
    /// Host names (without port) that requests may carry; empty is any.
    pub hosts: Vec<String>,
    /// Origins that browsers may post from; `*` is any.
    pub cors_origins: Vec<String>,
    /// How many lists are put together at a time.
    pub max_lists: MaxLists,
    /// Makes pipelines on first use and uses fixed, documented keys: `pillarbox dev`.
    pub dev: bool,
}

impl AppOptions {
    /// What is configured for a bucket.
    pub fn bucket_options(&self, name: &str) -> Option<&BucketOptions> {
        self.buckets
            .iter()
            .find(|bucket| bucket.name.as_str() == name)
    }
}

impl Default for AppOptions {
    fn default() -> Self {
        let hours = |h: u64| Duration::from_secs(h * 3600);
        Self {
            public_url: None,
            // "uploads" follows the naming rules, so this cannot fail; Bucket has no unchecked constructor on purpose.
            bucket: default_bucket(),
            buckets: Vec::new(),
            region: Some(DEFAULT_REGION.to_owned()),
            rules: Rules::default(),
            form_post_url: None,
            sites: Vec::new(),
            form_lifetime: hours(24),
            session_lifetime: hours(7 * 24),
            object_lifetime: hours(7 * 24),
            link_lifetime: hours(1),
            token_lifetime: hours(1),
            hosts: Vec::new(),
            cors_origins: vec!["*".to_owned()],
            max_lists: MaxLists::default(),
            dev: false,
        }
    }
}

#[allow(clippy::expect_used, reason = "a constant that a test below proves")]
fn default_bucket() -> Bucket {
    Bucket::parse("uploads").expect("a valid constant")
}

/// What the server knows of the connection a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The peer's address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether it came over TLS.
    pub tls: bool,
}

impl Connection {
    /// The peer's IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }
}

/// The application.
pub struct App {
    pub(crate) options: AppOptions,
    /// What the options say of names. Read once: the options never change while the program runs.
    pub(crate) names: OwnNames,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    /// The key that signs new forms.
    pub(crate) signer: ArcSwap<AccessKey>,
    /// The key that signs download links.
    pub(crate) link_signer: ArcSwap<AccessKey>,
    /// Names requests in the log and in answers.
    pub(crate) request_ids: RequestIds,
    /// What signed requests were verified with of late.
    pub(crate) derived_keys: DerivedKeys,
    /// Held while a key that signs for us is replaced or removed.
    pub(crate) changing_keys: Mutex<()>,
    /// What is known of the form posts that were refused in the last minutes.
    pub(crate) explanations: Kept,
    /// The uploads whose bytes are on their way in.
    pub(super) admission: Admission,
    /// The room for what is read or written whole.
    pub(super) documents: Documents,
    /// The turns of those who list.
    pub(super) lists: Lists,
}

impl App {
    /// Has a client go that is too slow for its documents, for somebody who was refused his just now: one for each. `goes` says whether one does.
    pub(crate) fn lets_one_go(&self, goes: impl FnOnce() -> bool) {
        self.documents.lets_one_go(goes);
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_bucket_follows_the_rules() {
        assert_eq!(AppOptions::default().bucket.as_str(), "uploads");
    }

    #[test]
    fn a_set_clock_stands_still_for_all_its_clones() {
        let clock = Clock::fixed(Timestamp::from_seconds(100));
        let twin = clock.clone();
        clock.set(Timestamp::from_seconds(200));
        assert_eq!(twin.now(), Timestamp::from_seconds(200));
    }
}
