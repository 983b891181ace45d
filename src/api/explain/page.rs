//! An explanation for people: one page, as plain text and as HTML, and the part of it that goes into an error's XML.
//!
//! Owns: the order in which a reader wants to know things: what was refused, why most likely, what does not hold, and then all the rest.
//! Never does: find out anything; it reads the report. Nothing that a client sent is written unescaped, into HTML and XML as text and to a
//! terminal without control characters.
//! Invariant: HTML and text are written from the same blocks, so neither shows what the other does not.

mod write;

use std::fmt::Write as _;

use serde_json::Value;

use super::seen::Inline;
use crate::api::dialect::push_element;

/// Most conditions and fields that an error's XML repeats; the page has all.
const MAX_INLINE: usize = 50;
/// Seconds of an hour, and of a day.
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A piece of the page.
enum Block {
    Heading(&'static str),
    Say(String),
    Rows(Vec<[String; 2]>),
    Verbatim(String),
}

/// A report, ready to be written.
pub struct Page {
    title: String,
    blocks: Vec<Block>,
}

impl Page {
    /// The page of a report.
    pub(super) fn new(report: &Value) -> Self {
        let mut page = Self {
            title: title(report),
            blocks: Vec::new(),
        };
        page.verdict(report);
        page.conditions(report);
        page.form(report);
        page.policy(report);
        page.around(report);
        page
    }

    fn add(&mut self, heading: &'static str, block: Block) {
        let is_empty = match &block {
            Block::Rows(rows) => rows.is_empty(),
            Block::Verbatim(text) | Block::Say(text) => text.is_empty(),
            Block::Heading(_) => false,
        };
        if !is_empty {
            self.blocks.push(Block::Heading(heading));
            self.blocks.push(block);
        }
    }

    fn verdict(&mut self, report: &Value) {
        let message = text(&report["refusal"]["message"]);
        if !message.is_empty() {
            self.blocks.push(Block::Say(message));
        }
        self.add("Most likely", Block::Say(text(&report["likely_cause"])));
        for note in items(&report["notes"]) {
            self.blocks.push(Block::Say(text(note)));
        }
        let obstacles: Vec<_> = items(&report["obstacles"]).map(text).collect();
        self.add(
            "Every form with this policy is refused",
            Block::Verbatim(obstacles.join("\n")),
        );
    }

    fn conditions(&mut self, report: &Value) {
        let failed = items(&report["conditions"]).filter(|condition| condition["holds"] == false);
        let rows = failed.flat_map(|condition| {
            let got = match &condition["got"] {
                Value::Null => "nothing: the form has no such field before the file".to_owned(),
                got => quoted(got),
            };
            [
                [text(&condition["condition"]), String::new()],
                ["  wanted".to_owned(), text(&condition["expected"])],
                ["  got".to_owned(), got],
            ]
        });
        self.add("Conditions that do not hold", Block::Rows(rows.collect()));
        let uncovered = items(&report["uncovered"])
            .map(|name| [text(name), "the policy has no condition on it".to_owned()]);
        self.add(
            "Fields that no condition covers",
            Block::Rows(uncovered.collect()),
        );
        let held = items(&report["conditions"]).filter(|condition| condition["holds"] == true);
        let held =
            held.map(|condition| [text(&condition["condition"]), text(&condition["expected"])]);
        self.add("Conditions that hold", Block::Rows(held.collect()));
        if let Some(count) = report["conditions_left_out"].as_u64() {
            let more = Block::Verbatim(format!("{count} more"));
            self.add("Conditions that are not shown", more);
        }
        let required = items(&report["requirements"]);
        let required = required.map(|part| [text(&part["field"]), text(&part["value"])]);
        self.add(
            "A form with this policy must contain",
            Block::Rows(required.collect()),
        );
    }

    fn form(&mut self, report: &Value) {
        let fields =
            items(&report["fields"]).map(|field| [text(&field["name"]), quoted(&field["value"])]);
        self.add(
            "Fields before the file, as the policy sees them",
            Block::Rows(fields.collect()),
        );
        let file = &report["file"];
        let mut rows = named(
            file,
            &[
                ("file name", "name"),
                ("its own type", "type"),
                ("bytes", "bytes"),
            ],
        );
        rows.extend(listed(
            "fields after it, ignored",
            &file["fields_after_file"],
        ));
        rows.extend(listed(
            "other parts with files",
            &file["other_parts_with_files"],
        ));
        rows.extend(named(file, &[("last part read", "last_part_read")]));
        rows.extend(listed("parts not read", &file["parts_not_read"]));
        self.add("File", Block::Rows(rows));
    }

