//! JSON documents: read with paths, then checked with every mistake told at once.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::app::App;
use crate::error::{Error, Result, Violation};

/// Mistakes told for one document; what follows is left out.
const MISTAKES_MAX: usize = 100;

/// A document that can be sent.
pub trait Document: DeserializeOwned {
    /// Names of fields, at any depth, that other products' documents have and that mean nothing
    /// here: they are ignored where every other unknown field is refused.
    const TOLERATED: &'static [&'static str] = &[];
}

/// The document of a request that has none: an empty body or `{}`.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::ToSchema)]
pub struct Nothing {}

impl Document for Nothing {}

/// A place in a document, shown as a JSONPath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self("$".to_owned())
    }

    /// A field of the object at this place.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut place = String::with_capacity(self.0.len() + 1 + name.len());
        place.push_str(&self.0);
        place.push('.');
        place.push_str(name);
        Self(place)
    }

    /// An item of the array at this place.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{self}[{index}]"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The mistakes found in a document so far.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Violation>);

impl Mistakes {
    /// Notes one mistake.
    pub fn add(&mut self, place: &Place, code: &'static str, detail: impl Into<String>) {
        if self.0.len() < MISTAKES_MAX {
            let (code, path) = (Cow::Borrowed(code), place.to_string());
            self.0.push(Violation {
                code,
                path,
                detail: detail.into(),
            });
        }
    }

    /// Notes what another look found.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
        self.0.truncate(MISTAKES_MAX);
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses if anything is wrong.
    ///
    /// # Errors
    /// With every mistake.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid(self.0))
        }
    }
}

/// A document of the right shape whose rules are not checked yet: [`Unchecked::check`] is the only
/// way to what is in it.
#[derive(Debug)]
pub struct Unchecked<D> {
    document: D,
    unknown_fields: Mistakes,
}

impl<D> Unchecked<D> {
    /// Turns the document into what it stands for, or tells all its mistakes.
    ///
    /// `rule` notes each mistake it finds and gives a value when there was none.
    ///
    /// # Errors
    /// When a rule is broken or a field is unknown.
    pub fn check<T>(self, rule: impl FnOnce(D, &mut Mistakes) -> Option<T>) -> Result<T> {
        let mut mistakes = self.unknown_fields;
        let checked = rule(self.document, &mut mistakes);
        mistakes.finish()?;
        checked.ok_or_else(|| Error::internal(anyhow::anyhow!("a rule refused without a reason")))
    }
}

/// Reads a document; a body of no bytes is read as `{}`.
///
/// # Errors
/// When it is not JSON or a value has the wrong type; unknown fields are told by `check`.
pub fn read<D: Document>(body: &[u8]) -> Result<Unchecked<D>> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let mut unknown_fields = Mistakes::default();
    let document = serde_ignored::deserialize(
        serde_path_to_error::Deserializer::new(&mut json, &mut track),
        |path| note_unknown(&path, D::TOLERATED, &mut unknown_fields),
    );
    let document: D = match document.and_then(|document| json.end().map(|()| document)) {
        Ok(document) => document,
        Err(error) => return Err(shape_error(&track.path(), &error)),
    };
    Ok(Unchecked {
        document,
        unknown_fields,
    })
}

/// What is said of a text that is no document at all.
pub(crate) fn no_json() -> Error {
    let mut mistakes = Mistakes::default();
    mistakes.add(&Place::root(), "invalid_json", "there is no JSON here");
    Error::invalid(mistakes.0)
}

fn note_unknown(path: &serde_ignored::Path<'_>, tolerated: &[&str], mistakes: &mut Mistakes) {
    let serde_ignored::Path::Map { key, .. } = path else {
        return;
    };
    if !tolerated.contains(&key.as_str()) {
        mistakes.add(
            &place_of(path),
            "unknown_field",
            format!("{key} is not a field of this"),
        );
    }
}

fn place_of(path: &serde_ignored::Path<'_>) -> Place {
    use serde_ignored::Path;
    match path {
        Path::Root => Place::root(),
        Path::Seq { parent, index } => place_of(parent).index(*index),
        Path::Map { parent, key } => place_of(parent).field(key),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => place_of(parent),
    }
}

fn shape_error(path: &serde_path_to_error::Path, error: &serde_json::Error) -> Error {
    use serde_path_to_error::Segment;
    let place = path
        .iter()
        .fold(Place::root(), |place, segment| match segment {
            Segment::Seq { index } => place.index(*index),
            Segment::Map { key } => place.field(key),
            Segment::Enum { .. } | Segment::Unknown => place,
        });
    let code = if error.is_data() {
        "invalid_type"
    } else {
        "invalid_json"
    };
    let mut mistakes = Mistakes::default();
    mistakes.add(&place, code, error.to_string());
    Error::invalid(mistakes.0)
}

impl<D: Document> FromRequest<App> for Unchecked<D> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        read(&body_of(request, app).await?)
    }
}

/// The body of a request, within the configured length, and JSON if there is any.
pub(crate) async fn body_of(request: Request, app: &App) -> Result<Bytes> {
    let max_bytes = app.config.server.body_max_bytes;
    let json = is_json(request.headers());
    let body = axum::body::to_bytes(request.into_body(), max_bytes)
        .await
        .map_err(|_| Error::body_too_large(max_bytes))?;
    if body.is_empty() || json {
        Ok(body)
    } else {
        Err(Error::not_json())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let Some(content_type) = content_type else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The query of a request; a parameter that is unknown or does not fit is refused.
#[derive(Clone, Copy, Debug)]
pub struct Query<Q>(pub Q);

impl<Q: DeserializeOwned> FromRequestParts<App> for Query<Q> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Error::invalid_request("invalid_query", rejection.body_text()))
    }
}

/// Text that a document may also write as a number: `"1000"` or `1000`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(D::Error::custom("expected a number or a decimal string")),
        }
    }
}
