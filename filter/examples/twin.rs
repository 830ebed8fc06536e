//! A filter that makes the host calls of a warm, metered request and nothing else: whatever the real
//! one costs beyond this one is our own work.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

#[allow(
    dead_code,
    unsafe_code,
    unused_imports,
    reason = "a few of the filter's own host calls are made, so that they cost the same"
)]
#[path = "../src/host/mod.rs"]
mod host;

use host::Map;

/// Private, since the macro's start function has no documentation.
mod start {
    proxy_wasm::main! {{
        proxy_wasm::set_http_context(|_, _| Box::new(super::Twin));
    }}
}

struct Twin;

impl Context for Twin {}

impl HttpContext for Twin {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let _ = host::headers(Map::Request);
        let _ = host::monotonic_ms();
        let _ = host::remove_header(Map::Request, b"authorization");
        let identity = b"customer=cus_01K5B3N4Q5R6S7T8V9W0X1Y2Z3, \
            subscription=sub_01K5B3N4Q5R6S7T8V9W0X1Y2Z3, plan=pro, key=key_01K5B3N4Q5R6S7T8V9W0X1Y2Z3";
        let _ = host::add_header(Map::Request, "x-tollgate-identity", identity);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let _ = host::headers(Map::Response);
        let policy = b"\"api_requests\";q=1000000;w=2678400";
        let _ = host::add_header(Map::Response, "ratelimit-policy", policy);
        let state = b"\"api_requests\";r=999999;t=2678399";
        let _ = host::add_header(Map::Response, "ratelimit", state);
        Action::Continue
    }
}
