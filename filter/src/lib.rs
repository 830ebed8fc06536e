//! The Envoy filter: hands what happens to `tollgate_engine` and does what it answers.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(
    unsafe_code,
    reason = "Envoy's functions are foreign; each gets pointer and length of one slice"
)]
mod host;
mod http;
mod log;
mod metrics;
mod report;
mod root;
mod shared;
mod tail;
mod verdict;

/// Private, since the macro's start function has no documentation.
mod start {
    proxy_wasm::main! {{
        crate::host::log_panics();
        proxy_wasm::set_root_context(|_| Box::new(crate::root::Root::default()));
    }}
}
