//! The API, asked.

use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

use super::{Failure, Target};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Items asked for at a time.
const PAGE: &str = "200";

/// A control plane to ask, with the right to.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    admin_key: String,
}

impl Client {
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        let base = Url::parse(&target.url)
            .ok()
            .filter(|url| !url.cannot_be_a_base());
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let missing = || Failure::BadInput("no admin key: set TOLLGATE_ADMIN_KEY".to_owned());
        Ok(Self {
            http: http.map_err(|error| Failure::Failed(error.to_string()))?,
            base: base.ok_or_else(|| Failure::BadInput(format!("{} is no URL", target.url)))?,
            admin_key: target.admin_key.clone().ok_or_else(missing)?,
        })
    }

    /// What stands at a path of the API, given by its segments.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.send(Method::GET, url, None).await
    }

    /// All items of a list.
    pub(super) async fn list(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            if let Value::Array(more) = page["items"].take() {
                items.extend(more);
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    /// What comes of a document that is sent to a path.
    pub(super) async fn post(&self, path: &[&str], document: &Value) -> Result<Value, Failure> {
        self.send(Method::POST, self.url(path), Some(document))
            .await
    }

    /// The same for a document that is made of a part of another: places of mistakes are given by `place`, as the
    /// other one has them.
    pub(super) async fn post_part(
        &self,
        path: &[&str],
        document: &Value,
        place: impl Fn(&str) -> String,
    ) -> Result<Value, Failure> {
        let answer = self.ask(Method::POST, self.url(path), Some(document));
        let mut answer = answer.await?;
        for error in answer.body["errors"].as_array_mut().into_iter().flatten() {
            if let Some(path) = error["path"].as_str() {
                error["path"] = place(path).into();
            }
        }
        answer.success()
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        document: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask(method, url, document).await?.success()
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        document: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let mut request = self.http.request(method, url).bearer_auth(&self.admin_key);
        if let Some(document) = document {
            request = request.json(document);
        }
        let unreachable = |error: reqwest::Error| {
            Failure::Failed(format!("no answer from {}: {error}", self.base))
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(unreachable)?;
        Ok(Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        })
    }
}

struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn success(self) -> Result<Value, Failure> {
        let Self { status, body } = self;
        match status {
            200..=299 => Ok(body),
            // The document, the query or the name of something is wrong.
            400 | 404 | 413 | 415 | 422 => Err(Failure::BadInput(problem(&body, status))),
            _ => Err(Failure::Failed(problem(&body, status))),
        }
    }
}

/// What an answer that is no success says, a mistake a line.
fn problem(body: &Value, status: u16) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shown = match body["code"].as_str() {
        Some(code) => format!("{} ({code})", text(&body["detail"])),
        None => format!("the answer is {status}: no control plane's"),
    };
    for error in body["errors"].as_array().into_iter().flatten() {
        let (code, path) = (text(&error["code"]), text(&error["path"]));
        shown += &format!("\n  {path}: {} ({code})", text(&error["detail"]));
    }
    shown
}
