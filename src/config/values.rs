//! The forms that values take: addresses, numbers, durations, sizes, names, URLs, networks.
//!
//! Owns: what each form looks like, and a message with an example for what does not look like it.
//!
//! Never does: know which key a value belongs to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use http::Uri;
use ipnet::IpNet;

pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no ADDRESS:PORT like 127.0.0.1:7080 or [::]:443"))
}

pub(super) fn number(min: usize, max: usize) -> impl FnOnce(&str) -> Result<usize, String> {
    move |text| match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is no number from {min} to {max}")),
    }
}

pub(super) fn duration(
    min: Duration,
    max: Duration,
) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| {
        let parsed = humantime::parse_duration(text)
            .map_err(|_| format!("{text:?} is no duration like 30s, 24h or 7d"))?;
        if (min..=max).contains(&parsed) {
            return Ok(parsed);
        }
        let shown = humantime::format_duration;
        Err(format!(
            "{text:?} is not from {} to {}",
            shown(min),
            shown(max)
        ))
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("{text:?} is no size like 512MiB or 10GB"))
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        _ => Ok(PathBuf::from(text)),
    }
}

/// A host name, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '[' | ']' | ':');
    let has_port = !text.starts_with('[') && text.contains(':');
    if text.is_empty() || has_port || !text.chars().all(legal) {
        return Err(format!("{text:?} is no host name without a port"));
    }
    Ok(text.to_ascii_lowercase())
}

/// `*`, or scheme, host and port of pages that may post.
pub(super) fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let uri = absolute(text)?;
    if uri.path() != "/" || text.ends_with('/') {
        return Err(format!("{text:?} must end after the host or port"));
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) fn base_url(text: &str) -> Result<String, String> {
    absolute(text)?;
    Ok(text.trim_end_matches('/').to_owned())
}

pub(super) fn form_url(text: &str) -> Result<String, String> {
    absolute(text)?;
    if !text.ends_with('/') {
        return Err(format!(
            "{text:?} must end with a slash, as in https://files.example.com/uploads/"
        ));
    }
    Ok(text.to_owned())
}

fn absolute(text: &str) -> Result<Uri, String> {
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && !text.contains(['#', '@'])
    })
    .ok_or_else(|| format!("{text:?} is no URL like https://files.example.com"))
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse().map(|address: IpAddr| address.into()))
        .map_err(|_| format!("{text:?} is no network like 10.1.0.0/16 or 2001:db8::/32"))
}
