//! What `POST /v1/files/uploads/` may be told, and what it means.
//!
//! Owns: the rules of `object_key`, `pipeline_id`, `ip` and `expires_at`; `client` and `answer` have theirs in `client_form.rs`.
//! `ip` is PHP's `ip2long` (an integer, negative on 32-bit systems), or an address as text, IPv4 or IPv6; the hosted API
//! documents the integer only.
//!
//! Never does: look anything up. Invariant: what is refused names the parameter and the rule.
//!
//! Source: the hosted API's manual, "POST /files/uploads".

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::client_form::FormWish;
use super::error::ApiError;
use super::params::Params;
use crate::model::{Id, ObjectKey, Pipeline, Timestamp};

/// The last moment that may be an expiry, in milliseconds: the end of the year 9999, which RFC 3339 can still show.
pub const MAX_EXPIRY: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// The parameters of a new upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartParams {
    /// The key below the pipeline's root path.
    pub object_key: ObjectKey,
    /// The pipeline.
    pub pipeline: Id,
    /// Where the uploader is.
    pub ip: Option<IpAddr>,
    /// When the object expires: `Some(None)` is never, `None` is not said.
    pub expires_at: Option<Option<Timestamp>>,
    /// For whom the form is to be.
    pub form: FormWish,
}

impl StartParams {
    /// Reads them all.
    ///
    /// # Errors
    /// `InvalidArgument` for the first that is missing or breaks a rule.
    pub fn read(params: &Params, envelope: &str, now: Timestamp) -> Result<Self, ApiError> {
        let key = Params::required(params.text(envelope, "object_key")?, "object_key")?;
        if key.contains("${filename}") {
            // The form post would put the file's name in its place, and the key would no longer be the session's.
            return Err(ApiError::invalid(
                "object_key",
                "must not contain ${filename}.",
            ));
        }
        let object_key = ObjectKey::parse(&key)
            .map_err(|rule| ApiError::invalid("object_key", format!("{rule}.")))?;
        let pipeline = Params::required(params.id(envelope, "pipeline_id")?, "pipeline_id")?;
        let ip = params
            .text(envelope, "ip")?
            .map(|text| parse_ip(&text))
            .transpose()?;
        Ok(Self {
            object_key,
            pipeline,
            ip,
            expires_at: future(params.epoch(envelope, "expires_at")?, now)?,
            form: FormWish::read(params, envelope)?,
        })
    }
}

/// When the object of an upload expires: as the client said, else as its pipeline says, else after `lifetime`.
pub fn expiry(
    asked: Option<Option<Timestamp>>,
    pipeline: &Pipeline,
    lifetime: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let of_pipeline = pipeline.settings.default_object_timeout;
    let lifetime = of_pipeline.map_or(lifetime, Duration::from_secs);
    asked.unwrap_or(Some(now.plus(lifetime).min(MAX_EXPIRY)))
}

/// Refuses an expiry that does not lie ahead, or past [`MAX_EXPIRY`].
///
/// # Errors
/// `InvalidArgument` that names `expires_at`.
pub fn future(
    asked: Option<Option<Timestamp>>,
    now: Timestamp,
) -> Result<Option<Option<Timestamp>>, ApiError> {
    match asked {
        Some(Some(moment)) if moment <= now => Err(ApiError::invalid(
            "expires_at",
            "must be 0 (never) or an epoch time in the future.",
        )),
        Some(Some(moment)) if moment > MAX_EXPIRY => Err(ApiError::invalid(
            "expires_at",
            "must be before the year 10000.",
        )),
        other => Ok(other),
    }
}

/// An address as an integer of either sign (PHP's `ip2long`), or as text.
///
/// # Errors
/// `InvalidArgument` that names `ip`.
pub fn parse_ip(text: &str) -> Result<IpAddr, ApiError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_canonical());
    }
    let number = text.parse::<i64>().ok();
    let bits = number.and_then(|number| match number {
        ..0 => i32::try_from(number).ok().map(i32::cast_unsigned),
        _ => u32::try_from(number).ok(),
    });
    bits.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        .ok_or_else(|| {
            ApiError::invalid(
                "ip",
                "must be an IPv4 address as an integer (ip2long), or an IPv4 or IPv6 address.",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PipelineSettings;

    const NOW: Timestamp = Timestamp::from_seconds(1_403_257_566);

    #[test]
    fn an_address_is_an_integer_of_either_sign_or_text() {
        for (text, ip) in [
            ("3232235777", "192.168.1.1"),
            ("-1062731519", "192.168.1.1"),
            ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"),
            ("-2147483648", "128.0.0.0"),
            ("192.168.1.1", "192.168.1.1"),
            ("::ffff:192.168.1.1", "192.168.1.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(parse_ip(text).unwrap().to_string(), ip, "{text}");
        }
        for bad in ["", "4294967296", "-2147483649", "1.2.3", "here", "1e3"] {
            let refused = parse_ip(bad).unwrap_err();
            assert!(refused.message.starts_with("ip must be"), "{bad}");
        }
    }

    #[test]
    fn an_expiry_must_lie_ahead() {
        let check = |asked: Option<Timestamp>| future(Some(asked), NOW);
        assert!(check(Some(NOW)).is_err());
        assert!(check(Some(MAX_EXPIRY.plus(Duration::from_millis(1)))).is_err());
        assert_eq!(check(Some(MAX_EXPIRY)).unwrap(), Some(Some(MAX_EXPIRY)));
        assert_eq!(check(None).unwrap(), Some(None));
        let soon = NOW.plus(Duration::from_millis(1));
        assert_eq!(check(Some(soon)).unwrap(), Some(Some(soon)));
    }

    #[test]
    fn the_client_then_the_pipeline_then_the_default_decides_the_expiry() {
        let week = Duration::from_secs(7 * 24 * 3600);
        let with_timeout = |seconds| Pipeline {
            id: Id::from_bytes([0; 12]),
            settings: PipelineSettings {
                default_object_timeout: seconds,
                ..PipelineSettings::default()
            },
            version: 1,
            created_at: NOW,
            updated_at: NOW,
        };
        let hour = NOW.plus(Duration::from_secs(3600));
        assert_eq!(
            expiry(Some(None), &with_timeout(Some(3600)), week, NOW),
            None
        );
        assert_eq!(
            expiry(None, &with_timeout(Some(3600)), week, NOW),
            Some(hour)
        );
        assert_eq!(
            expiry(None, &with_timeout(None), week, NOW),
            Some(NOW.plus(week))
        );
        let forever = expiry(None, &with_timeout(Some(u64::MAX)), week, NOW);
        assert_eq!(forever, Some(MAX_EXPIRY));
    }
}
