//! Pages of lists: `start`, `limit`, `sort`, `direction`, read and answered in one place for every list.
//!
//! Owns: the defaults and the limits of the four parameters, and the envelope of a list: its plural key, then `total`,
//! `start` and `limit`. `limit=0` means as many as a page may hold, as in the hosted API's older documents.
//!
//! Never does: know what is listed; the caller names the sort keys that it has.
//!
//! Invariant: a page never holds more than [`MAX_LIMIT`] entries, whatever was asked.
//!
//! Source: the hosted API's manual, "GET /files" and "GET /pipelines".

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::params::Params;
use crate::store::FileQuery;

/// Entries of one page when the client does not say.
pub const DEFAULT_LIMIT: usize = 1000;
/// Most entries of one page.
pub const MAX_LIMIT: usize = FileQuery::MAX_LIMIT;
/// Largest `start`.
pub const MAX_START: usize = FileQuery::MAX_START;

/// Which part of a list is asked for, sorted by a key of type `K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<K> {
    /// How many entries to skip; at most [`MAX_START`].
    pub start: usize,
    /// How many entries to return; 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// What to sort by.
    pub sort: K,
    /// Largest first.
    pub descending: bool,
}

impl<K: Copy> Page<K> {
    /// Reads the four parameters. `keys` are the names that `sort` may have; the first one is the default.
    ///
    /// # Errors
    /// `InvalidArgument` that names the parameter and the rule.
    pub fn read(params: &Params, keys: &[(&str, K)]) -> Result<Self, ApiError> {
        let limit = match number(params, "limit", MAX_LIMIT)? {
            Some(0) => MAX_LIMIT,
            other => other.unwrap_or(DEFAULT_LIMIT),
        };
        let descending = match params.once("direction")? {
            None | Some("1") => false,
            Some("-1") => true,
            Some(_) => {
                return Err(ApiError::invalid(
                    "direction",
                    "must be 1 (ascending) or -1 (descending).",
                ));
            }
        };
        Ok(Self {
            start: number(params, "start", MAX_START)?.unwrap_or(0),
            limit,
            sort: sort_key(params.once("sort")?, keys)?,
            descending,
        })
    }

    /// This page of `all`, which the caller sorted ascending.
    pub fn cut<T>(&self, mut all: Vec<T>) -> Vec<T> {
        if self.descending {
            all.reverse();
        }
        all.into_iter().skip(self.start).take(self.limit).collect()
    }

    /// The answer: `items` under their plural `key`, how many match in all, and what page this is.
    pub fn envelope(&self, key: &str, items: Vec<Value>, total: usize) -> Value {
        let mut members = Map::new();
        members.insert(key.to_owned(), Value::Array(items));
        members.insert("total".to_owned(), json!(total));
        members.insert("start".to_owned(), json!(self.start));
        members.insert("limit".to_owned(), json!(self.limit));
        Value::Object(members)
    }
}

fn number(params: &Params, name: &str, max: usize) -> Result<Option<usize>, ApiError> {
    let parse = |text: &str| {
        let number = text.parse().ok().filter(|number| *number <= max);
        number.ok_or_else(|| {
            ApiError::invalid(name, format!("must be a whole number from 0 to {max}."))
        })
    };
    params.once(name)?.map(parse).transpose()
}

fn sort_key<K: Copy>(wanted: Option<&str>, keys: &[(&str, K)]) -> Result<K, ApiError> {
    let found = match wanted {
        None => keys.first(),
        Some(wanted) => keys.iter().find(|(name, _)| *name == wanted),
    };
    found.map(|(_, key)| *key).ok_or_else(|| {
        let names = keys.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        ApiError::invalid("sort", format!("must be one of {}.", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, u8); 2] = [("created_at", 1), ("name", 2)];

    fn page(query: &str) -> Result<Page<u8>, ApiError> {
        Page::read(&Params::from_query(query).unwrap(), &KEYS)
    }

    #[test]
    fn what_is_not_said_has_the_documented_default() {
        let all = page("").unwrap();
        assert_eq!((all.start, all.limit, all.sort), (0, 1000, 1));
        assert!(!all.descending);
    }

    #[test]
    fn every_parameter_is_read_up_to_its_limit() {
        let one = page("start=1000000&limit=5000&sort=name&direction=-1").unwrap();
        assert_eq!((one.start, one.limit, one.sort), (1_000_000, 5000, 2));
        assert!(one.descending);
        assert_eq!(page("limit=0").unwrap().limit, 5000);
    }

    #[test]
    fn what_breaks_a_rule_is_refused_by_name() {
        for (query, name) in [
            ("start=-1", "start"),
            ("start=1000001", "start"),
            ("start=", "start"),
            ("limit=5001", "limit"),
            ("limit=ten", "limit"),
            ("limit=1.5", "limit"),
            ("sort=secret", "sort"),
            ("sort=", "sort"),
            ("direction=0", "direction"),
            ("direction=asc", "direction"),
        ] {
            let refused = page(query).unwrap_err();
            assert!(
                refused.message.starts_with(&format!("{name} must be")),
                "{query}"
            );
        }
    }

    #[test]
    fn a_page_is_cut_from_the_end_when_the_order_is_reversed() {
        let two = page("start=1&limit=2&direction=-1").unwrap();
        assert_eq!(two.cut(vec![1, 2, 3, 4]), [3, 2]);
        assert!(page("start=9").unwrap().cut(vec![1]).is_empty());
    }
}
