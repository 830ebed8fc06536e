//! A client of Envoy, the control plane and Envoy's admin port.

use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Connections are kept and used again: requests one after another go to one worker of Envoy.
    Kept,
    /// Each request takes a connection of its own: requests are spread over Envoy's workers.
    Fresh,
}

/// An HTTP client for one server.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    base: String,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, read as UTF-8.
    pub body: String,
}

impl HttpClient {
    /// A client for the server at `base`, such as `http://127.0.0.1:10000`.
    ///
    /// # Panics
    /// When the TLS library cannot be initialised, which is not used.
    #[must_use]
    pub fn new(base: impl Into<String>, connections: Connections) -> Self {
        let idle = match connections {
            Connections::Kept => usize::MAX,
            Connections::Fresh => 0,
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(idle)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without TLS can be built");
        Self {
            client,
            base: base.into(),
        }
    }

    /// The server's address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to add headers and a body to; [`send`] sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Gets `path` with an API key as bearer token.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get_with_key(&self, path: &str, key: &str) -> reqwest::Result<Answer> {
        send(self.request(Method::GET, path).bearer_auth(key)).await
    }

    /// Gets `path` without credentials.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        send(self.request(Method::GET, path)).await
    }

    /// Gets a target exactly as it is spelled, where other clients would tidy up, with these header lines.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get_as_spelled(&self, target: &str, headers: &[&str]) -> io::Result<Answer> {
        let host = self.base.trim_start_matches("http://");
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for line in headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let exchange = async {
            let mut stream = TcpStream::connect(host).await?;
            stream.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            // A server may leave the connection open for a while to be read out.
            while !Answer::is_whole(&answer) && stream.read_buf(&mut answer).await? > 0 {}
            Ok::<_, io::Error>(answer)
        };
        let answer = timeout(TIMEOUT, exchange).await??;
        let text = String::from_utf8_lossy(&answer);
        Answer::read(&text).ok_or_else(|| io::Error::other(text.into_owned()))
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// When no whole answer comes.
pub async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await?,
    })
}

impl Answer {
    /// Whether an answer of HTTP/1.1 has as much body as it says.
    fn is_whole(bytes: &[u8]) -> bool {
        let answer = Self::read(&String::from_utf8_lossy(bytes));
        answer.is_some_and(|answer| {
            let length = answer.header("content-length").parse();
            length.is_ok_and(|length: usize| answer.body.len() >= length)
        })
    }

    /// An answer of HTTP/1.1 whose body ends with it.
    fn read(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (status_line, lines) = head.split_once("\r\n")?;
        let mut headers = HeaderMap::new();
        for line in lines.lines() {
            let (name, value) = line.split_once(": ")?;
            let name: HeaderName = name.parse().ok()?;
            headers.append(name, HeaderValue::from_str(value).ok()?);
        }
        Some(Self {
            status: status_line.split(' ').nth(1)?.parse().ok()?,
            headers,
            body: body.to_owned(),
        })
    }

    /// The body as JSON, `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header's first value, empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or_default())
    }

    /// The `code` of a problem document, empty for any other body.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Answer {
    /// Status, headers and body, without credentials.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "HTTP {}", self.status)?;
        for (name, value) in self
            .headers
            .iter()
            .filter(|(name, _)| *name != AUTHORIZATION)
        {
            writeln!(
                formatter,
                "{name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            )?;
        }
        write!(formatter, "\n{}", self.body)
    }
}
