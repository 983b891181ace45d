//! One source file, parsed and reduced to what the rules of the house ask about.
//!
//! Owns: which paths a file names, how long its functions are, where it may panic, where its tests begin.
//! Never does: judge; the rules are in `house.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A path that the source names, from its root: `["crate", "store", "StoreError"]`.
pub(crate) struct Name {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    pub(crate) in_test: bool,
}

pub(crate) struct Function {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) lines: usize,
    pub(crate) in_test: bool,
}

/// One parsed file, reduced to what the rules ask about.
pub(crate) struct House {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) names: Vec<Name>,
    pub(crate) functions: Vec<Function>,
    /// Lines of calls that can panic, outside tests and without an `allow` that has a reason.
    pub(crate) panics: Vec<usize>,
    /// Lines of `allow` and `expect` attributes without a reason.
    pub(crate) reasonless: Vec<usize>,
    /// First line of the first `#[cfg(test)]` item.
    pub(crate) tests_from: Option<usize>,
    // Where the visitor stands.
    modules: Vec<String>,
    tests_deep: usize,
    excused: usize,
}

impl House {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file is readable");
        let relative = path
            .strip_prefix(crate::root())
            .expect("a source file lies in the package");
        Self::parse(&relative.to_string_lossy(), &text)
    }

    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut house = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            names: Vec::new(),
            functions: Vec::new(),
            panics: Vec::new(),
            reasonless: Vec::new(),
            tests_from: None,
            modules: modules_of(path),
            tests_deep: usize::from(
                ["/tests.rs", "/schedules.rs"]
                    .iter()
                    .any(|name| path.ends_with(name))
                    || path.contains("/tests/"),
            ),
            excused: 0,
        };
        house.visit_file(&file);
        house
    }

    fn name(&mut self, line: usize, path: Vec<String>) {
        let path = absolute(path, &self.modules);
        self.names.push(Name {
            line,
            path,
            in_test: self.tests_deep > 0,
        });
    }

    fn use_tree(&mut self, tree: &syn::UseTree, mut start: Vec<String>) {
        let line = tree.span().start().line;
        match tree {
            syn::UseTree::Path(path) => {
                start.push(path.ident.to_string());
                self.use_tree(&path.tree, start);
            }
            syn::UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.use_tree(tree, start.clone())),
            syn::UseTree::Name(name) => {
                start.push(name.ident.to_string());
                self.name(line, start);
            }
            syn::UseTree::Rename(rename) => {
                start.push(rename.ident.to_string());
                self.name(line, start);
            }
            _ => self.name(line, start),
        }
    }

    /// What stands inside a macro is not parsed: its tokens are read for paths and for calls that can panic.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut before = [' ', ' '];
        let mut line = 0;
        for token in tokens {
            line = token.span().start().line;
            match token {
                TokenTree::Ident(ident) => {
                    let ident = ident.to_string();
                    if before != [':', ':'] {
                        self.flush(line, &mut path);
                    }
                    if before[1] == '.' && (ident == "unwrap" || ident == "expect") {
                        self.panics_at(line);
                    }
                    path.push(ident);
                    before = [' ', ' '];
                }
                TokenTree::Punct(punct) => before = [before[1], punct.as_char()],
                TokenTree::Group(group) => {
                    self.flush(line, &mut path);
                    before = [' ', ' '];
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) => before = [' ', ' '],
            }
        }
        self.flush(line, &mut path);
    }

    fn flush(&mut self, line: usize, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.name(line, std::mem::take(path));
        }
        path.clear();
    }

    fn panics_at(&mut self, line: usize) {
        if self.tests_deep == 0 && self.excused == 0 {
            self.panics.push(line);
        }
    }

    fn function(&mut self, name: &syn::Ident, from: proc_macro2::Span, to: proc_macro2::Span) {
        let (line, last) = (from.start().line, to.end().line);
        let in_test = self.tests_deep > 0;
        self.functions.push(Function {
            line,
            name: name.to_string(),
            lines: last + 1 - line,
            in_test,
        });
    }

    /// Walks into something that has attributes, which may make it a test or excuse its panics.
    fn inside(&mut self, attributes: &[syn::Attribute], walk: impl FnOnce(&mut Self)) {
        let test = attributes.iter().any(is_test);
        let excused = attributes.iter().any(excuses_panics);
        if let Some(attribute) = attributes.iter().find(|attribute| is_test(attribute)) {
            self.tests_from.get_or_insert(attribute.span().start().line);
        }
        self.tests_deep += usize::from(test);
        self.excused += usize::from(excused);
        walk(self);
        self.tests_deep -= usize::from(test);
        self.excused -= usize::from(excused);
    }
}

