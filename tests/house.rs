//! The rules of the house, kept true by a test: floors, owners, lengths, module docs, panics.
//!
//! Every rule reads the parsed source, so that a name in a comment or a string is no offence, and each has a test below
//! that feeds it a bad sample and wants to be told. A message names file, line and rule.
//! Where the numbers and the floors come from: the map in `src/lib.rs`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails loudly")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "house/samples.rs"]
mod samples;
#[path = "house/source.rs"]
mod source;

use source::{House, Name, modules_of, patterns_of};

/// Most lines of a file before its tests.
const MAX_FILE_LINES: usize = 400;
/// Most lines of a function, from `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Highest median of all functions, in lines.
const MAX_MEDIAN_FUNCTION_LINES: usize = 12;
/// Lines of module documentation (`//!`); the crate's map may be longer.
const MODULE_DOC_LINES: std::ops::RangeInclusive<usize> = 5..=20;

/// From the ground up. A file uses its own floor and those below, never above; `store` and `policy` share a height and do not
/// know each other.
const FLOORS: [(&str, u8); 9] = [
    ("model", 1),
    ("policy", 2),
    ("store", 2),
    ("api", 3),
    ("server", 4),
    ("config", 5),
    ("cli", 6),
    ("main", 6),
    ("lib", 6),
];

/// What only some places may name, where, and why. One word is the root of a path, several may stand anywhere in it.
const OWNERS: [(&[&str], &[&str], &str); 19] = [
    (
        &["sled"],
        &["src/store/embedded/index"],
        "one place names the index engine, so that it can be replaced",
    ),
    (
        &["memmap2"],
        &[
            "src/store/embedded/reserve.rs",
            "src/store/embedded/buffers.rs",
        ],
        "two files ask the system for memory: one for good, the other for as long as there are uploads",
    ),
    (
        &["multer"],
        &["src/api/form_reader.rs"],
        "one file names the multipart parser, behind the guard",
    ),
    (
        &["form_reader", "FormReader"],
        &["src/api/post_object.rs", "src/api/explain/offline"],
        "one road reads forms; explanations read saved ones",
    ),
    (
        &["policy", "authorize"],
        &["src/api/post_object.rs"],
        "one road turns a form into permission",
    ),
    (
        &["policy", "claim_request"],
        &["src/api/s3/access.rs"],
        "one file proves who signed a request, and holds his key's limits against it",
    ),
    (
        &["std", "fs"],
        FILE_SYSTEM,
        "of the store, one file touches the file system",
    ),
    (
        &["File", "open"],
        OPENERS,
        "of the store, one file opens files (the index its own); the others pass handles on",
    ),
    (
        &["File", "create"],
        FILE_SYSTEM,
        "of the store, one file opens files; the others may pass handles on",
    ),
    (
        &["tokio", "fs"],
        FILE_SYSTEM,
        "of the store, one file touches the file system",
    ),
    (
        &["rustix", "fs"],
        FILE_SYSTEM,
        "of the store, one file touches the file system",
    ),
    (
        &["std", "process", "exit"],
        &["src/main.rs"],
        "the only exit is in main",
    ),
    (
        &["SystemTime", "now"],
        &["src/api/app.rs"],
        "time is an argument; the clock lives in one file",
    ),
    (
        &["jiff", "Timestamp", "now"],
        &["src/api/app.rs"],
        "time is an argument; the clock lives in one file",
    ),
    (
        &["jiff", "Zoned", "now"],
        &["src/api/app.rs"],
        "time is an argument; the clock lives in one file",
    ),
    (
        &["http"],
        ABOVE_STORE,
        "store, policy and model do not know HTTP",
    ),
    (
        &["hyper"],
        ABOVE_STORE,
        "store, policy and model do not know HTTP",
    ),
    (
        &["tokio"],
        &[
            "src/store",
            "src/api",
            "src/server",
            "src/config",
            "src/cli",
            "src/main.rs",
        ],
        "model and policy are not async",
    ),
    (
        &["ring", "rand"],
        &[
            "src/store",
            "src/api",
            "src/server",
            "src/config",
            "src/cli",
        ],
        "model and policy take randomness as an argument",
    ),
];
const FILE_SYSTEM: &[&str] = &[
    "src/store/embedded/disk.rs",
    "src/store/embedded/disk",
    // Look at the files of the index engine before it opens them.
    "src/store/embedded/index/look.rs",
    "src/store/embedded/index/open.rs",
    // Stands in for the index engine in the tests of the schedules, and makes the one file that the engine makes.
    "src/store/embedded/memory.rs",
    "src/server",
    "src/config",
    "src/cli",
    "src/main.rs",
];
const OPENERS: &[&str] = &[
    "src/store/embedded/disk.rs",
    "src/store/embedded/disk",
    "src/store/embedded/index",
    "src/server",
    "src/config",
    "src/cli",
];
const ABOVE_STORE: &[&str] = &[
    "src/api",
    "src/server",
    "src/config",
    "src/cli",
    "src/main.rs",
];

