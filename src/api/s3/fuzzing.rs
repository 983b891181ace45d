//! What the fuzz target `s3` tries on the bodies of S3 requests. Built by the fuzz targets only (`--cfg fuzzing`).
//!
//! Owns: the laws: any bytes are read or refused; a document that was read holds no more elements than were allowed, and written again
//! reads back the same, as do the rules of a bucket.
//! Never does: I/O, or anything in the shipped program.

#![expect(clippy::expect_used, reason = "a fuzz target fails loudly")]

use super::xml::{self, Document, Element};
use super::{acl, bucket_cors, complete, delete, lifecycle};

/// Most elements of a document that is tried.
const MAX_ELEMENTS: usize = 64;
/// The documents that requests have for bodies.
const ROOTS: [&str; 6] = [
    "AccessControlPolicy",
    "CompleteMultipartUpload",
    "CORSConfiguration",
    "Delete",
    "LifecycleConfiguration",
    "Tagging",
];

/// Tries every law on `data`.
///
/// # Panics
/// When a law is broken.
pub fn try_bodies(data: &[u8]) {
    let _ = complete::named_parts(data);
    let _ = delete::List::read(data);
    for root in ROOTS {
        if let Ok(tree) = xml::read(data, root, MAX_ELEMENTS) {
            assert!(count(&tree) <= MAX_ELEMENTS);
            // XML has no way to write a zero, so what has one cannot be written again.
            if !data.contains(&0) {
                is_read_back(root, &tree);
                rules_are_read_back(root, &tree);
            }
            let _ = acl::read(&tree);
        }
    }
}

fn count(tree: &Element) -> usize {
    1 + tree.children.iter().map(count).sum::<usize>()
}

fn is_read_back(root: &'static str, tree: &Element) {
    if !tree.children.iter().all(has_plain_names) {
        return;
    }
    let mut document = Document::new(root);
    write(&mut document, tree);
    let again = xml::read(document.finish().as_bytes(), root, MAX_ELEMENTS);
    let again = again.expect("what was read can be written");
    assert_eq!(format!("{again:?}"), format!("{tree:?}"));
}

/// The reader does not judge names: those that documents have are letters.
fn has_plain_names(tree: &Element) -> bool {
    let is_plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphabetic());
    !tree.name.is_empty() && is_plain(&tree.name) && tree.children.iter().all(has_plain_names)
}

fn write(document: &mut Document, tree: &Element) {
    document.text(&tree.text);
    for child in &tree.children {
        document.within(&child.name, |inner| write(inner, child));
    }
}

fn rules_are_read_back(root: &'static str, tree: &Element) {
    for child in &tree.children {
        let mut document = Document::new(root);
        if let Ok(rule) = lifecycle::read(child) {
            document.within("Rule", |inner| lifecycle::write(inner, &rule));
            assert_eq!(lifecycle::read(&only(document)).ok(), Some(rule));
        } else if let Ok(rule) = bucket_cors::read(child) {
            document.within("CORSRule", |inner| bucket_cors::write(inner, &rule));
            assert_eq!(bucket_cors::read(&only(document)).ok(), Some(rule));
        }
    }
}

/// The one element of a document that was written here.
fn only(document: Document) -> Element {
    let text = document.finish();
    let mut read = ROOTS
        .iter()
        .filter_map(|root| xml::read(text.as_bytes(), root, MAX_ELEMENTS).ok());
    let mut tree = read.next().expect("what was written can be read");
    tree.children.pop().expect("it has one element")
}