impl<'ast> Visit<'ast> for House {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.inside(&file.attrs, |house| visit::visit_file(house, file));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.modules.push(item.ident.to_string());
        self.inside(&item.attrs, |house| visit::visit_item_mod(house, item));
        self.modules.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.inside(&item.attrs, |house| {
            house.function(&item.sig.ident, item.sig.span(), item.block.span());
            visit::visit_item_fn(house, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.inside(&item.attrs, |house| {
            house.function(&item.sig.ident, item.sig.span(), item.block.span());
            visit::visit_impl_item_fn(house, item);
        });
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.inside(&item.attrs, |house| visit::visit_item_impl(house, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside(&item.attrs, |house| visit::visit_item_static(house, item));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        self.inside(&local.attrs, |house| visit::visit_local(house, local));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.inside(&item.attrs, |house| house.use_tree(&item.tree, Vec::new()));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let names = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            self.name(path.span().start().line, names);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" || call.method == "expect" {
            self.panics_at(call.method.span().start().line);
        }
        self.inside(&call.attrs, |house| {
            visit::visit_expr_method_call(house, call)
        });
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let silences = attribute.path().is_ident("allow") || attribute.path().is_ident("expect");
        if silences && !has_word(attribute, "reason") {
            self.reasonless.push(attribute.span().start().line);
        }
    }
}

fn is_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("test")
        || (attribute.path().is_ident("cfg")
            && has_word(attribute, "test")
            && !has_word(attribute, "not"))
}

fn excuses_panics(attribute: &syn::Attribute) -> bool {
    let silences = attribute.path().is_ident("allow") || attribute.path().is_ident("expect");
    let lint = has_word(attribute, "unwrap_used") || has_word(attribute, "expect_used");
    silences && lint && has_word(attribute, "reason")
}

fn has_word(attribute: &syn::Attribute, word: &str) -> bool {
    fn within(tokens: TokenStream, word: &str) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == word,
            TokenTree::Group(group) => within(group.stream(), word),
            _ => false,
        })
    }
    attribute
        .meta
        .require_list()
        .is_ok_and(|list| within(list.tokens.clone(), word))
}

/// `src/api/s3/list.rs` is `["api", "s3", "list"]`, `src/api/mod.rs` is `["api"]`, `src/lib.rs` is empty.
pub(crate) fn modules_of(path: &str) -> Vec<String> {
    let inner = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    inner
        .split('/')
        .filter(|part| *part != "lib")
        .map(str::to_owned)
        .collect()
}

/// Turns a path that begins with `super` into one that begins with `crate`.
/// Of the first match in a function of this name, the first segment of each pattern in the first place: `Route` of `(Route::Token, _)`.
/// What is no path is given as `_`.
pub(crate) fn patterns_of(text: &str, function: &str) -> Vec<String> {
    struct First(Vec<String>);
    impl<'ast> Visit<'ast> for First {
        fn visit_expr_match(&mut self, found: &'ast syn::ExprMatch) {
            if self.0.is_empty() {
                let patterns = found.arms.iter();
                self.0 = patterns.flat_map(|arm| first_segments(&arm.pat)).collect();
            }
        }
    }
    let file = syn::parse_file(text).expect("a source file is Rust");
    let named = file.items.iter().find_map(|item| match item {
        syn::Item::Fn(found) if found.sig.ident == function => Some(found),
        _ => None,
    });
    let mut first = First(Vec::new());
    first.visit_item_fn(named.expect("the function is there"));
    first.0
}

fn first_segments(pattern: &syn::Pat) -> Vec<String> {
    let first = |path: &syn::Path| vec![path.segments[0].ident.to_string()];
    match pattern {
        syn::Pat::Tuple(tuple) => tuple.elems.first().map(first_segments).unwrap_or_default(),
        syn::Pat::Or(cases) => cases.cases.iter().flat_map(first_segments).collect(),
        syn::Pat::Guard(inner) => first_segments(&inner.pat),
        syn::Pat::Paren(inner) => first_segments(&inner.pat),
        syn::Pat::Reference(inner) => first_segments(&inner.pat),
        syn::Pat::TupleStruct(found) => first(&found.path),
        syn::Pat::Struct(found) => first(&found.path),
        syn::Pat::Path(found) => first(&found.path),
        _ => vec!["_".to_owned()],
    }
}

fn absolute(path: Vec<String>, modules: &[String]) -> Vec<String> {
    let up = path.iter().take_while(|part| *part == "super").count();
    if up == 0 {
        return path;
    }
    let kept = modules
        .iter()
        .take(modules.len().saturating_sub(up))
        .cloned();
    std::iter::once("crate".to_owned())
        .chain(kept)
        .chain(path.iter().skip(up).cloned())
        .collect()
}
