//! A real Chromium, driven over WebDriver, in which a test clicks as a person does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Connections, HttpClient, send};
use crate::process::{Process, free_port, on_path, program};
use crate::wait;

/// What WebDriver calls the name of an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A running browser with one window; gone when dropped.
#[derive(Debug)]
pub struct Browser {
    client: HttpClient,
    session: String,
    port: u16,
    _driver: Process,
    _folder: TempDir,
}

impl Browser {
    /// Starts one without a past.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let port = free_port();
        let mut command = Command::new(program("CHROMEDRIVER", on_path("chromedriver")));
        command.arg(format!("--port={port}"));
        let mut driver = Process::start("chromedriver", &mut command, &folder.path().join("log"));
        let client = HttpClient::new(format!("http://127.0.0.1:{port}"), Connections::Kept);
        wait::until("chromedriver", async || {
            if let Some(status) = driver.ended() {
                panic!("chromedriver ended: {status}");
            }
            client.get("/status").await.map(drop)
        })
        .await;
        let made = command_of(&client, Method::POST, "/session", &capabilities(&folder)).await;
        let session = made["sessionId"].as_str().expect("a session has an id");
        Self {
            session: format!("/session/{session}"),
            client,
            port,
            _driver: driver,
            _folder: folder,
        }
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Panics
    /// When it does not load.
    pub async fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    /// Types into the field that a selector of CSS finds.
    ///
    /// # Panics
    /// When there is no such field.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        self.post(&format!("{field}/value"), &json!({ "text": text }))
            .await;
    }

    /// Clicks what a selector of CSS finds; [`Self::arrive`] waits for the page that opens by it.
    ///
    /// # Panics
    /// When there is nothing to click.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("{element}/click"), &json!({})).await;
    }

    /// The text that a person sees in what a selector of CSS finds.
    ///
    /// # Panics
    /// When there is no such thing.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        text(&self.get(&format!("{element}/text")).await)
    }

    /// How many things a selector of CSS finds.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn count(&self, selector: &str) -> usize {
        let found = self.post("/elements", &by_css(selector)).await;
        found.as_array().map_or(0, Vec::len)
    }

    /// Where it is.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn url(&self) -> String {
        text(&self.get("/url").await)
    }

    /// Waits until it is at a page whose address begins so.
    pub async fn arrive(&self, beginning: &str) {
        wait::until("the page", async || {
            let url = self.url().await;
            if url.starts_with(beginning) {
                Ok(())
            } else {
                Err(url)
            }
        })
        .await;
    }

    /// Waits until a selector of CSS finds something.
    pub async fn arrive_at(&self, selector: &str) {
        wait::until(selector, async || {
            if self.count(selector).await > 0 {
                Ok(())
            } else {
                Err(self.source().await)
            }
        })
        .await;
    }

    /// The page with its markup.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn source(&self) -> String {
        text(&self.get("/source").await)
    }

    /// Goes back, as with the button.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn back(&self) {
        self.post("/back", &json!({})).await;
    }

    /// Loads the page again.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn reload(&self) {
        self.post("/refresh", &json!({})).await;
    }

    /// What a script answers, run as if it were the page's own.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
            .await
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.post("/element", &by_css(selector)).await;
        format!("/element/{}", text(&found[ELEMENT]))
    }

    async fn get(&self, path: &str) -> Value {
        command_of(
            &self.client,
            Method::GET,
            &format!("{}{path}", self.session),
            &Value::Null,
        )
        .await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        command_of(
            &self.client,
            Method::POST,
            &format!("{}{path}", self.session),
            body,
        )
        .await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when the session ends, but not when it is killed itself.
        let request = format!(
            "DELETE {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            self.session
        );
        let ended = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.set_read_timeout(Some(wait::PATIENCE))?;
            stream.read(&mut [0; 1024])
        });
        if let Err(error) = ended {
            eprintln!("Chromium was not ended: {error}");
        }
    }
}

/// A command of WebDriver and what it answers.
async fn command_of(client: &HttpClient, method: Method, path: &str, body: &Value) -> Value {
    let mut request = client.request(method, path);
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = send(request).await.expect("chromedriver answers");
    assert_eq!(answer.status, 200, "{path} {body}: {answer}");
    answer.json()["value"].clone()
}

fn by_css(selector: &str) -> Value {
    json!({ "using": "css selector", "value": selector })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn capabilities(folder: &TempDir) -> Value {
    let profile = format!(
        "--user-data-dir={}",
        folder.path().join("profile").display()
    );
    // The sandbox needs what containers do not allow; the pages are ours.
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } })
}
