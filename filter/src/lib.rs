//! The Envoy filter: hands what happens to `tollgate_engine` and does what it answers.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(
    unsafe_code,
    reason = "Envoy's functions are foreign; each gets pointer and length of one slice"
)]
pub mod host;
pub mod metrics;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

/// Private, since the macro's start function has no documentation.
mod start {
    proxy_wasm::main! {{
        crate::host::log_panics();
        proxy_wasm::set_root_context(|_| Box::new(super::Root));
    }}
}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    // Without a type, the SDK panics on the first request.
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http))
    }
}

struct Http;

impl Context for Http {}

impl HttpContext for Http {}
