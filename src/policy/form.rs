//! The form: the fields that came before the file.
//!
//! Owns: field names without case, exact values, repeats, the limits, and `${filename}`.
//! Never does: parse multipart (one file of the `api` floor does) or judge what a field means.
//! Invariants: names are lower-case and each occurs once; values are the exact bytes that were sent, as UTF-8, after
//! `${filename}` was replaced; at most [`PostForm::MAX_FIELDS`] fields; `x-ignore-*` fields are not there at all.
//!
//! Sources: Amazon S3 User Guide, "HTML forms"; its recorded answers for a file part without a file name.

use super::error::{PolicyError, PolicyErrorKind};

const FILE_NAME_VARIABLE: &str = "${filename}";

/// Fields that `${filename}` does not touch: what was signed, and who signed it.
const VERBATIM_FIELDS: [&str; 8] = [
    "policy",
    "signature",
    "awsaccesskeyid",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-algorithm",
    "x-amz-date",
    "x-amz-security-token",
];

/// One field, and what its value no longer tells.
#[derive(Clone, PartialEq, Eq)]
struct Field {
    name: String,
    value: String,
    /// Whether it came more than once and its values were joined.
    is_joined: bool,
    /// At which byte of the value the file's name begins, or the variable that stands for it.
    file_name_at: Option<usize>,
}

/// Collects the fields one by one, in the order of arrival.
#[derive(Default)]
pub struct PostFormBuilder {
    fields: Vec<Field>,
    bytes: usize,
    count: usize,
}

impl PostFormBuilder {
    /// Takes the next field. Repeated `x-amz-meta-*` fields are joined with a comma; `x-ignore-*` fields are dropped.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that is not UTF-8, any other repeated field, and more than
    /// [`PostForm::MAX_FIELDS`] fields; `FieldsTooLarge` beyond [`PostForm::MAX_BYTES`].
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<(), PolicyError> {
        let name = name.to_ascii_lowercase();
        self.count_in(&name, value)?;
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(PolicyError::argument(
                &name,
                "",
                "A form field must be UTF-8; a part with a file must be named 'file'.",
            ));
        };
        if name.starts_with("x-ignore-") {
            return Ok(());
        }
        match self.fields.iter_mut().find(|field| field.name == name) {
            None => self.fields.push(Field {
                name,
                value: value.to_owned(),
                is_joined: false,
                file_name_at: None,
            }),
            Some(held) if name.starts_with("x-amz-meta-") => {
                held.value.push(',');
                held.value.push_str(value);
                held.is_joined = true;
            }
            Some(_) => {
                let message = "A form field must not be given more than once.";
                return Err(PolicyError::argument(&name, value, message));
            }
        }
        Ok(())
    }

    /// Closes the form when the file part begins, and puts the file's name in place of `${filename}`.
    ///
    /// `file_name` is the part's `filename` parameter: without one the variable stays as it is (as Amazon does); of one
    /// with folders, the part after the last `/` or `\` counts.
    ///
    /// # Errors
    /// `FieldsTooLarge` when the replaced fields would pass [`PostForm::MAX_EXPANDED_BYTES`].
    pub fn finish(self, file_name: Option<&str>) -> Result<PostForm, PolicyError> {
        let mut fields = self.fields;
        for field in &mut fields {
            if !VERBATIM_FIELDS.contains(&field.name.as_str()) {
                field.file_name_at = field.value.find(FILE_NAME_VARIABLE);
            }
        }
        if let Some(path) = file_name {
            replace_file_name(&mut fields, last_segment(path))?;
        }
        Ok(PostForm { fields })
    }

    fn count_in(&mut self, name: &str, value: &[u8]) -> Result<(), PolicyError> {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(name.len() + value.len());
        if self.bytes > PostForm::MAX_BYTES {
            return Err(too_large());
        }
        if self.count > PostForm::MAX_FIELDS {
            let message = format!(
                "A form must not have more than {} fields.",
                PostForm::MAX_FIELDS
            );
            return Err(PolicyError::argument(name, "", message));
        }
        Ok(())
    }
}

