//! How resources show themselves: references, links and times, the same on every REST route.
//!
//! Owns: the shape of a reference (`{"id", "href"}`), the address of a resource, and times as milliseconds.
//! Never does: read anything; all it shows is given.
//!
//! Source: the hosted API's documents, "Basic API Structure" and "Get a specific Pipeline".

use serde_json::{Value, json};

use crate::model::{Id, Timestamp};

/// The address of a resource: `<base_url>/v1/<collection>/<id>`.
pub fn href(base_url: &str, collection: &str, id: &Id) -> String {
    format!("{base_url}/v1/{collection}/{id}")
}

/// A reference to a resource: its id and its address.
pub fn reference(base_url: &str, collection: &str, id: &Id) -> Value {
    json!({ "id": id.to_string(), "href": href(base_url, collection, id) })
}

/// A moment in milliseconds since the epoch; null for never.
pub fn millis(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::Null, |moment| json!(moment.millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_the_resource_and_its_address() {
        let id = Id::parse("547f3eede4b025bcbff38657").unwrap();
        assert_eq!(
            reference("https://box.example", "pipelines", &id),
            json!({ "id": "547f3eede4b025bcbff38657", "href": "https://box.example/v1/pipelines/547f3eede4b025bcbff38657" })
        );
        assert_eq!(millis(Some(Timestamp::from_seconds(1))), json!(1000));
        assert_eq!(millis(None), Value::Null);
    }
}