/// What no committed file may hold: paths and tools of a workplace, and hosts of registries.
const FOREIGN: [&str; 12] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("farm-", "bench"),
    concat!("farm-", "studio"),
    concat!("issues ", "show"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("registry.", "npmjs"),
    concat!("files.", "pythonhosted"),
    concat!("pypi.", "org"),
    concat!("deb.", "debian.org"),
    concat!("CLAUDE", ".md"),
];

#[test]
fn the_sources_keep_the_rules() {
    let houses: Vec<House> = rust_files("src")
        .iter()
        .map(|path| House::read(path))
        .collect();
    let broken: Vec<String> = houses
        .iter()
        .flat_map(House::offences)
        .map(|o| o.to_string())
        .collect();
    assert!(
        houses.len() > 5,
        "only {} source files were found",
        houses.len()
    );
    assert!(
        broken.is_empty(),
        "{} rules broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn functions_are_short_in_the_median() {
    let mut lengths: Vec<usize> = rust_files("src")
        .iter()
        .flat_map(|path| House::read(path).functions)
        .filter(|function| !function.in_test)
        .map(|function| function.lines)
        .collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(
        median <= MAX_MEDIAN_FUNCTION_LINES,
        "the median of {} functions is {median} lines",
        lengths.len()
    );
}

#[test]
fn nothing_committed_names_a_workplace() {
    let mut seen = 0;
    let mut broken = Vec::new();
    for path in committed_files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        seen += 1;
        broken.extend(foreign_lines(&path, &text));
    }
    assert!(seen > 20, "only {seen} files were read");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Whoever adds a route must say who handles it, and what a form is there: nothing stands for the rest.
#[test]
fn every_route_is_named_where_requests_are_handed_out() {
    for (path, function) in [
        ("src/api/dispatch.rs", "dispatch"),
        ("src/api/form_gate.rs", "place_for"),
    ] {
        let text = fs::read_to_string(root().join(path)).expect("a source file is readable");
        let patterns = patterns_of(&text, function);
        assert!(patterns.len() >= 15, "{path}: {} patterns", patterns.len());
        let unnamed: Vec<_> = patterns.iter().filter(|name| *name != "Route").collect();
        assert!(unnamed.is_empty(), "{path}: {unnamed:?} may be any route");
    }
}

/// Otherwise the dependencies would be built once for the tests and once more for the fuzz targets, which takes minutes.
#[test]
fn the_fuzz_targets_share_the_dependencies_of_the_tests() {
    let profile = |manifest: &str| {
        let mut dev = manifest_at(manifest)["profile"]["dev"].clone();
        let packages = dev["package"]
            .as_table_mut()
            .expect("some packages are optimised");
        packages.retain(|name, _| !name.starts_with("pillarbox"));
        dev
    };
    assert_eq!(profile("Cargo.toml"), profile("fuzz/Cargo.toml"));
    let targets = &manifest_at("fuzz/Cargo.toml")["dependencies"];
    let tests = &manifest_at("Cargo.toml")["dev-dependencies"];
    for (name, asked) in tests.as_table().expect("dependencies are a table") {
        assert_eq!(targets.get(name), Some(asked), "fuzz/Cargo.toml, {name}");
    }
}

/// `./tests/run clippy` looks at no other file of tests with the features on.
#[test]
fn only_the_tests_that_need_a_feature_name_one() {
    let manifest = manifest_at("Cargo.toml");
    let tests = manifest["test"].as_array().expect("some tests are named");
    let steps = fs::read_to_string(root().join("tests/run")).expect("the steps are readable");
    let mut gated = Vec::new();
    for test in tests {
        let name = test["name"].as_str().expect("a test has a name");
        assert!(steps.contains(&format!("--test {name}")), "{name}");
        gated.push(root().join(format!("tests/{name}.rs")));
    }
    for path in rust_files("tests") {
        let text = fs::read_to_string(&path).expect("a test is readable");
        let names_one = text.contains(concat!("(feat", "ure = "));
        assert!(!names_one || gated.contains(&path), "{}", path.display());
    }
}

/// One broken rule.
struct Offence {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.path, self.line, self.rule, self.what
        )
    }
}