impl std::fmt::Debug for PostFormBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        show_names(f, "PostFormBuilder", &self.fields)
    }
}

/// The fields of a form, complete.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PostForm {
    fields: Vec<Field>,
}

impl PostForm {
    /// Most fields before the file.
    pub const MAX_FIELDS: usize = 100;
    /// Limit on all field names and values before the file, in bytes. (The guard of the `api` floor counts the part headers and
    /// delimiters in, as Amazon does.)
    pub const MAX_BYTES: usize = 20_480;
    /// Limit on all names and values after `${filename}` was replaced, in bytes: a long file name times many variables.
    pub const MAX_EXPANDED_BYTES: usize = 65_536;

    /// The value of a field by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.field(name).map(|field| field.value.as_str())
    }

    /// Whether a field came more than once, so that its value is several, joined with commas.
    pub(super) fn is_joined(&self, name: &str) -> bool {
        self.field(name).is_some_and(|field| field.is_joined)
    }

    /// What stands before the file's name in the value of a field; none when the file's name is no part of it.
    pub(super) fn before_file_name(&self, name: &str) -> Option<&str> {
        let field = self.field(name)?;
        field.value.get(..field.file_name_at?)
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// All fields in the order of arrival: lower-case name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.fields.iter();
        fields.map(|field| (field.name.as_str(), field.value.as_str()))
    }
}

impl std::fmt::Debug for PostForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        show_names(f, "PostForm", &self.fields)
    }
}

/// What follows the last `/` or `\`; browsers of old sent whole paths.
fn last_segment(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

fn replace_file_name(fields: &mut [Field], file_name: &str) -> Result<(), PolicyError> {
    let mut bytes = 0_usize;
    for field in fields {
        let (name, value) = (&field.name, &mut field.value);
        let uses = match field.file_name_at {
            None => 0,
            Some(_) => value.matches(FILE_NAME_VARIABLE).count(),
        };
        let grown = uses.saturating_mul(file_name.len());
        bytes = bytes
            .saturating_add(name.len() + value.len())
            .saturating_add(grown);
        if bytes > PostForm::MAX_EXPANDED_BYTES {
            return Err(too_large());
        }
        if uses > 0 {
            *value = value.replace(FILE_NAME_VARIABLE, file_name);
        }
    }
    Ok(())
}

fn too_large() -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::FieldsTooLarge,
        "Your POST request fields preceding the upload file were too large.",
    )
}

