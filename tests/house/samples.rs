//! The rules of the house themselves, each tried on samples that break it.

use super::*;

const DOCS: &str = "//! a\n//! b\n//! c\n//! d\n//! e\n";

fn told(path: &str, code: &str) -> Vec<String> {
    House::parse(path, &format!("{DOCS}{code}"))
        .offences()
        .iter()
        .map(Offence::to_string)
        .collect()
}

fn assert_told(path: &str, code: &str, message: &str) {
    let told = told(path, code);
    assert!(
        told.iter().any(|line| line.starts_with(message)),
        "wanted `{message}`, told {told:?}"
    );
}

#[test]
fn a_file_that_keeps_the_rules_is_left_alone() {
    let code = "use crate::model::Id;\nfn f(id: Option<Id>) -> Option<Id> { id }\n#[cfg(test)]\nmod tests { #[test] fn t() { None::<u8>.unwrap(); std::fs::read(\"x\").unwrap(); } }";
    assert_eq!(told("src/store/error.rs", code), Vec::<String>::new());
}

#[test]
fn a_floor_that_uses_one_above_it_is_told() {
    assert_told(
        "src/model/key.rs",
        "use crate::store::StoreError;",
        "src/model/key.rs:6: floors: `model` uses `crate::store",
    );
    assert_told(
        "src/store/mod.rs",
        "use crate::{model::Id, api::App};",
        "src/store/mod.rs:6: floors: `store` uses `crate::api::App",
    );
    assert_told(
        "src/policy/form.rs",
        "use crate::store;",
        "src/policy/form.rs:6: floors:",
    );
    assert_told(
        "src/store/embedded/disk.rs",
        "fn f() { super::super::super::api::g() }",
        "src/store/embedded/disk.rs:6: floors:",
    );
    assert_told(
        "src/api/app.rs",
        "fn f() { println!(\"{}\", crate::server::g()) }",
        "src/api/app.rs:6: floors:",
    );
    assert_told(
        "src/odd/app.rs",
        "",
        "src/odd/app.rs:1: floors: `odd` is on no floor",
    );
}

#[test]
fn a_crate_outside_its_file_is_told() {
    assert_told(
        "src/store/embedded/assembler.rs",
        "use sled::Tree;",
        "src/store/embedded/assembler.rs:6: owners: `sled`",
    );
    assert_told(
        "src/api/guard.rs",
        "fn f() -> multer::Field { todo!() }",
        "src/api/guard.rs:6: owners: `multer`",
    );
    assert_told(
        "src/store/embedded/complete.rs",
        "use std::fs::File; fn f() { File::open(\"x\"); }",
        "src/store/embedded/complete.rs:6: owners: `File::open`",
    );
    assert_told(
        "src/store/embedded/mod.rs",
        "use std::{fs, io};",
        "src/store/embedded/mod.rs:6: owners: `std::fs`",
    );
    assert_told(
        "src/policy/evaluate.rs",
        "fn f() { let now = std::time::SystemTime::now(); }",
        "src/policy/evaluate.rs:6: owners: `SystemTime::now`",
    );
    assert_told(
        "src/model/id.rs",
        "use tokio::sync::Mutex;",
        "src/model/id.rs:6: owners: `tokio`",
    );
    assert_told(
        "src/store/mod.rs",
        "use http::Method;",
        "src/store/mod.rs:6: owners: `http`",
    );
    assert_told(
        "src/cli/serve.rs",
        "fn f() { std::process::exit(1) }",
        "src/cli/serve.rs:6: owners: `std::process::exit`",
    );
    assert_told(
        "src/api/s3/put.rs",
        "use crate::policy::{PutHeaders, claim_request};",
        "src/api/s3/put.rs:6: owners: `policy::claim_request`",
    );
    assert_told(
        "src/api/uploads.rs",
        "fn f() { super::form_reader::FormReader::new() }",
        "src/api/uploads.rs:6: owners: `form_reader::FormReader`",
    );
    assert!(told("src/config.rs", "use std::fs::File;").is_empty());
}