impl House {
    fn offences(&self) -> Vec<Offence> {
        let mut offences = self.floors();
        offences.extend(self.owners());
        offences.extend(self.lengths());
        offences.extend(self.module_docs());
        let at = |line: &usize, what: &str| self.offence(*line, "panics", what.to_owned());
        offences.extend(self.panics.iter().map(|line| {
            at(
                line,
                "unwrap or expect without an allow that gives its reason",
            )
        }));
        offences.extend(
            self.reasonless
                .iter()
                .map(|line| at(line, "an allow or expect attribute without a reason")),
        );
        offences
    }

    fn offence(&self, line: usize, rule: &'static str, what: String) -> Offence {
        Offence {
            path: self.path.clone(),
            line,
            rule,
            what,
        }
    }

    fn floors(&self) -> Vec<Offence> {
        let own = modules_of(&self.path)
            .first()
            .cloned()
            .unwrap_or_else(|| "lib".to_owned());
        let Some(height) = height_of(&own) else {
            return vec![self.offence(1, "floors", format!("`{own}` is on no floor"))];
        };
        let above = |name: &&Name| {
            matches!(name.path[0].as_str(), "crate" | "pillarbox")
                && name.path.get(1).is_some_and(|other| {
                    other != &own
                        && height_of(other)
                            .is_some_and(|h| h > height || (h == height && height < 6))
                })
        };
        let tell = |name: &Name| {
            self.offence(
                name.line,
                "floors",
                format!("`{own}` uses `{}`", name.path.join("::")),
            )
        };
        self.names.iter().filter(above).map(tell).collect()
    }

    fn owners(&self) -> Vec<Offence> {
        let mut offences = Vec::new();
        for name in self.names.iter().filter(|name| !name.in_test) {
            for (start, places, why) in OWNERS {
                let named = match start {
                    [root] => name.path[0] == *root,
                    words => name.path.windows(words.len()).any(|path| path == words),
                };
                let handle =
                    name.path == ["std", "fs", "File"] && self.path.starts_with("src/store/");
                if named && !handle && !places.iter().any(|place| stands_in(&self.path, place)) {
                    offences.push(self.offence(
                        name.line,
                        "owners",
                        format!("`{}`: {why}", start.join("::")),
                    ));
                }
            }
        }
        offences
    }

    fn lengths(&self) -> Vec<Offence> {
        let lines = self
            .tests_from
            .map_or(self.text.lines().count(), |line| line - 1);
        let mut offences = Vec::new();
        if lines > MAX_FILE_LINES && !self.path.ends_with("/tests.rs") {
            offences.push(self.offence(
                lines,
                "lengths",
                format!("{lines} lines before the tests, at most {MAX_FILE_LINES}"),
            ));
        }
        let long = self
            .functions
            .iter()
            .filter(|function| function.lines > MAX_FUNCTION_LINES);
        offences.extend(long.map(|function| {
            let what = format!(
                "`{}` has {} lines, at most {MAX_FUNCTION_LINES}",
                function.name, function.lines
            );
            self.offence(function.line, "lengths", what)
        }));
        offences
    }

    fn module_docs(&self) -> Vec<Offence> {
        let lines = self
            .text
            .lines()
            .filter(|line| line.starts_with("//!"))
            .count();
        let map = self.path == "src/lib.rs" && lines >= *MODULE_DOC_LINES.start();
        if MODULE_DOC_LINES.contains(&lines) || map || self.path.ends_with("/tests.rs") {
            return Vec::new();
        }
        vec![self.offence(
            1,
            "docs",
            format!("{lines} lines of module docs, wanted {MODULE_DOC_LINES:?}"),
        )]
    }
}

fn height_of(floor: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == floor)
        .map(|(_, height)| *height)
}

/// Whether `path` is `place`, or lies in it, or is its file (`src/config` is also `src/config.rs`).
fn stands_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest_at(path: &str) -> toml::Table {
    let text = fs::read_to_string(root().join(path)).expect("a manifest is readable");
    text.parse().expect("a manifest is TOML")
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder is readable") {
            let path = entry.expect("a source folder is readable").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn committed_files() -> Vec<String> {
    let git = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    let listed = git.expect("git lists the committed files").stdout;
    String::from_utf8_lossy(&listed)
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

fn foreign_lines(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in FOREIGN.iter().filter(|word| names_it(line, word)) {
            broken.push(format!(
                "{path}:{}: workplace: the line names `{word}`",
                number + 1
            ));
        }
    }
    broken
}

/// A path counts only from its root: `tests/NAME/` is no path of a machine.
fn names_it(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !word.starts_with('/')
            || before.is_none_or(|c| !c.is_alphanumeric() && !"._-/}".contains(c))
    })
}
