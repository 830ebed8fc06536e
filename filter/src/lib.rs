//! The Envoy filter: hands what happens to `tollgate_engine` and does what it answers.

use proxy_wasm::traits::{Context, RootContext};

/// Private, since the macro's start function has no documentation.
mod start {
    proxy_wasm::main! {{
        proxy_wasm::set_root_context(|_| Box::new(super::Root));
    }}
}

struct Root;

impl Context for Root {}

impl RootContext for Root {}