#[test]
fn a_pattern_that_stands_for_any_route_is_told() {
    let patterns = |arms: &str| {
        let text = format!("async fn f(r: &Route) {{ g(); match (r, 1) {{ {arms} }} }}");
        patterns_of(&text, "f").join(" ")
    };
    assert_eq!(
        patterns(
            "(Route::A | Route::B(_), _) => 1, (Route::C { .. }, 1) if x => match y { _ => 2 },"
        ),
        "Route Route Route"
    );
    assert_eq!(patterns("(Route::A, 1) => 1, _ => 2,"), "Route _");
    assert_eq!(patterns("(other, 1) => 1, (_, _) => 2,"), "_ _");
    assert_eq!(patterns("(Route::A | _, _) => 1,"), "Route _");
}

#[test]
fn what_is_too_long_is_told() {
    let function = format!("fn f() {{{}}}", "\n".repeat(MAX_FUNCTION_LINES));
    assert_told(
        "src/api/app.rs",
        &function,
        "src/api/app.rs:6: lengths: `f` has 71 lines",
    );
    let method = format!(
        "struct S; impl S {{ fn g() {{{}}} }}",
        "\n".repeat(MAX_FUNCTION_LINES)
    );
    assert_told(
        "src/api/app.rs",
        &method,
        "src/api/app.rs:6: lengths: `g` has 71 lines",
    );
    let file = "const A: u8 = 1;\n".repeat(MAX_FILE_LINES - 4);
    assert_told(
        "src/api/app.rs",
        &file,
        "src/api/app.rs:401: lengths: 401 lines before the tests",
    );
    let tested = format!(
        "#[cfg(test)]\nmod tests {{{}}}",
        "\n".repeat(MAX_FILE_LINES)
    );
    assert!(told("src/api/app.rs", &tested).is_empty());
}

#[test]
fn module_docs_too_short_or_too_long_are_told() {
    let docs = |lines: usize| {
        House::parse("src/api/app.rs", &"//! a\n".repeat(lines))
            .offences()
            .len()
    };
    assert_eq!([docs(4), docs(5), docs(20), docs(21)], [1, 0, 0, 1]);
    assert!(
        House::parse("src/lib.rs", &"//! a\n".repeat(90))
            .offences()
            .is_empty()
    );
}

#[test]
fn a_panic_without_a_reason_is_told() {
    assert_told(
        "src/api/app.rs",
        "fn f(x: Option<u8>) { x.unwrap(); }",
        "src/api/app.rs:6: panics:",
    );
    assert_told(
        "src/api/app.rs",
        "fn f(x: Option<u8>) { format!(\"{}\", x.expect(\"y\")); }",
        "src/api/app.rs:6: panics:",
    );
    assert_told(
        "src/api/app.rs",
        "#[allow(clippy::unwrap_used)]\nfn f(x: Option<u8>) { x.unwrap(); }",
        "src/api/app.rs:7: panics:",
    );
    assert_told(
        "src/api/app.rs",
        "#[allow(dead_code)]\nfn f() {}",
        "src/api/app.rs:6: panics: an allow",
    );
    let excused = "#[allow(clippy::unwrap_used, reason = \"never empty\")]\nfn f(x: Option<u8>) { x.unwrap(); }";
    assert!(told("src/api/app.rs", excused).is_empty());
}

#[test]
fn a_line_that_names_a_workplace_is_told() {
    let line = |text: &str| foreign_lines("a.md", text).len();
    let path = FOREIGN[0];
    assert_eq!(line(&format!("see {path}target")), 1);
    assert_eq!(line(&format!("{path}x")), 1);
    assert_eq!(line(&format!("tests{path}x")), 0);
    assert_eq!(line(&format!("resolved https://{}.org/x", FOREIGN[7])), 1);
}
