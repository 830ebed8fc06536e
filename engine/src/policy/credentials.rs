//! Where a request carries its key, and what to take away before the upstream sees it.

use super::path::{decode, split_query};
use super::read::Node;
use super::{Auth, Policy};
use crate::api_key::{ApiKey, Environment, KeyHash, Tag};
use crate::limits::{
    FIELD_NAME_MAX_BYTES, FOREIGN_KEY_MAX_BYTES, KEY_SOURCES_MAX, SCHEME_MAX_BYTES,
};
use crate::problem::Code;

/// A place a key may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A header, its name in lower case; with a scheme, the value begins with it in any case.
    Header {
        /// The header's name.
        name: Box<str>,
        /// The authentication scheme before the key.
        scheme: Option<Box<str>>,
    },
    /// A parameter of the query; the key stands there as it is, without percent-encoding.
    Query {
        /// The parameter's name, decoded.
        name: Box<str>,
    },
}

impl KeySource {
    /// The key this source holds for a header, if it is meant and not empty.
    fn in_header<'h>(&self, header: &[u8], value: &'h [u8]) -> Option<&'h [u8]> {
        let Self::Header { name, scheme } = self else {
            return None;
        };
        if name.as_bytes() != header {
            return None;
        }
        let key = match scheme {
            Some(scheme) => after_scheme(value, scheme)?,
            None => value.trim_ascii(),
        };
        (!key.is_empty()).then_some(key)
    }

    fn in_query<'h>(&self, query: &'h [u8]) -> Option<&'h [u8]> {
        let Self::Query { name } = self else {
            return None;
        };
        parameters(query)
            .filter(|parameter| names(parameter, name))
            .map(value_of)
            .find(|value| !value.is_empty())
    }
}

impl Policy {
    /// What stands in the place of a key in the first source that has something, by the sources' order.
    ///
    /// `headers` are all of the request's, names in lower case; `path_and_query` is its `:path`.
    ///
    /// # Errors
    /// [`Code::KeyMissing`] when no source has anything.
    pub fn credential<'h, N, V>(
        &self,
        headers: &'h [(N, V)],
        path_and_query: &'h [u8],
    ) -> Result<&'h [u8], Code>
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let (_, query) = split_query(path_and_query);
        let credential = self.auth.sources.iter().find_map(|source| {
            headers
                .iter()
                .find_map(|(name, value)| source.in_header(name.as_ref(), value.as_ref()))
                .or_else(|| source.in_query(query))
        });
        credential.ok_or(Code::KeyMissing)
    }

    /// The key that a credential is: its hash, and the tag that places its state.
    ///
    /// # Errors
    /// [`Code::KeyMalformed`] when it is no key of this environment, nor one that may have been imported. A later
    /// source is then not tried.
    pub fn identify(&self, credential: &[u8]) -> Result<(KeyHash, Tag), Code> {
        let text = str::from_utf8(credential).map_err(|_| Code::KeyMalformed)?;
        if let Ok(key) = ApiKey::parse(text, self.environment) {
            return Ok((key.hash(), key.tag()));
        }
        if !self.auth.foreign_keys || !is_foreign(text) {
            return Err(Code::KeyMalformed);
        }
        let hash = KeyHash::of(text);
        Ok((hash, hash.imported_tag()))
    }

    /// Whether a credential has the form of our own keys of this environment.
    #[must_use]
    pub fn is_own_key(&self, credential: &[u8]) -> bool {
        let text = str::from_utf8(credential);
        text.is_ok_and(|text| ApiKey::parse(text, self.environment).is_ok())
    }

    /// Whether a header is to be taken away before the request goes upstream: with `hideCredentials`, each that
    /// holds a key by any source, used or not.
    #[must_use]
    pub fn hides(&self, name: &[u8], value: &[u8]) -> bool {
        let holds = |source: &KeySource| source.in_header(name, value).is_some();
        self.auth.hide_credentials && self.auth.sources.iter().any(holds)
    }

    /// The `:path` to send upstream instead, when with `hideCredentials` its query holds a parameter
    /// meant for a key; all others keep their place and spelling.
    #[must_use]
    pub fn path_without_credentials(&self, path_and_query: &[u8]) -> Option<Vec<u8>> {
        let (path, query) = split_query(path_and_query);
        let is_key = |parameter: &&[u8]| {
            self.auth.sources.iter().any(|source| match source {
                KeySource::Query { name } => names(parameter, name),
                KeySource::Header { .. } => false,
            })
        };
        if !self.auth.hide_credentials || !parameters(query).any(|parameter| is_key(&parameter)) {
            return None;
        }
        let kept: Vec<&[u8]> = parameters(query)
            .filter(|parameter| !is_key(parameter))
            .collect();
        let mut rewritten = path.to_vec();
        if !kept.is_empty() {
            rewritten.push(b'?');
            rewritten.extend(kept.join(&b'&'));
        }
        Some(rewritten)
    }

    /// Whether the request is a CORS preflight that passes without a key.
    #[must_use]
    pub fn passes_preflight<N, V>(&self, method: &[u8], headers: &[(N, V)]) -> bool
    where
        N: AsRef<[u8]>,
    {
        let has = |wanted: &[u8]| headers.iter().any(|(name, _)| name.as_ref() == wanted);
        self.auth.allow_preflight
            && method == b"OPTIONS"
            && has(b"origin")
            && has(b"access-control-request-method")
    }
}