fn show_names(f: &mut std::fmt::Formatter<'_>, what: &str, fields: &[Field]) -> std::fmt::Result {
    let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
    f.debug_tuple(what).field(&names).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)], file_name: Option<&str>) -> Result<PostForm, PolicyError> {
        let mut builder = PostFormBuilder::default();
        for (name, value) in fields {
            builder.push(name, value.as_bytes())?;
        }
        builder.finish(file_name)
    }

    #[test]
    fn names_have_no_case_and_values_are_exact() {
        let form = form(&[("kEy", " a\r\nb "), ("ACL", "Private")], None).unwrap();
        assert_eq!(form.get("key"), Some(" a\r\nb "));
        assert_eq!(form.get("acl"), Some("Private"));
    }

    #[test]
    fn repeated_metadata_is_joined_and_any_other_repeat_is_refused() {
        let joined = form(
            &[("x-amz-meta-a", "Ninja"), ("X-Amz-Meta-A", "Stallman")],
            None,
        )
        .unwrap();
        assert_eq!(joined.get("x-amz-meta-a"), Some("Ninja,Stallman"));
        assert!(joined.is_joined("x-amz-meta-a"));
        let single = form(&[("x-amz-meta-a", "Ninja,Stallman")], None).unwrap();
        assert_eq!(single.get("x-amz-meta-a"), joined.get("x-amz-meta-a"));
        assert!(!single.is_joined("x-amz-meta-a") && !single.is_joined("x-amz-meta-b"));
        for name in ["key", "policy", "x-amz-date", "x-amz-metadata"] {
            let upper = name.to_ascii_uppercase();
            let error = form(&[(name, "a"), (&upper, "b")], None).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::InvalidArgument);
            assert_eq!(error.extra("ArgumentName"), Some(name));
        }
    }

    #[test]
    fn the_file_name_loses_its_folders_and_replaces_the_variable_in_every_field_but_the_signed_ones()
     {
        let fields = [
            ("key", "up/${filename}"),
            ("x-amz-meta-twice", "${filename}-${filename}"),
            ("policy", "${filename}"),
            ("signature", "${filename}"),
        ];
        for path in [
            "C:\\Program Files\\x\\file.txt",
            "/home/x/file.txt",
            "file.txt",
        ] {
            let form = form(&fields, Some(path)).unwrap();
            assert_eq!(form.get("key"), Some("up/file.txt"), "{path}");
            assert_eq!(form.get("x-amz-meta-twice"), Some("file.txt-file.txt"));
            assert_eq!(form.get("policy"), Some("${filename}"));
            assert_eq!(form.get("signature"), Some("${filename}"));
            assert_eq!(form.before_file_name("key"), Some("up/"));
            assert_eq!(form.before_file_name("x-amz-meta-twice"), Some(""));
            assert_eq!(form.before_file_name("policy"), None);
            assert_eq!(form.before_file_name("acl"), None);
        }
    }

    #[test]
    fn without_a_file_name_the_variable_stays_and_an_empty_one_empties_it() {
        let fields = [("key", "up/${filename}")];
        assert_eq!(
            form(&fields, None).unwrap().get("key"),
            Some("up/${filename}")
        );
        assert_eq!(form(&fields, Some("")).unwrap().get("key"), Some("up/"));
        assert_eq!(form(&fields, Some("a/")).unwrap().get("key"), Some("up/"));
    }

    #[test]
    fn a_file_name_is_not_replaced_twice() {
        let form = form(&[("key", "${filename}")], Some("${filename}")).unwrap();
        assert_eq!(form.get("key"), Some("${filename}"));
    }

    #[test]
    fn ignored_fields_are_as_if_not_sent_but_count_for_the_limits() {
        let ignored = form(&[("X-Ignore-A", "1"), ("x-ignore-a", "2")], None).unwrap();
        assert_eq!(ignored.iter().count(), 0);
        let big = "v".repeat(PostForm::MAX_BYTES);
        let error = form(&[("x-ignore-a", &big)], None).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::FieldsTooLarge);
    }

    #[test]
    fn each_limit_is_reached_and_not_passed() {
        let fill = "v".repeat(PostForm::MAX_BYTES - 3);
        assert!(form(&[("key", &fill)], None).is_ok());
        assert!(form(&[("key", &format!("{fill}v"))], None).is_err());
        let names: Vec<_> = (0..=PostForm::MAX_FIELDS)
            .map(|i| format!("f{i}"))
            .collect();
        let fields: Vec<_> = names.iter().map(|n| (n.as_str(), "")).collect();
        assert!(form(&fields[..PostForm::MAX_FIELDS], None).is_ok());
        let error = form(&fields, None).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::InvalidArgument);
    }

    #[test]
    fn a_long_file_name_times_many_variables_is_refused_before_it_is_built() {
        let value = FILE_NAME_VARIABLE.repeat(1_000);
        let error = form(&[("key", &value)], Some(&"n".repeat(1_000))).unwrap_err();
        assert_eq!(error.kind(), PolicyErrorKind::FieldsTooLarge);
    }

    #[test]
    fn a_value_that_is_not_utf8_is_refused_by_name() {
        let error = PostFormBuilder::default().push("key", b"\xff").unwrap_err();
        assert_eq!(error.extra("ArgumentName"), Some("key"));
    }
}
