//! The `tagging` field of a form: an XML text that gives the object its tags.
//!
//! Owns: the schema: a `Tagging` that holds one `TagSet` of `Tag` elements, each with one `Key` and one `Value`; an XML namespace,
//! attributes, comments and blanks between elements mean nothing. Well-formed XML with another root gives no tags.
//! Never does: resolve an entity but XML's own five, or follow a document type, which is refused whole; judge a tag (`Tags` does).
//!
//! Invariants: pure, no text panics, and what it takes is bounded by [`MAX_XML_BYTES`] and [`MAX_DEPTH`].
//!
//! Sources: Amazon S3 API Reference, "POST Object" and "PutObjectTagging"; its recorded answers to a field that is no XML and to one
//! with another root; XML 1.0, section 2.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::error::{PolicyError, PolicyErrorKind};
use crate::model::{TagError, Tags};

/// Longest text, in bytes; a form's fields together are not longer.
pub const MAX_XML_BYTES: usize = 65_536;
/// Deepest nesting of elements; tags need four.
pub const MAX_DEPTH: usize = 16;

/// Reads the tags of a `tagging` field.
///
/// # Errors
/// `MalformedXml` for what is not well-formed or breaks the schema, `InvalidTag` and `TooManyTags` for what breaks the rules of
/// [`Tags`].
pub fn parse_tagging(xml: &str) -> Result<Tags, PolicyError> {
    if xml.len() > MAX_XML_BYTES {
        return Err(malformed());
    }
    let mut reader = Reader::from_str(xml);
    let mut document = Document::default();
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Eof => break,
            event => document.take(&event)?,
        }
    }
    checked_tags(document.finish()?)
}

/// The tags with these keys and values.
///
/// # Errors
/// `InvalidTag` and `TooManyTags` for what breaks the rules of [`Tags`].
pub fn checked_tags(tags: Vec<(String, String)>) -> Result<Tags, PolicyError> {
    Tags::new(tags).map_err(refused)
}

/// What was read so far.
#[derive(Default)]
struct Document {
    /// Whether anything came before.
    begun: bool,
    /// How many elements are open.
    depth: usize,
    /// Whether the root was closed.
    ended: bool,
    /// Whether the root is `Tagging`; the schema rules only then.
    is_tagging: bool,
    has_set: bool,
    /// The tag that is open.
    key: Option<String>,
    value: Option<String>,
    in_key: bool,
    tags: Vec<(String, String)>,
}

impl Document {
    fn take(&mut self, event: &Event<'_>) -> Result<(), PolicyError> {
        let is_first = !std::mem::replace(&mut self.begun, true);
        match event {
            Event::Start(element) => self.open(element),
            Event::Empty(element) => {
                self.open(element)?;
                self.close()
            }
            Event::End(_) => self.close(),
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) if self.depth > 0 => self.text(&text.xml10_content()),
            Event::GeneralRef(name) if self.depth > 0 => self.reference(name),
            Event::Comment(_) | Event::PI(_) => Ok(()),
            Event::Decl(_) if is_first => Ok(()),
            _ => Err(malformed()),
        }
    }

    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), PolicyError> {
        let sound = element.attributes().all(|attribute| attribute.is_ok());
        if !sound || self.ended || self.depth >= MAX_DEPTH {
            return Err(malformed());
        }
        let name = element.local_name();
        match (self.depth, name.as_ref()) {
            (0, name) => self.is_tagging = name == "Tagging",
            _ if !self.is_tagging => {}
            (1, "TagSet") if !self.has_set => self.has_set = true,
            (2, "Tag") => {}
            (3, "Key") if self.key.is_none() => {
                self.key = Some(String::new());
                self.in_key = true;
            }
            (3, "Value") if self.value.is_none() => {
                self.value = Some(String::new());
                self.in_key = false;
            }
            _ => return Err(malformed()),
        }
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), PolicyError> {
        self.depth = self.depth.checked_sub(1).ok_or_else(malformed)?;
        self.ended = self.depth == 0;
        if self.is_tagging && self.depth == 2 {
            let tag = self.key.take().zip(self.value.take());
            self.tags.push(tag.ok_or_else(malformed)?);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), PolicyError> {
        let place = match self.in_key {
            true => &mut self.key,
            false => &mut self.value,
        };
        let is_blank = text
            .bytes()
            .all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        match place {
            Some(place) if self.is_tagging && self.depth == 4 => place.push_str(text),
            _ if is_blank || (!self.is_tagging && self.depth > 0) => {}
            _ => return Err(malformed()),
        }
        Ok(())
    }

    /// One of the five entities, or a character by its number.
    fn reference(&mut self, name: &BytesRef<'_>) -> Result<(), PolicyError> {
        match name.resolve_char_ref() {
            Ok(Some(c)) => self.text(c.encode_utf8(&mut [0; 4])),
            Ok(None) => self.text(resolve_xml_entity(name).ok_or_else(malformed)?),
            Err(_) => Err(malformed()),
        }
    }

    fn finish(self) -> Result<Vec<(String, String)>, PolicyError> {
        if self.ended {
            return Ok(self.tags);
        }
        Err(malformed())
    }
}

fn malformed() -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::MalformedXml,
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

