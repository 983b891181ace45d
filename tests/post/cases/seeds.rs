//! The seeds of the fuzzer, made of the rows: forms for the target `form`, documents for the target `policy`, as files `row-*` beside
//! those made by hand. When rows change, `PILLARBOX_WRITE_SEEDS=1 cargo test --test post seeds` writes them anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::post::{Post, Shape, Version};
use super::row::Row;

/// Most seeds of the rows in all, and bytes of one.
const MOST_SEEDS: usize = 200;
const MOST_BYTES: usize = 1024;

/// The families whose rows differ in form or policy, and of how many rows one is a seed.
const FORMS: [(Rows, u32); 7] = [
    (super::conditions::rows, 3),
    (super::coverage::rows, 7),
    (super::fields::rows, 3),
    (super::file_name::rows, 2),
    (super::acting::rows, 6),
    (super::tagging::rows, 4),
    (super::size::rows, 4),
];

type Rows = fn() -> Vec<Row>;
/// Name and content of each.
type Seeds = BTreeMap<String, Vec<u8>>;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target)
}

fn name(row: &Row) -> String {
    let letters = row.says.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => c.to_ascii_lowercase(),
        _ => '-',
    });
    let words: Vec<_> = letters
        .collect::<String>()
        .split('-')
        .map(str::to_owned)
        .collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    format!("row-{}", words.join("-"))
}

fn post_of(row: &Row) -> Post {
    let mut post = Post::valid(Version::V2, Shape::Browser);
    (row.change)(&mut post);
    post
}

/// Policy, file name, fields: one on each line, as the target reads them; what does not fit into lines is no seed.
fn form_seed(post: &Post) -> Option<Vec<u8>> {
    let document = document_of(post)?;
    let mut lines = vec![document, post.file.file_name.clone().unwrap_or_default()];
    for field in post.send().fields {
        let proof = ["policy", "signature", "awsaccesskeyid"];
        if !proof.contains(&field.name.to_lowercase().as_str()) {
            let value = String::from_utf8(field.value).ok()?;
            lines.push(format!("{}={value}", field.name));
        }
    }
    let fits = lines.iter().all(|line| !line.contains('\n'));
    fits.then(|| lines.join("\n").into_bytes())
}

fn document_of(post: &Post) -> Option<String> {
    if post.policy_text.is_some() {
        return None;
    }
    Some(post.document.clone().unwrap_or_else(|| {
        let (end, conditions) = (&post.expiration, post.conditions.join(","));
        format!("{{\"expiration\":\"{end}\",\"conditions\":[{conditions}]}}")
    }))
}

/// The seeds of one target from these rows. Which they are hangs on their names alone, so that a new row moves no other.
fn seeds(rows: &[Row], of: u32, seed: fn(&Post) -> Option<Vec<u8>>) -> Seeds {
    let v2 = rows
        .iter()
        .filter(|row| row.versions.contains(&Version::V2));
    let chosen = v2.filter(|row| crc32fast::hash(row.says.as_bytes()).is_multiple_of(of));
    let all = chosen.filter_map(|row| Some((name(row), seed(&post_of(row))?)));
    all.filter(|(_, bytes)| bytes.len() <= MOST_BYTES).collect()
}

#[test]
fn the_seeds_of_the_fuzzer_are_those_of_the_rows() {
    let mut forms = Seeds::new();
    for (rows, of) in FORMS {
        forms.extend(seeds(&rows(), of, form_seed));
    }
    let document = |post: &Post| {
        let text = post.policy_text.clone();
        text.or_else(|| document_of(post)).map(String::into_bytes)
    };
    let policies = seeds(&super::document::rows(), 2, document);
    let count = forms.len() + policies.len();
    assert!((100..=MOST_SEEDS).contains(&count), "{count} seeds");
    for (target, seeds) in [("form", forms), ("policy", policies)] {
        if std::env::var_os("PILLARBOX_WRITE_SEEDS").is_some() {
            write(target, &seeds);
        }
        let held = on_disk(target);
        let names = seeds.keys().chain(held.keys());
        let stale: Vec<_> = names
            .filter(|name| held.get(*name) != seeds.get(*name))
            .collect();
        assert!(
            stale.is_empty(),
            "{target}: write the seeds anew, for {stale:?}"
        );
    }
}

fn on_disk(target: &str) -> Seeds {
    let entries = std::fs::read_dir(folder(target)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path));
    named
        .filter(|(name, _)| name.starts_with("row-"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

fn write(target: &str, seeds: &Seeds) {
    for name in on_disk(target).into_keys() {
        std::fs::remove_file(folder(target).join(name)).unwrap();
    }
    for (name, bytes) in seeds {
        std::fs::write(folder(target).join(name), bytes).unwrap();
    }
}
