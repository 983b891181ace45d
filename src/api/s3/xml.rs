//! The XML of S3: documents out, small ones in.
//!
//! Owns: how text is written so that a reader gets back exactly what was stored: a carriage return and the characters that XML 1.0 does
//! not allow are references, as Amazon writes them (a strict reader refuses the latter; `encoding-type=url` is for that).
//! Never does: read a document of more elements than its caller allows, or know what it means.
//!
//! Invariant: every document has the namespace. Source: Amazon S3 API Reference; XML 1.0, sections 2.2 and 2.11.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use quick_xml::Reader;
use quick_xml::events::Event;

use super::super::body::{ResponseBody, full};
use super::super::error::{ApiError, ErrorCode};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// What every document begins with.
pub(super) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
/// Deepest nesting of a document that is read.
const MAX_DEPTH: usize = 8;
/// Longest id or tag, in bytes: Amazon's have up to 1,024, and what repeats them in an answer takes up to six times that.
const MAX_WORD_BYTES: usize = 1 << 10;
/// Largest document that is read on the caller's thread, in bytes; it takes less than a millisecond there.
const AT_ONCE_BYTES: usize = 64 << 10;

/// A document in the making.
#[derive(Debug)]
pub(super) struct Document {
    text: String,
    root: &'static str,
    headers: HeaderMap,
}

impl Document {
    /// Begins a document.
    pub(super) fn new(root: &'static str) -> Self {
        let text = format!("{DECLARATION}<{root} xmlns=\"{NAMESPACE}\">");
        let headers = HeaderMap::new();
        Self {
            text,
            root,
            headers,
        }
    }

    /// Headers of the answer, which it has unless it began before the document was known.
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// An element with this text.
    pub(super) fn element(&mut self, name: &str, value: &str) {
        self.open(name);
        push_text(&mut self.text, value);
        self.close(name);
    }

    /// The document's own text.
    pub(super) fn text(&mut self, value: &str) {
        push_text(&mut self.text, value);
    }

    /// Elements within an element.
    pub(super) fn within(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.open(name);
        fill(self);
        self.close(name);
    }

    /// Elements within an element that has these attributes, as they are to be written.
    pub(super) fn within_as(
        &mut self,
        name: &str,
        attributes: &'static str,
        fill: impl FnOnce(&mut Self),
    ) {
        self.open(&format!("{name} {attributes}"));
        fill(self);
        self.close(name);
    }

    /// How many bytes it has, when it ends here.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + "</>".len() + self.root.len()
    }

    /// The answer, 200.
    pub(super) fn answer(mut self) -> Response<ResponseBody> {
        let headers = std::mem::take(&mut self.headers);
        let mut response = answer_with(full(self.finish()));
        response.headers_mut().extend(headers);
        response
    }

    /// The whole document, which begins with [`DECLARATION`].
    pub(super) fn finish(mut self) -> String {
        let root = self.root;
        self.close(root);
        // Room is counted by the length, and a text that grew has up to twice that.
        self.text.shrink_to_fit();
        self.text
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }
}

/// An answer of 200 whose body is XML.
pub(super) fn answer_with(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A text that stands for an id or a tag.
///
/// # Errors
/// `MalformedXML` for one that is longer than any.
pub(super) fn word(text: String) -> Result<String, ApiError> {
    match text.len() <= MAX_WORD_BYTES {
        true => Ok(text),
        false => Err(malformed()),
    }
}

/// How many bytes a text has in a document.
pub(super) fn text_bytes(value: &str) -> usize {
    let mut text = String::new();
    push_text(&mut text, value);
    text.len()
}

/// Appends text as every document here has it.
pub(in super::super) fn push_text(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => text.push(c),
            // Writing to a String cannot fail.
            _ => _ = write!(text, "&#x{:x};", u32::from(c)),
        }
    }
}

