//! One request on its way through this floor.
//!
//! Owns: [`Call`] (everything a handler may ask about a request) and [`Reply`] (everything it may answer).
//! Never does: decide who may do what; `auth.rs` does. Invariant: the body can be read only through the call, so what is
//! left of it is known when the handler returns.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, Response, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::app::{App, Connection};
use super::body::{RequestBody, ResponseBody};
use super::dialect::Dialect;
use super::error::{ApiError, ErrorCode};
use super::params::{MAX_BODY_BYTES, Params};
use crate::model::{Id, Timestamp};

/// What a handler answers.
#[derive(Debug)]
pub enum Reply {
    /// A value, written in the REST style of the request.
    Value(StatusCode, Value),
    /// An answer that is already written.
    Raw(Response<ResponseBody>),
    /// One that has its room among all documents already; never to HEAD.
    Held(Response<ResponseBody>),
}

impl Reply {
    /// 200 with a value.
    pub fn ok(value: Value) -> Result<Self, ApiError> {
        Ok(Self::Value(StatusCode::OK, value))
    }

    /// What the hosted API answers to every successful DELETE.
    pub fn deleted() -> Result<Self, ApiError> {
        Self::ok(removed())
    }
}

/// What every removal answers, here and at the control door.
pub(super) fn removed() -> Value {
    json!({ "result": { "status": "SUCCESS" } })
}

/// One request.
#[derive(Debug)]
pub struct Call<'a> {
    /// The application.
    pub app: &'a Arc<App>,
    /// Method, URI and headers.
    pub head: &'a Parts,
    /// The body.
    pub body: &'a mut RequestBody,
    /// Where it came from.
    pub connection: Connection,
    /// When it came.
    pub now: Timestamp,
    /// Names the request in the log and in the answer.
    pub request_id: &'a str,
    /// The host that it names, as it was sent, with its port, if it has one.
    pub host: &'a str,
    /// The bucket in front of that host, if there is one.
    pub bucket_of_host: Option<&'a str>,
    /// Absolute URL of this service as the client knows it, without a trailing `/`.
    pub base_url: String,
    /// How it is answered.
    pub dialect: Dialect,
    /// The parameters of the query.
    pub params: Params,
}

impl Call<'_> {
    /// A header's text; `None` when it is absent or not visible ASCII.
    pub fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.head.headers.get(name.into())?.to_str().ok()
    }

    /// Whether a header was sent more than once. One that means who calls must not be: of two, readers differ in which they take.
    pub fn is_repeated(&self, name: &HeaderName) -> bool {
        self.head.headers.get_all(name).iter().nth(1).is_some()
    }

    /// Adds the parameters of the body, at most [`MAX_BODY_BYTES`], to those of the query.
    ///
    /// # Errors
    /// What reading or parsing it says.
    pub async fn read_params(&mut self) -> Result<(), ApiError> {
        let body = self
            .body
            .collect(MAX_BODY_BYTES, &self.app.documents)
            .await?;
        self.params.add_body(&body)
    }
}

/// A new id for this moment.
///
/// # Errors
/// `InternalError` when the system gives no randomness.
pub fn new_id(now: Timestamp) -> Result<Id, ApiError> {
    random_bytes().map(|random| Id::in_order(now, random))
}

/// Random bytes of the system.
///
/// # Errors
/// `InternalError` when the system gives none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled
        .map_err(|_| ApiError::new(ErrorCode::InternalError, "The system gives no randomness."))?;
    Ok(bytes)
}
