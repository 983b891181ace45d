//! Any policy document, as base64 and as what the base64 holds: parsed or refused, never a panic, and the same each time.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use pillarbox::policy::{PostForm, PostPolicy};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PostPolicy::parse(text);
    }
    let encoded = STANDARD.encode(data);
    if let Ok(policy) = PostPolicy::parse(&encoded) {
        assert!(encoded.len() <= PostForm::MAX_BYTES);
        assert!(policy == PostPolicy::parse(&encoded).expect("what parsed once parses twice"));
        assert_eq!(format!("{policy:?}"), "PostPolicy(..)");
    }
});