/// Whether a text may be a key that was imported: not one of ours with a mistake in it.
fn is_foreign(text: &str) -> bool {
    let is_ours = [Environment::Live, Environment::Test]
        .iter()
        .any(|environment| text.starts_with(environment.prefix()));
    !is_ours && text.len() <= FOREIGN_KEY_MAX_BYTES
}

/// What follows `scheme` and at least one space, or nothing when it ends there.
fn after_scheme<'h>(value: &'h [u8], scheme: &str) -> Option<&'h [u8]> {
    let value = value.trim_ascii();
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let ends = rest.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    (ends && start.eq_ignore_ascii_case(scheme.as_bytes())).then(|| rest.trim_ascii_start())
}

fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&')
}

fn name_of(parameter: &[u8]) -> &[u8] {
    parameter
        .split(|byte| *byte == b'=')
        .next()
        .unwrap_or_default()
}

fn value_of(parameter: &[u8]) -> &[u8] {
    parameter
        .get(name_of(parameter).len() + 1..)
        .unwrap_or_default()
}

/// Whether the parameter's name, decoded, is `name`: hiding must know every spelling.
fn names(parameter: &[u8], name: &str) -> bool {
    let mut rest = name_of(parameter);
    let mut wanted = name.bytes();
    loop {
        let (byte, length) = match rest {
            [] => return wanted.next().is_none(),
            [b'%', high, low, ..] => match decode(&[*high, *low]) {
                Some(byte) => (byte, 3),
                None => (b'%', 1),
            },
            [byte, ..] => (*byte, 1),
        };
        if wanted.next() != Some(byte) {
            return false;
        }
        rest = &rest[length..];
    }
}

/// Headers that carry the request itself, or what only Tollgate may say.
const RESERVED: [&str; 5] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
];

impl Auth {
    /// The `WWW-Authenticate` that tells a client how to send a key: by the first scheme, if any.
    pub(super) fn challenge(&self) -> String {
        let scheme = self.sources.iter().find_map(|source| match source {
            KeySource::Header { scheme, .. } => scheme.as_deref(),
            KeySource::Query { .. } => None,
        });
        format!("{} realm=\"tollgate\"", scheme.unwrap_or("ApiKey"))
    }

    pub(super) fn default_sources() -> Vec<KeySource> {
        vec![
            KeySource::Header {
                name: "authorization".into(),
                scheme: Some("Bearer".into()),
            },
            KeySource::Header {
                name: "x-api-key".into(),
                scheme: None,
            },
            KeySource::Query {
                name: "api_key".into(),
            },
        ]
    }

    pub(super) fn read_sources(node: &Node<'_>) -> Option<Vec<KeySource>> {
        let nodes = node.list(1..=KEY_SOURCES_MAX)?;
        let sources: Vec<Option<KeySource>> = nodes.iter().map(read_source).collect();
        let mut distinct = true;
        for (at, source) in sources.iter().enumerate() {
            let Some(source) = source else { continue };
            if sources[..at]
                .iter()
                .flatten()
                .any(|earlier| hides_behind(source, earlier))
            {
                nodes[at].mistake("is never reached: an earlier source takes its keys");
                distinct = false;
            }
        }
        let sources = sources.into_iter().collect::<Option<Vec<_>>>()?;
        distinct.then_some(sources)
    }
}

/// Whether `earlier` takes every key that `source` could.
fn hides_behind(source: &KeySource, earlier: &KeySource) -> bool {
    match (source, earlier) {
        (
            KeySource::Header { name, scheme },
            KeySource::Header {
                name: earlier_name,
                scheme: earlier_scheme,
            },
        ) => {
            let same_scheme = |earlier: &str| {
                scheme
                    .as_ref()
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case(earlier))
            };
            name == earlier_name && earlier_scheme.as_deref().is_none_or(same_scheme)
        }
        (KeySource::Query { name }, KeySource::Query { name: earlier }) => name == earlier,
        (KeySource::Header { .. }, KeySource::Query { .. })
        | (KeySource::Query { .. }, KeySource::Header { .. }) => false,
    }
}

fn read_source(node: &Node<'_>) -> Option<KeySource> {
    let mut object = node.object()?;
    let header = object.take("header");
    let query = object.take("query");
    let source = match (&header, &query) {
        (Some(header), None) => {
            let name = read_header(header);
            let scheme = object.nullable("scheme", None, |node| {
                node.text_of(SCHEME_MAX_BYTES, is_token, "the characters of a scheme")
            });
            name.zip(scheme).map(|(name, scheme)| KeySource::Header {
                name,
                scheme: scheme.map(String::into_boxed_str),
            })
        }
        (None, Some(query)) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            query
                .text_of(FIELD_NAME_MAX_BYTES, plain, "A-Z, a-z, 0-9, _, - and .")
                .map(|name| KeySource::Query { name: name.into() })
        }
        (Some(_), Some(_)) | (None, None) => {
            node.mistake("must have either header or query");
            None
        }
    };
    object.finish();
    source
}

fn read_header(node: &Node<'_>) -> Option<Box<str>> {
    let name = node.text_of(
        FIELD_NAME_MAX_BYTES,
        is_token,
        "the characters of a header name",
    )?;
    let name = name.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) || name.starts_with("x-tollgate-") {
        node.mistake("is a header that cannot carry a key");
        return None;
    }
    Some(name.into())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
