//! Settings as text, in layers: flags beat the environment, which beats the file, which beats the defaults.
//!
//! Owns: finding a key's value, saying where it came from, collecting every error with the key's name, and noticing keys
//! that nobody asked for. Never does: know any key; `config.rs` asks for them by name.
//!
//! Invariant: a value is text until its parser took it, whichever layer it came from, so that one rule holds for all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::{Table, Value};

/// Before the name of a setting in the environment; `server.listen` is `PILLARBOX_SERVER_LISTEN`.
pub const ENVIRONMENT_PREFIX: &str = "PILLARBOX_";

/// Most entries of a list.
pub(super) const MAX_LIST: usize = 1000;

/// Said of a list that cannot be read, outside the file.
const LIST_FORM: &str = "; a list has commas between its entries, and neither quotes nor brackets";

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The file.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// What is in force for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The key, for example `server.listen`.
    pub key: String,
    /// Its value as TOML; `None` when it is not set.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, or the file.
    pub key: String,
    /// What is wrong, as the end of a sentence.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// The layers above the defaults.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Keys and values of the command line.
    pub flags: Vec<(String, String)>,
    /// The process's environment; names without our prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// The file.
    pub file: Table,
}

/// Reads settings by key.
#[derive(Debug, Default)]
pub(super) struct Reader {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    file: Table,
    asked: BTreeSet<String>,
    mistakes: Vec<Mistake>,
    effective: Vec<Effective>,
}

impl Reader {
    /// A reader over the layers.
    pub(super) fn new(layers: Layers) -> Self {
        Self {
            flags: layers.flags.into_iter().collect(),
            environment: layers
                .environment
                .into_iter()
                .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
                .collect(),
            file: layers.file,
            ..Self::default()
        }
    }

