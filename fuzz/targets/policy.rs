//! Any policy document, as base64 and as what the base64 holds: parsed or refused, never a panic, and the same each time. And any
//! text as the tags of a form, which keep their rules or are refused.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use pillarbox::model::Tags;
use pillarbox::policy::{PostForm, PostPolicy, parse_tagging};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PostPolicy::parse(text);
        if let Ok(tags) = parse_tagging(text) {
            let pairs = tags.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(Tags::new(pairs.collect()).as_ref(), Ok(&tags));
        }
    }
    let encoded = STANDARD.encode(data);
    if let Ok(policy) = PostPolicy::parse(&encoded) {
        assert!(encoded.len() <= PostForm::MAX_BYTES);
        assert!(policy == PostPolicy::parse(&encoded).expect("what parsed once parses twice"));
        assert_eq!(format!("{policy:?}"), "PostPolicy(..)");
    }
});
