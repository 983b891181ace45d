//! Any body, in any slicing: the guard passes or refuses it, the same for every slicing; and what it passes is refused by the
//! parser, or read as as many parts as the guard has read heads (a name that is read in two ways is refused by the handler).
#![no_main]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use libfuzzer_sys::fuzz_target;
use pillarbox::api::body::RequestBody;
use pillarbox::api::framing::MAX_OUTSIDE_BYTES;
use pillarbox::api::guard::{Guard, boundary};

const BOUNDARY: &str = "B";

// The size of a slice, then the body.
fuzz_target!(|input: &[u8]| {
    let Some((&slice, data)) = input.split_first() else {
        return;
    };
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = boundary(text);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let whole = guarded(data, data.len().max(1)).await;
        let sliced = guarded(data, usize::from(slice).max(1)).await;
        assert_eq!(whole, sliced, "slices of {slice}");
        if let Some((passed, names)) = whole {
            assert!(
                parsed(passed)
                    .await
                    .is_none_or(|parts| parts == names.len())
            );
        }
    });
});

/// What the guard passes, and the names in the heads it has read; `None` when it refuses.
async fn guarded(data: &[u8], slice: usize) -> Option<(Vec<u8>, Vec<String>)> {
    let slices: Vec<_> = data.chunks(slice).map(Bytes::copy_from_slice).collect();
    let frames = stream::iter(
        slices
            .into_iter()
            .map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))),
    );
    let mut body = RequestBody::new(StreamBody::new(frames), Duration::from_secs(10));
    let (mut guard, heads) = Guard::new(&mut body, BOUNDARY);
    let (mut passed, mut names) = (Vec::new(), Vec::new());
    while let Some(slice) = guard.next().await {
        passed.extend_from_slice(&slice.ok()?);
        // As the handler does: the file's content comes only when its part was taken.
        names.extend(std::iter::from_fn(|| heads.take()).map(|head| head.name));
    }
    assert!(names.is_empty() || passed.len() <= data.len().max(MAX_OUTSIDE_BYTES));
    Some((passed, names))
}

/// How many parts the parser finds; `None` when it refuses.
async fn parsed(body: Vec<u8>) -> Option<usize> {
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from(body))]);
    let mut parser = multer::Multipart::new(body, BOUNDARY);
    let mut parts = 0;
    while let Some(field) = parser.next_field().await.ok()? {
        field.bytes().await.ok()?;
        parts += 1;
    }
    Some(parts)
}