    fn policy(&mut self, report: &Value) {
        let shown = match &report["policy"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            policy => policy_text(policy),
        };
        self.add("Policy, decoded", Block::Verbatim(shown));
    }

    fn around(&mut self, report: &Value) {
        let clock = &report["clock"];
        let mut rows = named(
            clock,
            &[
                ("server's time", "server_time"),
                ("policy ends", "expiration"),
            ],
        );
        rows.extend(span(
            "which is",
            &clock["remaining_ms"],
            "from then on",
            "ago",
        ));
        rows.extend(named(clock, &[("form signed", "signed_at")]));
        rows.extend(span(
            "which is",
            &clock["signed_ago_ms"],
            "ago",
            "ahead of the server's time",
        ));
        self.add("Clocks", Block::Rows(rows));
        let signature = &report["signature"];
        let mut rows = named(
            signature,
            &[
                ("version", "version"),
                ("access key", "access_key_id"),
                ("day", "day"),
                ("region", "region"),
                ("service", "service"),
                ("it is", "verdict"),
                ("what was signed", "string_to_sign"),
            ],
        );
        rows.extend(listed("tried against", &signature["tried"]));
        self.add("Signature", Block::Rows(rows));
        let bucket = named(
            &report["bucket"],
            &[("posted to", "posted_to"), ("signed for", "signed_for")],
        );
        let session = named(report, &[("upload session", "session")]);
        self.add("Bucket", Block::Rows([bucket, session].concat()));
        let request = named(
            &report["request"],
            &[
                ("method", "method"),
                ("host", "host"),
                ("path", "path"),
                ("content type", "content_type"),
                ("content length", "content_length"),
            ],
        );
        self.add("Request", Block::Rows(request));
    }
}

fn title(report: &Value) -> String {
    let refusal = &report["refusal"];
    match (refusal["status"].as_u64(), refusal["code"].as_str()) {
        (Some(status), Some(code)) => format!("Refused: {status} {code}"),
        _ if refusal.is_object() => "Refused".to_owned(),
        _ if items(&report["obstacles"]).next().is_some() => {
            "Refused: a policy that no form can meet".to_owned()
        }
        _ if report["requirements"].is_array() => "Valid: a policy that forms can meet".to_owned(),
        _ if report["signature"]["verdict"] == "not checked" => {
            "Granted, if the signature is right".to_owned()
        }
        _ => "Granted".to_owned(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value with its ends marked, so that blanks around it are seen.
fn quoted(value: &Value) -> String {
    format!("'{}'", text(value))
}

fn named(members: &Value, rows: &[(&str, &str)]) -> Vec<[String; 2]> {
    let known = rows.iter().filter(|(_, name)| !members[*name].is_null());
    known
        .map(|(label, name)| [(*label).to_owned(), text(&members[*name])])
        .collect()
}

fn listed(label: &str, list: &Value) -> Option<[String; 2]> {
    let words: Vec<_> = items(list).map(text).collect();
    (!words.is_empty()).then(|| [label.to_owned(), words.join(", ")])
}

/// A span of time in words, with what it means when it is positive and when it is negative.
fn span(label: &str, ms: &Value, positive: &str, negative: &str) -> Option<[String; 2]> {
    let ms = ms.as_i64()?;
    let seconds = ms.saturating_abs() / 1000;
    let words = match seconds {
        0..=119 => format!("{seconds} s"),
        120..HOUR => format!("{} min {} s", seconds / 60, seconds % 60),
        HOUR..DAY => format!("{} h {} min", seconds / HOUR, seconds % HOUR / 60),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    };
    let words = match (ms < 0, positive) {
        (true, _) => format!("{words} {negative}"),
        (false, "from then on") => format!("in {words}"),
        (false, _) => format!("{words} {positive}"),
    };
    Some([label.to_owned(), words])
}

/// One condition a line, as people write policies.
fn policy_text(policy: &Value) -> String {
    let Some(members) = policy.as_object() else {
        return policy.to_string();
    };
    let mut shown = String::from("{\n");
    for (at, (name, value)) in members.iter().enumerate() {
        let end = if at + 1 < members.len() { "," } else { "" };
        let name = Value::from(name.as_str());
        match value.as_array() {
            Some(list) if !list.is_empty() => {
                let lines: Vec<_> = list.iter().map(|item| format!("    {item}")).collect();
                let _ = writeln!(shown, "  {name}: [\n{}\n  ]{end}", lines.join(",\n"));
            }
            _ => {
                let _ = writeln!(shown, "  {name}: {value}{end}");
            }
        }
    }
    shown.push('}');
    shown
}

/// What a developer wants to see at once, in the answer itself.
pub(super) fn inline(report: &Value, link: Option<&str>) -> Inline {
    Inline {
        xml: inline_xml(report, link),
        cause: text(&report["likely_cause"]),
    }
}

fn inline_xml(report: &Value, link: Option<&str>) -> String {
    let mut xml = String::from("<Explanation>");
    push_element(&mut xml, "LikelyCause", &text(&report["likely_cause"]));
    let failed = items(&report["conditions"]).filter(|condition| condition["holds"] == false);
    for condition in failed.take(MAX_INLINE) {
        xml.push_str("<FailedCondition>");
        push_element(&mut xml, "Condition", &text(&condition["condition"]));
        push_element(&mut xml, "Wanted", &text(&condition["expected"]));
        match &condition["got"] {
            Value::Null => {}
            got => push_element(&mut xml, "Got", &text(got)),
        }
        xml.push_str("</FailedCondition>");
    }
    for name in items(&report["uncovered"]).take(MAX_INLINE) {
        push_element(&mut xml, "UncoveredField", &text(name));
    }
    if let Some(link) = link {
        push_element(&mut xml, "Link", link);
    }
    xml.push_str("</Explanation>");
    xml
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Value {
        json!({
            "refusal": { "status": 403, "code": "AccessDenied", "message": "No <b>&" },
            "likely_cause": "It is so.",
            "conditions": [
                { "condition": "[\"eq\",\"$acl\",\"a\"]", "expected": "exactly 'a'", "got": "<script>\u{1b}[2J", "holds": false },
                { "condition": "[\"eq\",\"$key\",\"k\"]", "expected": "exactly 'k'", "got": null, "holds": false },
            ],
            "uncovered": ["x\u{202e}y\u{61c}z"],
            "policy": { "expiration": "e", "conditions": [["eq", "$acl", "a"], { "bucket": "b" }] },
            "clock": { "remaining_ms": -7_384_000, "signed_ago_ms": 90_000 },
        })
    }

    #[test]
    fn the_page_says_what_was_refused_why_and_everything_that_does_not_hold() {
        let text = Page::new(&report()).text();
        for part in [
            "Refused: 403 AccessDenied\n",
            "Most likely\n  It is so.",
            "[\"eq\",\"$acl\",\"a\"]",
            "wanted",
            "exactly 'a'",
            "nothing: the form has no such field",
            "2 h 3 min ago",
            "90 s ago",
            "  {\n    \"expiration\": \"e\",\n    \"conditions\": [\n      [\"eq\",\"$acl\",\"a\"],\n      {\"bucket\":\"b\"}\n    ]\n  }",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn nothing_of_a_client_reaches_a_terminal_a_browser_or_a_parser_raw() {
        let page = Page::new(&report());
        for shown in [page.text(), page.html(), inline_xml(&report(), None)] {
            assert!(
                !shown.contains(['\u{1b}', '\u{202e}', '\u{61c}']) || shown.starts_with("<Expl"),
                "{shown}"
            );
        }
        let html = page.html();
        assert!(
            !html.contains("<script") && html.contains("&lt;script&gt;"),
            "{html}"
        );
        let xml = inline_xml(&report(), Some("http://x/?a&b"));
        assert!(xml.contains("<Link>http://x/?a&amp;b</Link>") && !xml.contains("<script"));
        assert!(quick_xml::Reader::from_str(&xml).read_event().is_ok());
    }
}