    /// The value of `key`, or `default`, as `parse` understands it. `None` after a mistake.
    pub(super) fn value<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (value, origin) = self
            .take(key)
            .unwrap_or_else(|| (natural(default), Origin::Default));
        self.show(key, Some(&value), origin);
        let parsed = text_of(&value).and_then(|text| parse(&text));
        self.note(key, parsed, origin)
    }

    /// The value of a key that need not be set. `None` after a mistake.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some((value, origin)) = self.take(key) else {
            self.show(key, None, Origin::Default);
            return Some(None);
        };
        self.show(key, Some(&value), origin);
        let parsed = text_of(&value).and_then(|text| parse(&text));
        self.note(key, parsed, origin).map(Some)
    }

    /// A list: an array in the file; elsewhere, and in the file too, text with commas.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (value, origin) = self
            .take(key)
            .unwrap_or_else(|| (Value::from(default), Origin::Default));
        let texts = texts_of(&value);
        let shown = texts.clone().map_or(value, Value::from);
        self.show(key, Some(&shown), origin);
        let parsed: Result<_, _> =
            texts.and_then(|texts| texts.iter().map(|text| parse(text)).collect());
        let parsed = parsed.map_err(|what| match origin {
            Origin::Flag | Origin::Environment => what + LIST_FORM,
            Origin::File | Origin::Default => what,
        });
        self.note(key, parsed, origin)
    }

    /// Whether the file has a value for `key`, be it empty.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.file.contains_key(key)
    }

    /// The tables of an array of tables (`[[key]]`), each as a reader of its own that `read` asks.
    pub(super) fn tables<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.asked.insert(key.to_owned());
        let tables = match self.file.remove(key) {
            None => Vec::new(),
            Some(none @ Value::Array(_)) if none.as_array().is_some_and(Vec::is_empty) => {
                // None is not the same as not set.
                self.show(key, Some(&none), Origin::File);
                Vec::new()
            }
            Some(Value::Array(tables)) if tables.len() <= MAX_LIST => tables,
            Some(_) => {
                let form = format!("must be written as [[{key}]], at most {MAX_LIST} times");
                return self.note(key, Err(form), Origin::File);
            }
        };
        let numbered = tables.into_iter().enumerate();
        // Every table is read, so that every mistake is found.
        let read: Vec<_> = numbered
            .map(|(index, table)| self.table(&format!("{key}[{index}]"), table, &mut read))
            .collect();
        read.into_iter().collect()
    }

    fn table<T>(
        &mut self,
        name: &str,
        value: Value,
        read: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let Value::Table(file) = value else {
            return self.note(name, Err("must be a table".to_owned()), Origin::File);
        };
        let mut reader = Self {
            file,
            ..Self::default()
        };
        let value = read(&mut reader);
        reader.refuse_unknown();
        let named = |key: &str| format!("{name}.{key}");
        self.mistakes
            .extend(reader.mistakes.into_iter().map(|mistake| Mistake {
                key: named(&mistake.key),
                what: mistake.what,
            }));
        self.effective
            .extend(reader.effective.into_iter().map(|effective| Effective {
                key: named(&effective.key),
                ..effective
            }));
        value
    }

    /// Notes a mistake that is not in the form of one value.
    pub(super) fn mistake(&mut self, key: &str, what: impl Into<String>) {
        self.mistakes.push(Mistake {
            key: key.to_owned(),
            what: what.into(),
        });
    }

    /// Every value in force, every mistake, and the names in the environment that no key has.
    pub(super) fn finish(mut self) -> (Vec<Effective>, Vec<Mistake>, Vec<String>) {
        self.refuse_unknown();
        let unused = self.environment.into_keys().collect();
        (self.effective, self.mistakes, unused)
    }

    fn take(&mut self, key: &str) -> Option<(Value, Origin)> {
        self.asked.insert(key.to_owned());
        let in_file = take_from(&mut self.file, key).map(|value| (value, Origin::File));
        let in_environment = self
            .environment
            .remove(&environment_name(key))
            .map(|text| (Value::from(text), Origin::Environment));
        let in_flags = self
            .flags
            .remove(key)
            .map(|text| (Value::from(text), Origin::Flag));
        in_flags.or(in_environment).or(in_file)
    }

    fn show(&mut self, key: &str, value: Option<&Value>, origin: Origin) {
        self.effective.push(Effective {
            key: key.to_owned(),
            value: value.map(Value::to_string),
            origin,
        });
    }

    fn note<T>(&mut self, key: &str, parsed: Result<T, String>, origin: Origin) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(what) => {
                let from = match origin {
                    Origin::Environment => format!(" (from {})", environment_name(key)),
                    _ => String::new(),
                };
                self.mistake(key, what + &from);
                None
            }
        }
    }

    fn refuse_unknown(&mut self) {
        let mut unknown: Vec<String> = self.flags.keys().cloned().collect();
        for (name, value) in &self.file {
            match value {
                Value::Table(section) => {
                    unknown.extend(section.keys().map(|key| format!("{name}.{key}")));
                }
                _ => unknown.push(name.clone()),
            }
        }
        for key in unknown {
            let known = self.known_beside(&key);
            self.mistake(&key, format!("no such setting; known are {known}"));
        }
    }

    fn known_beside(&self, key: &str) -> String {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let beside =
            |known: &&String| known.rsplit_once('.').map_or("", |(section, _)| section) == section;
        let mut known: Vec<&str> = self
            .asked
            .iter()
            .filter(beside)
            .map(String::as_str)
            .collect();
        if known.is_empty() {
            known = self
                .asked
                .iter()
                .filter_map(|key| key.split('.').next())
                .collect();
            known.dedup();
        }
        known.join(", ")
    }
}

fn environment_name(key: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        key.replace('.', "_").to_uppercase()
    )
}

/// A default as one would write it in the file: a number, true and false without quotes.
fn natural(default: &str) -> Value {
    let number = default.parse().map(Value::Integer).ok();
    let value = number.or_else(|| default.parse().map(Value::Boolean).ok());
    value.unwrap_or_else(|| Value::from(default))
}

fn take_from(file: &mut Table, key: &str) -> Option<Value> {
    match key.split_once('.') {
        None => file.remove(key),
        Some((section, rest)) => file.get_mut(section)?.as_table_mut()?.remove(rest),
    }
}

fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(choice) => Ok(choice.to_string()),
        _ => Err(format!(
            "must be text or a number, not {}",
            value.type_str()
        )),
    }
}

fn texts_of(value: &Value) -> Result<Vec<String>, String> {
    let texts: Vec<String> = match value {
        Value::Array(values) => values.iter().map(text_of).collect::<Result<_, _>>()?,
        _ => text_of(value)?
            .split(',')
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect(),
    };
    if texts.len() > MAX_LIST {
        return Err(format!("has more than {MAX_LIST} entries"));
    }
    Ok(texts)
}
