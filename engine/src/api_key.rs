//! API keys: `tg_<env>_<tag><secret><crc>`.
//!
//! `env` is `live` or `test`, `tag` 4 and `secret` 26 base62 characters, and `crc` the CRC-32 (IEEE)
//! of everything before it as 6 base62 digits, greatest first. The checksum costs garbage its way to
//! Redis; it proves nothing. Only the SHA-256 of the whole key is ever stored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The digits of base62, by value.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a tag.
pub const TAG_LENGTH: usize = 4;
/// Random characters of a key: 154 bits.
pub const SECRET_LENGTH: usize = 26;
/// Characters of every key.
pub const KEY_LENGTH: usize = PREFIX_LENGTH + TAG_LENGTH + SECRET_LENGTH + CRC_LENGTH;

const PREFIX_LENGTH: usize = "tg_live_".len();
const CRC_LENGTH: usize = 6;

// Six digits hold every CRC-32.
const _: () = assert!(62_u64.pow(CRC_LENGTH as u32) > u32::MAX as u64);

/// Which of two worlds a key belongs to; objects never cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Real customers and money.
    Live,
    /// Everything else.
    Test,
}

impl Environment {
    /// The name in keys and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "tg_live_",
            Self::Test => "tg_test_",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Live => Self::Test,
            Self::Test => Self::Live,
        }
    }
}

/// Why a text is no key of this environment; clients are told `key_malformed` for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not of the form of a key.
    #[error("not of the form of an API key")]
    Malformed,
    /// A key of the other environment.
    #[error("an API key of another environment")]
    WrongEnvironment,
    /// Of the right form, with a checksum of something else.
    #[error("an API key with a wrong checksum")]
    WrongChecksum,
}

/// A well-formed key of one environment, borrowed from the request; it may still be unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiKey<'a> {
    text: &'a str,
    tag: Tag,
}

impl<'a> ApiKey<'a> {
    /// Checks form, environment and checksum, in that order, without allocating.
    pub fn parse(text: &'a str, environment: Environment) -> Result<Self, Refused> {
        let body = text
            .strip_prefix(environment.prefix())
            .ok_or_else(|| refusal_of_prefix(text, environment))?
            .as_bytes();
        if text.len() != KEY_LENGTH || !body.iter().all(u8::is_ascii_alphanumeric) {
            return Err(Refused::Malformed);
        }
        let Some((tag, _)) = body.split_first_chunk() else {
            return Err(Refused::Malformed);
        };
        let (before, crc) = text.as_bytes().split_at(KEY_LENGTH - CRC_LENGTH);
        if crc != checksum(before) {
            return Err(Refused::WrongChecksum);
        }
        Ok(Self {
            text,
            tag: Tag(*tag),
        })
    }

    /// The part that places the key's state in Redis.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        self.tag
    }

    /// The SHA-256 of the whole key, by which it is known everywhere.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.text)
    }
}

impl fmt::Debug for ApiKey<'_> {
    /// Shows the prefix and the tag, never the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, _) = self.text.split_at(PREFIX_LENGTH + TAG_LENGTH);
        write!(formatter, "ApiKey({shown}…)")
    }
}

/// Tells a key that strayed from the other environment from garbage.
#[cold]
fn refusal_of_prefix(text: &str, environment: Environment) -> Refused {
    if text.len() == KEY_LENGTH && text.starts_with(environment.other().prefix()) {
        Refused::WrongEnvironment
    } else {
        Refused::Malformed
    }
}

/// Puts a key together from random material the caller has drawn.
///
/// # Errors
/// When `secret` is not [`SECRET_LENGTH`] base62 characters.
pub fn compose(environment: Environment, tag: Tag, secret: &str) -> Result<String, NotBase62> {
    if secret.len() != SECRET_LENGTH || !secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(NotBase62 {
            length: SECRET_LENGTH,
        });
    }
    let mut key = String::with_capacity(KEY_LENGTH);
    key.push_str(environment.prefix());
    key.push_str(tag.as_str());
    key.push_str(secret);
    let crc = checksum(key.as_bytes());
    key.extend(crc.map(char::from));
    Ok(key)
}

/// A part of a key that is not so many base62 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not {length} characters of 0-9, A-Z and a-z")]
pub struct NotBase62 {
    /// How many there must be.
    pub length: usize,
}

/// The CRC-32 of `bytes` as fixed-width base62, most significant digit first.
fn checksum(bytes: &[u8]) -> [u8; CRC_LENGTH] {
    let mut rest = crc32fast::hash(bytes) as usize;
    let mut digits = [0; CRC_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % BASE62.len()];
        rest /= BASE62.len();
    }
    digits
}

/// Four base62 characters: the Redis Cluster hash tag under which a subscription's state stands.
///
/// It only places names and is not unique.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; TAG_LENGTH]);

impl Tag {
    /// The four characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // ASCII by construction, so there is no other case.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Tag {
    type Err = NotBase62;

    fn from_str(text: &str) -> Result<Self, NotBase62> {
        match <[u8; TAG_LENGTH]>::try_from(text.as_bytes()) {
            Ok(tag) if tag.iter().all(u8::is_ascii_alphanumeric) => Ok(Self(tag)),
            _ => Err(NotBase62 { length: TAG_LENGTH }),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tag({self})")
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

/// The SHA-256 of a key: what is stored and compared instead of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key's whole text.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The tag of an imported key, which has none of its own: the first 4 hex digits.
    #[must_use]
    pub fn imported_tag(&self) -> Tag {
        let [first, second, ..] = self.0;
        let [a, b] = hex_digits(first);
        let [c, d] = hex_digits(second);
        Tag([a, b, c, d])
    }
}

impl fmt::Display for KeyHash {
    /// All 64 lower-case hex digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(formatter, &self.0)
    }
}

impl fmt::Debug for KeyHash {
    /// Shows the first 8 hex digits: enough to find a key, too little to look one up.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyHash(")?;
        write_hex(formatter, &self.0[..4])?;
        formatter.write_str("…)")
    }
}

/// A text that is not 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not 64 lower-case hex digits")]
pub struct NotHash;

impl FromStr for KeyHash {
    type Err = NotHash;

    /// Reads 64 lower-case hex digits: one hash has one spelling.
    fn from_str(text: &str) -> Result<Self, NotHash> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(NotHash);
        };
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() {
            return Err(NotHash);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = hex_value(*high)? << 4 | hex_value(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

fn deserialize_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

const fn hex_digits(byte: u8) -> [u8; 2] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]
}

const fn hex_value(digit: u8) -> Result<u8, NotHash> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotHash),
    }
}

fn write_hex(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes
        .iter()
        .flat_map(|byte| hex_digits(*byte))
        .try_for_each(|digit| fmt::Write::write_char(formatter, char::from(digit)))
}

#[cfg(test)]
mod tests;
