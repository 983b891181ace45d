//! The head of one part of a form: which field is it, and what is its file called?
//!
//! Owns: our own reading of `Content-Disposition`. The multipart parser behind the guard finds `name=` by substring and can be
//! led to read a name inside a quoted file name, so it is never believed on its own.
//!
//! Never does: look at values. Invariants: exactly one `Content-Disposition: form-data` with exactly one `name`; whether a
//! part is the file is decided by its name alone, never by a `filename` or a `Content-Type`.
//!
//! Sources: RFC 7578, section 4.2; RFC 6266, section 4.1; the HTML standard, "multipart form data" (how browsers escape).

/// What the head of a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartHead {
    /// The field's name as sent.
    pub name: String,
    /// The `filename` parameter, when there is one.
    pub file_name: Option<String>,
}

impl PartHead {
    /// Whether this part is the file: its name is `file`, in any case.
    pub fn is_file(&self) -> bool {
        self.name.eq_ignore_ascii_case("file")
    }

    /// Reads the header lines of a part, without the empty line that ends them.
    ///
    /// # Errors
    /// Says what is wrong with them, in words for the client.
    pub fn parse(block: &[u8]) -> Result<Self, &'static str> {
        let block = std::str::from_utf8(block).map_err(|_| "A part's headers must be UTF-8.")?;
        let mut dispositions = block.split("\r\n").filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        });
        let one = dispositions
            .next()
            .ok_or("A part must have a Content-Disposition header.")?;
        if dispositions.next().is_some() {
            return Err("A part must have only one Content-Disposition header.");
        }
        if block
            .split("\r\n")
            .any(|line| line.contains(['\r', '\n', '\0']) || line.starts_with([' ', '\t']))
        {
            return Err("A part's header lines must end with CR LF and must not be folded.");
        }
        parse_disposition(one.trim())
    }
}

fn parse_disposition(value: &str) -> Result<PartHead, &'static str> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err("A part's Content-Disposition must be form-data.");
    }
    let (mut name, mut file_name) = (None, None);
    while !rest.trim().is_empty() {
        let (parameter, tail) = next_parameter(rest)?;
        let slot = match parameter.0.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut file_name,
            _ => &mut None,
        };
        if slot.replace(parameter.1).is_some() {
            return Err("A part's Content-Disposition must not repeat name or filename.");
        }
        rest = tail;
    }
    let name = name.ok_or("A part's Content-Disposition must have a name.")?;
    Ok(PartHead { name, file_name })
}

/// One `attribute=value`, and what follows its semicolon.
fn next_parameter(text: &str) -> Result<((&str, String), &str), &'static str> {
    const MALFORMED: &str = "A part's Content-Disposition is malformed.";
    let (attribute, value) = text.split_once('=').ok_or(MALFORMED)?;
    let attribute = attribute.trim();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if attribute.is_empty() || !attribute.chars().all(is_token) {
        return Err(MALFORMED);
    }
    let value = value.trim_start();
    let Some(quoted) = value.strip_prefix('"') else {
        let (token, tail) = value.split_once(';').unwrap_or((value, ""));
        return Ok(((attribute, token.trim().to_owned()), tail));
    };
    let (unquoted, tail) = unquote(quoted).ok_or(MALFORMED)?;
    match tail.trim_start() {
        "" => Ok(((attribute, unquoted), "")),
        tail => Ok((
            (attribute, unquoted),
            tail.strip_prefix(';').ok_or(MALFORMED)?,
        )),
    }
}

/// Reads up to the closing quote. A backslash escapes only a quote or a backslash: browsers send it bare in file names.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(line: &str) -> Result<(String, Option<String>), &'static str> {
        PartHead::parse(line.as_bytes()).map(|head| (head.name, head.file_name))
    }

    #[test]
    fn real_clients_heads_are_read() {
        for (line, name, file_name) in [
            ("Content-Disposition: form-data; name=\"key\"", "key", None),
            ("content-disposition: form-data; name=key", "key", None),
            (
                "Content-Disposition: form-data; name=\"kEy\"; filename=\"kEy\"",
                "kEy",
                Some("kEy"),
            ),
            (
                "Content-Disposition: form-data; name=\"file\"; filename=\"a b;c=d.mp4\"\r\nContent-Type: video/mp4",
                "file",
                Some("a b;c=d.mp4"),
            ),
            (
                "Content-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\ü%22.mp4\"",
                "file",
                Some("C:\\dir\\ü%22.mp4"),
            ),
            (
                "Content-Disposition: form-data; name=\"file\"; filename=\"a\\\"b\\\\c\"",
                "file",
                Some("a\"b\\c"),
            ),
            (
                "Content-Disposition: form-data; name=\"file\"; filename=\"\"; filename*=UTF-8''x",
                "file",
                Some(""),
            ),
        ] {
            assert_eq!(
                head(line),
                Ok((name.to_owned(), file_name.map(str::to_owned))),
                "{line}"
            );
        }
    }

    #[test]
    fn a_name_inside_a_quoted_file_name_is_no_name() {
        let line = "Content-Disposition: form-data; filename=\"x; name=key; y\"; name=\"file\"";
        assert_eq!(
            head(line),
            Ok(("file".to_owned(), Some("x; name=key; y".to_owned())))
        );
        assert!(head("Content-Disposition: form-data; filename=\"x; name=key\"").is_err());
    }

    #[test]
    fn every_ambiguous_head_is_refused() {
        for line in [
            "",
            "Content-Type: text/plain",
            "Content-Disposition: attachment; name=\"key\"",
            "Content-Disposition: form-data",
            "Content-Disposition: form-data; name=\"a\"; name=\"b\"",
            "Content-Disposition: form-data; name=\"a\"; NAME=\"b\"",
            "Content-Disposition: form-data; name=\"file\"; filename=\"a\"; filename=\"b\"",
            "Content-Disposition: form-data; name=\"key\"\r\nContent-Disposition: form-data; name=\"acl\"",
            "Content-Disposition: form-data; name=\"key",
            "Content-Disposition: form-data; name=\"key\" x",
            "Content-Disposition: form-data;\r\n name=\"key\"",
            "Content-Disposition: form-data; name=\"a\nb\"",
            "Content-Disposition: form-data; =\"a\"",
        ] {
            assert!(head(line).is_err(), "{line}");
        }
        assert!(PartHead::parse(b"Content-Disposition: form-data; name=\"\xff\"").is_err());
    }

    #[test]
    fn the_file_is_known_by_its_name_alone() {
        assert!(
            PartHead {
                name: "FiLe".into(),
                file_name: None
            }
            .is_file()
        );
        assert!(
            !PartHead {
                name: "key".into(),
                file_name: Some("file".into())
            }
            .is_file()
        );
    }
}