/// An element that was read: its name without a prefix, its own text, the elements in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Its name.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
    /// What is in it, in order.
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The text of the first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&str> {
        self.element(name).map(|found| found.text.as_str())
    }

    /// The first child of this name.
    pub(super) fn element(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Its text.
    ///
    /// # Errors
    /// `MalformedXML` when there are elements in it.
    pub(super) fn leaf(&self) -> Result<&str, ApiError> {
        match self.children.is_empty() {
            true => Ok(&self.text),
            false => Err(malformed()),
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// `MalformedXML` when there is text between the elements.
    pub(super) fn branch(&self) -> Result<&[Element], ApiError> {
        match is_blank(&self.text) {
            true => Ok(&self.children),
            false => Err(malformed()),
        }
    }
}

/// What a body means, by `parse`, which reads a large one where it keeps nobody else waiting.
///
/// # Errors
/// What `parse` says.
pub(super) async fn parsed<T: Send + 'static>(
    body: Bytes,
    parse: fn(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if body.len() <= AT_ONCE_BYTES {
        return parse(&body);
    }
    let task = tokio::task::spawn_blocking(move || parse(&body));
    task.await.unwrap_or_else(|_| Err(ApiError::panicked()))
}

fn is_blank(text: &str) -> bool {
    text.bytes()
        .all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Reads a document whose root has this name.
///
/// # Errors
/// `MissingRequestBodyError` for no bytes; `MalformedXML` for anything else, for a document type, for more than [`MAX_DEPTH`] levels, and for more than `max_elements`, each of
/// which takes many times the four bytes that the shortest is written with.
pub(super) fn read(bytes: &[u8], root: &str, max_elements: usize) -> Result<Element, ApiError> {
    if bytes.is_empty() {
        let message = "Request Body is empty";
        return Err(ApiError::new(ErrorCode::MissingRequestBodyError, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    let mut left = max_elements;
    loop {
        let event = reader.read_event().map_err(|_| malformed())?;
        if let Event::Start(_) | Event::Empty(_) = &event {
            left = left.checked_sub(1).ok_or_else(malformed)?;
        }
        match event {
            Event::Start(start) if open.len() <= MAX_DEPTH => {
                open.push(named(start.local_name().as_ref()))
            }
            Event::Empty(start) => {
                let element = named(start.local_name().as_ref());
                last(&mut open)?.children.push(element);
            }
            Event::End(_) => {
                let done = open.pop().ok_or_else(malformed)?;
                last(&mut open)?.children.push(done);
            }
            Event::Text(text) => {
                last(&mut open)?.text.push_str(&text.xml10_content());
            }
            Event::CData(data) => {
                last(&mut open)?.text.push_str(&data.xml10_content());
            }
            Event::GeneralRef(reference) => {
                let text = &mut last(&mut open)?.text;
                match reference.resolve_char_ref().map_err(|_| malformed())? {
                    Some(character) => text.push(character),
                    None => {
                        let named = quick_xml::escape::resolve_xml_entity(&reference);
                        text.push_str(named.ok_or_else(malformed)?);
                    }
                }
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
            Event::Start(_) | Event::DocType(_) => return Err(malformed()),
        }
    }
    let mut document = open
        .pop()
        .filter(|document| open.is_empty() && is_blank(&document.text));
    let roots = document.as_mut().map(|document| &mut document.children);
    let found = roots.and_then(|roots| roots.pop().filter(|_| roots.is_empty()));
    found
        .filter(|element| element.name == root)
        .ok_or_else(malformed)
}

fn named(name: &str) -> Element {
    Element {
        name: name.to_owned(),
        ..Element::default()
    }
}

fn last(open: &mut [Element]) -> Result<&mut Element, ApiError> {
    open.last_mut().ok_or_else(malformed)
}

/// An element of the body asks for what we cannot do.
pub(super) fn unknown_element(name: &str) -> ApiError {
    let message = format!("The element {name} implies functionality that is not implemented");
    ApiError::new(ErrorCode::NotImplemented, message)
}

/// The body is not of its schema.
pub(super) fn malformed() -> ApiError {
    let message =
        "The XML you provided was not well-formed or did not validate against our published schema";
    ApiError::new(ErrorCode::MalformedXML, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_is_read_back_exactly() {
        let value = "a<b>&\"'\r\n\t\u{fc}\u{1f600}\u{202e} ]]>";
        let mut text = String::from("<A><B>");
        push_text(&mut text, value);
        text.push_str("</B><B/></A>");
        let read = read(text.as_bytes(), "A", 3).unwrap();
        assert_eq!(read.child("B"), Some(value));
        assert_eq!(read.children.len(), 2);
        let mut text = String::new();
        push_text(&mut text, "\0\u{1}\u{ffff}");
        assert_eq!(text, "&#x0;&#x1;&#xffff;");
    }

    #[test]
    fn what_is_no_document_of_this_name_is_malformed() {
        let deep = format!("{}{}", "<A>".repeat(20), "</A>".repeat(20));
        for bad in [
            " ",
            "<A>",
            "<B></B>",
            "<A></B>",
            "<A></A><A></A>",
            "</A>",
            "<!DOCTYPE A [<!ENTITY x \"y\">]><A>&x;</A>",
            "<A>&x;</A>",
            "x<A></A>",
            "<A></A>x",
            "&#32;<A></A>&amp;",
            "<![CDATA[x]]><A></A>",
            deep.as_str(),
        ] {
            let error = read(bad.as_bytes(), "A", 100).unwrap_err();
            assert_eq!(error.code, ErrorCode::MalformedXML, "{bad}");
        }
        assert!(
            read(
                b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- x --><s:A xmlns:s=\"u\"/>\n",
                "A",
                1
            )
            .is_ok()
        );
    }

    #[tokio::test]
    async fn a_large_document_is_read_on_another_thread_and_means_the_same() {
        let read_at = |body: &[u8]| {
            let root = read(body, "A", 2)?;
            Ok((root.text.len(), std::thread::current().id()))
        };
        let here = std::thread::current().id();
        let largest = AT_ONCE_BYTES - "<A></A>".len();
        for (length, is_here) in [(0, true), (largest, true), (largest + 1, false)] {
            let body = format!("<A>{}</A>", "x".repeat(length));
            let (read, place) = parsed(body.into(), read_at).await.unwrap();
            assert_eq!((read, place == here), (length, is_here));
        }
        for length in [0, largest + 1] {
            let body = format!("<A>{}</B>", "x".repeat(length));
            let error = parsed(body.into(), read_at).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::MalformedXML);
        }
    }

    #[test]
    fn no_more_elements_are_held_than_the_caller_allows() {
        let document = |n: usize| format!("<A>{}</A>", "<a/>".repeat(n - 1));
        assert!(read(document(7).as_bytes(), "A", 7).is_ok());
        assert!(read(document(8).as_bytes(), "A", 7).is_err());
    }

    #[test]
    fn an_element_holds_text_or_elements() {
        let read = |text: &str| read(text.as_bytes(), "A", 9).unwrap();
        assert_eq!(read("<A> x&amp;</A>").leaf().unwrap(), " x&");
        assert!(read("<A>x<B/></A>").leaf().is_err());
        assert_eq!(read("<A>\r\n\t <B/></A>").branch().unwrap().len(), 1);
        assert!(read("<A>x<B/></A>").branch().is_err());
    }
}
