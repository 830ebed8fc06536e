//! Header values: structured fields (RFC 8941) for clients and the upstream.
//!
//! Whatever reaches a header passes through here, so that no value can end one and begin another.

use std::fmt::Write;

use crate::contract::Entitlement;
use crate::limits::{ENTITLEMENTS_MAX_BYTES, IDENTITY_VALUE_MAX_BYTES, MILLI_PER_UNIT};
use crate::problem::IdentityHeaders;
use crate::units::Units;

/// Name of the header that lists the limits.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// Name of the header that tells what is left of them.
pub const RATE_LIMIT: &str = "ratelimit";

/// One limited meter as this worker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterState<'a> {
    /// The meter.
    pub meter: &'a str,
    /// Units of the window.
    pub limit: Units,
    /// Units left of them.
    pub remaining: Units,
    /// Length of the window, in seconds.
    pub window_seconds: u64,
    /// Time until it ends, in seconds.
    pub resets_in_seconds: u64,
}

/// Values of the two headers of `draft-ietf-httpapi-ratelimit-headers`, revision 11.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// For [`RATE_LIMIT_POLICY`].
    pub policy: String,
    /// For [`RATE_LIMIT`].
    pub state: String,
}

/// The two headers for the limited meters a rule touched, or `None` for none.
#[must_use]
pub fn rate_limit<'m>(meters: impl IntoIterator<Item = MeterState<'m>>) -> Option<RateLimit> {
    let mut headers = RateLimit::default();
    headers.write(meters).then_some(headers)
}

impl RateLimit {
    /// Takes the limited meters a rule touched in place of what it had; answers whether there are any.
    ///
    /// The draft counts in integers, so a fraction of a unit left counts as none.
    pub fn write<'m>(&mut self, meters: impl IntoIterator<Item = MeterState<'m>>) -> bool {
        self.policy.clear();
        self.state.clear();
        for meter in meters {
            let whole = |units: Units| units.milli() / MILLI_PER_UNIT;
            if !self.policy.is_empty() {
                self.policy.push_str(", ");
                self.state.push_str(", ");
            }
            let name_at = self.policy.len();
            push_string(&mut self.policy, meter.meter);
            self.state.push_str(&self.policy[name_at..]);
            push_parameter(&mut self.policy, ";q=", whole(meter.limit));
            push_parameter(&mut self.policy, ";w=", meter.window_seconds);
            push_parameter(&mut self.state, ";r=", whole(meter.remaining));
            push_parameter(&mut self.state, ";t=", meter.resets_in_seconds);
        }
        !self.policy.is_empty()
    }
}

/// What the upstream is told about who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// `cus_…`.
    pub customer: &'a str,
    /// `sub_…`.
    pub subscription: &'a str,
    /// The plan's key.
    pub plan: &'a str,
    /// `key_…`.
    pub key: &'a str,
    /// The caller's own name for whoever holds the key.
    pub subject: Option<&'a str>,
}

impl Identity<'_> {
    /// The headers to set on the request.
    ///
    /// A member whose value is no header value (see [`is_field_value`]) is left out whole: cut or
    /// cleaned it might name somebody else.
    #[must_use]
    pub fn headers(&self, form: IdentityHeaders) -> Vec<(&'static str, String)> {
        match form {
            IdentityHeaders::One => vec![("x-tollgate-identity", self.dictionary())],
            IdentityHeaders::Separate => self
                .members()
                .map(|(_, header, value)| (header, value.to_owned()))
                .collect(),
            IdentityHeaders::None => Vec::new(),
        }
    }

    fn members(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        [
            ("customer", "x-tollgate-customer", Some(self.customer)),
            (
                "subscription",
                "x-tollgate-subscription",
                Some(self.subscription),
            ),
            ("plan", "x-tollgate-plan", Some(self.plan)),
            ("key", "x-tollgate-key", Some(self.key)),
            ("subject", "x-tollgate-subject", self.subject),
        ]
        .into_iter()
        .filter_map(|(name, header, value)| Some((name, header, value?)))
        .filter(|(_, _, value)| is_field_value(value))
    }

    fn dictionary(&self) -> String {
        let mut dictionary = String::new();
        for (name, _, value) in self.members() {
            if !dictionary.is_empty() {
                dictionary.push_str(", ");
            }
            dictionary.push_str(name);
            dictionary.push('=');
            push_item(&mut dictionary, value);
        }
        dictionary
    }
}

/// The header with the plan's static entitlements: one JSON object by feature, or `None` when the plan has none.
///
/// What does not fit any more is left out whole, last features first: cut it would say something else.
#[must_use]
pub fn entitlements<'e>(
    given: impl IntoIterator<Item = (&'e String, &'e Entitlement)>,
) -> Option<(&'static str, String)> {
    let mut object = String::new();
    for (feature, entitlement) in given {
        let Entitlement::Static { config } = entitlement else {
            continue;
        };
        let name = ascii_json(&serde_json::Value::from(feature.as_str()));
        let member = format!("{name}:{}", ascii_json(config));
        // With the separator before it and the brace after the last.
        if object.len() + member.len() + 2 > ENTITLEMENTS_MAX_BYTES {
            break;
        }
        object.push(if object.is_empty() { '{' } else { ',' });
        object.push_str(&member);
    }
    if object.is_empty() {
        return None;
    }
    object.push('}');
    Some(("x-tollgate-entitlements", object))
}

/// Whether a text can stand in a header as it is: 1 to 256 bytes of printable ASCII, no space at
/// either end.
#[must_use]
pub fn is_field_value(text: &str) -> bool {
    (1..=IDENTITY_VALUE_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && text.trim_ascii() == text
}

/// JSON in ASCII, for a header: everything else is escaped.
#[must_use]
pub fn ascii_json(value: &serde_json::Value) -> String {
    let mut ascii = String::new();
    for character in value.to_string().chars() {
        if matches!(character, ' '..='~') {
            ascii.push(character);
            continue;
        }
        // What JSON leaves unescaped outside this range stands within a string.
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii
}

/// A token where the grammar allows one, else a quoted string.
fn push_item(out: &mut String, value: &str) {
    let token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    let starts = value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*');
    if starts && value.bytes().all(token_byte) {
        out.push_str(value);
    } else {
        push_string(out, value);
    }
}

fn push_parameter(out: &mut String, name: &str, number: u64) {
    out.push_str(name);
    out.push_str(itoa::Buffer::new().format(number));
}

/// A quoted string; what the grammar has no place for is left out.
fn push_string(out: &mut String, value: &str) {
    out.push('"');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if value.bytes().all(is_plain) {
        out.push_str(value);
        out.push('"');
        return;
    }
    for character in value
        .chars()
        .filter(|character| matches!(character, ' '..='~'))
    {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
