//! The form of a page. Whatever is put into one is escaped here.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::http::observe::HTML;

/// How pages look.
pub(super) const STYLE: &str = include_str!("style.css");

/// Nothing may be loaded but our style, nothing sent but to us, and nobody may frame a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// A page under construction.
#[derive(Debug)]
pub(super) struct Page {
    title: &'static str,
    body: String,
    head: &'static str,
}

impl Page {
    pub(super) fn new(title: &'static str) -> Self {
        Self {
            title,
            body: String::new(),
            head: "",
        }
    }

    /// A page that loads itself again after two seconds.
    pub(super) fn waiting(title: &'static str) -> Self {
        Self {
            head: "<meta http-equiv=\"refresh\" content=\"2\">\n",
            ..Self::new(title)
        }
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        let _ = writeln!(self.body, "<p>{}</p>", escape(text));
        self
    }

    /// A secret, on a line of its own and selected by one click.
    pub(super) fn secret(mut self, label: &str, secret: &str) -> Self {
        let (label, secret) = (escape(label), escape(secret));
        let _ = writeln!(
            self.body,
            "<p>{label}</p>\n<p><code id=\"api-key\">{secret}</code></p>"
        );
        self
    }

    /// A button that posts an empty form.
    pub(super) fn button(mut self, label: &str, action: &str) -> Self {
        let (label, action) = (escape(label), escape(action));
        let _ = writeln!(
            self.body,
            "<form method=\"post\" action=\"{action}\"><button type=\"submit\">{label}</button></form>"
        );
        self
    }

    pub(super) fn link(mut self, label: &str, url: &str) -> Self {
        let (label, url) = (escape(label), escape(url));
        let _ = writeln!(self.body, "<p><a href=\"{url}\">{label}</a></p>");
        self
    }

    fn html(&self) -> String {
        let (title, head, body) = (self.title, self.head, &self.body);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n{head}\
             <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/portal/style.css\">\n</head>\n\
             <body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
        )
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.html()));
        protect(&mut response);
        response.headers_mut().insert(header::CONTENT_TYPE, HTML);
        response
    }
}

/// Keeps an answer out of caches, frames and referrers.
pub(super) fn protect(response: &mut Response) {
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
}

/// Text that means the same between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_stays_text() {
        let page = Page::new("Title")
            .text("<script>\"&'")
            .link("a", "https://x/?a=\"b\"&c");
        let html = page.html();
        assert!(
            html.contains("<p>&lt;script&gt;&quot;&amp;&#39;</p>"),
            "{html}"
        );
        assert!(
            html.contains("href=\"https://x/?a=&quot;b&quot;&amp;c\""),
            "{html}"
        );
    }
}
