//! Any path and any Host: a route, never a panic; nothing below `/v1` is a bucket, and no object is without a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::api::route::{Route, bucket_of_host, host_name, parse};

// A path, a line end, a Host.
fuzz_target!(|text: &str| {
    let (path, host) = text.split_once('\n').unwrap_or((text, "localhost"));
    let bases = ["localhost".to_owned(), "box.example".to_owned()];
    let bucket = bucket_of_host(host, &bases);
    assert!(host.starts_with(host_name(host)));
    if let Some(bucket) = bucket {
        assert!(!bucket.is_empty() && host.starts_with(bucket));
    }
    let rest = bucket.is_none() && (path == "/v1" || path.starts_with("/v1/"));
    match parse(path, bucket) {
        Route::Object { key, .. } => assert!(!key.is_empty() && !rest),
        Route::Malformed => assert!(!rest),
        route => assert!(!rest || route.is_rest(), "{path:?} is {route:?}"),
    }
});