/// In the words of Amazon's answers to PutObjectTagging.
fn refused(error: TagError) -> PolicyError {
    let invalid = |message| PolicyError::new(PolicyErrorKind::InvalidTag, message);
    match error {
        TagError::TooMany => PolicyError::new(
            PolicyErrorKind::TooManyTags,
            format!("Object tags cannot be greater than {}", Tags::MAX),
        ),
        TagError::Key(key) => {
            invalid("The TagKey you have provided is invalid").with("TagKey", key)
        }
        TagError::Value(key, value) => invalid("The TagValue you have provided is invalid")
            .with("TagKey", key)
            .with("TagValue", value),
        TagError::Reserved(key) => {
            invalid("Your TagKey cannot be prefixed with aws:").with("TagKey", key)
        }
        TagError::Repeated(key) => {
            invalid("Cannot provide multiple Tags with the same key").with("TagKey", key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(xml: &str) -> Vec<(String, String)> {
        let tags = parse_tagging(xml).unwrap_or_else(|error| panic!("{xml}: {error:?}"));
        tags.iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn kind(xml: &str) -> PolicyErrorKind {
        match parse_tagging(xml) {
            Ok(tags) => panic!("{xml} gave {tags:?}"),
            Err(error) => error.kind(),
        }
    }

    fn set(tags: &str) -> String {
        format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
    }

    #[test]
    fn tags_are_read_in_their_order_however_the_document_is_dressed() {
        let plain = set("<Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value/></Tag>");
        let dressed = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<!-- c --><Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            \n <TagSet>\t<Tag><Value>1</Value> <Key><![CDATA[a]]></Key></Tag><Tag><Key>&#98;</Key><Value></Value></Tag></TagSet></Tagging>\n<?p?>";
        let expected = [("a", "1"), ("b", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs(&plain), expected);
        assert_eq!(pairs(dressed), expected);
        assert_eq!(
            pairs("<s:Tagging xmlns:s=\"u\"><s:TagSet/></s:Tagging>"),
            []
        );
        assert_eq!(pairs("<Tagging/>"), []);
        assert_eq!(
            pairs(&set(
                "<Tag><Key> a b </Key><Value>x<!-- y -->z</Value></Tag>"
            )),
            [(" a b ".to_owned(), "xz".to_owned())]
        );
    }

    #[test]
    fn well_formed_xml_with_another_root_gives_no_tags() {
        for xml in [
            "<InvalidXmlTagging></InvalidXmlTagging>",
            "<tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></tagging>",
            "<a b='c'>text &amp; <![CDATA[<]]><d/></a>",
        ] {
            assert_eq!(pairs(xml), [], "{xml}");
        }
    }

    #[test]
    fn what_is_no_xml_or_breaks_the_schema_is_malformed() {
        let deep = "<a>".repeat(MAX_DEPTH + 1) + &"</a>".repeat(MAX_DEPTH + 1);
        let long = format!("<a>{}</a>", "x".repeat(MAX_XML_BYTES));
        let rows = [
            "",
            " ",
            "not-xml",
            "key=value",
            "<Tagging>",
            "<Tagging><TagSet></Tagging></TagSet>",
            "</Tagging>",
            "<Tagging/><Tagging/>",
            "<Tagging/>text",
            "text<Tagging/>",
            "&amp;<a/>",
            "<![CDATA[]]><a/>",
            "<a/><?xml version=\"1.0\"?>",
            "<a b=c/>",
            "<a b='1' b='2'/>",
            "<a>&unknown;</a>",
            "<a>&</a>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY e \"e\">]><a>&e;</a>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><Other/></Tagging>",
            "<Tagging>text<TagSet/></Tagging>",
            &set("text"),
            &set("&#120;"),
            &set("<Tag/>"),
            &set("<Tag><Key>a</Key></Tag>"),
            &set("<Tag><Value>a</Value></Tag>"),
            &set("<Tag><Key>a</Key><Key>b</Key><Value/></Tag>"),
            &set("<Tag><Key>a<b/></Key><Value/></Tag>"),
            &set("<Tag><Key>a</Key><Value/>text</Tag>"),
            &set("<Tag><Key>a</Key><Value/><More/></Tag>"),
            &set("<Tag><Key>&unknown;</Key><Value/></Tag>"),
            &set("<Tag><Key>&#0;</Key><Value/></Tag>"),
            &deep,
            &long,
        ];
        for xml in rows {
            assert_eq!(kind(xml), PolicyErrorKind::MalformedXml, "{xml:.60}");
        }
    }

    #[test]
    fn a_tag_that_breaks_a_rule_is_named_in_amazons_words() {
        let tag =
            |key: &str, value: &str| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
        let many: String = (0..11).map(|n| tag(&n.to_string(), "")).collect();
        assert_eq!(kind(&set(&many)), PolicyErrorKind::TooManyTags);
        for (tags, message) in [
            (tag("", "v"), "The TagKey you have provided is invalid"),
            (tag("&lt;", "v"), "The TagKey you have provided is invalid"),
            (
                tag("k", "&amp;"),
                "The TagValue you have provided is invalid",
            ),
            (
                tag("aws:k", "v"),
                "Your TagKey cannot be prefixed with aws:",
            ),
            (
                tag("k", "1") + &tag("k", "2"),
                "Cannot provide multiple Tags with the same key",
            ),
        ] {
            let error = parse_tagging(&set(&tags)).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::InvalidTag, "{tags}");
            assert_eq!(error.message(), message);
            assert!(error.extra("TagKey").is_some());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_keeps_the_rules(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "<Tagging>", "</Tagging>", "<TagSet>", "</TagSet>", "<Tag>", "</Tag>", "<Key>", "</Key>", "<Value>",
                    "</Value>", "<Tag><Key>a</Key><Value>b</Value></Tag>", "a", " ", "&lt;", "&#65;", "&x;", "<!--", "-->",
                    "<![CDATA[", "]]>", "<?", "?>", "<!DOCTYPE", ">", "<", "é",
                ]),
                0..40,
            ),
        ) {
            if let Ok(tags) = parse_tagging(&pieces.concat()) {
                prop_assert!(tags.len() <= Tags::MAX);
            }
        }
    }
}
