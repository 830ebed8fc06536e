//! Everything the filter asks of Envoy, each call with the reason when it is refused.
//!
//! The SDK's own wrappers panic on a status they do not expect, and a panic takes down every
//! request of the worker. So the calls are made directly, and none of them panics whatever Envoy
//! answers. Nothing outside this folder makes a host call or reads a clock.

mod abi;
mod calls;
mod headers;
mod metric;
mod system;

use std::fmt;

pub use calls::{CallEnd, WakeUp, dispatch, end_of_call};
pub use headers::{
    Headers, LocalResponse, Map, Pair, add_header, header, headers, remove_header, resume_request,
    resume_response, send_local_response, set_header, set_property,
};
pub use metric::{MetricId, MetricKind, define_metric, increment_metric, record_metric};
pub use proxy_wasm::types::LogLevel;
pub use system::{environment_variable, monotonic_ms, random_bytes, unix_ms};

/// Why Envoy refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What was named is not there.
    NotFound,
    /// An argument does not fit, or what it names is gone.
    BadArgument,
    /// Envoy could not do it now.
    Internal,
    /// A queue has nothing to take.
    Empty,
    /// Any other status of Proxy-WASM.
    Status(u32),
    /// An error number of WASI.
    Errno(u16),
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => formatter.write_str("not found"),
            Self::BadArgument => formatter.write_str("bad argument"),
            Self::Internal => formatter.write_str("internal failure"),
            Self::Empty => formatter.write_str("empty"),
            Self::Status(status) => write!(formatter, "status {status}"),
            Self::Errno(errno) => write!(formatter, "error number {errno}"),
        }
    }
}

impl std::error::Error for Refused {}

/// A context of this VM: a request's, or the root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextId(pub u32);

/// Makes the host calls of `act` for another context than the one that was called.
///
/// `Refused::BadArgument` means that the context is gone, and `act` did not run.
pub fn on_behalf_of<R>(context: ContextId, act: impl FnOnce() -> R) -> Result<R, Refused> {
    abi::call(|| abi::proxy_set_effective_context(context.0))?;
    let result = act();
    // 0 is no context: calls belong to the one that was called again.
    abi::call(|| abi::proxy_set_effective_context(0))?;
    Ok(result)
}

/// Writes a line into Envoy's log.
pub fn log(level: LogLevel, message: &str) {
    // There is nowhere to tell that the log refused.
    let _ = abi::call(|| unsafe { abi::proxy_log(level as u32, message.as_ptr(), message.len()) });
}

/// Makes a panic write where it happened into Envoy's log before it ends the VM.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log(LogLevel::Critical, &panic.to_string())
    }));
}

/// The plugin's configuration, of `size` bytes.
pub fn configuration(size: usize) -> Result<Vec<u8>, Refused> {
    abi::buffer(abi::BUFFER_PLUGIN_CONFIGURATION, 0, size)
}

/// Up to `size` bytes of what has come of the response's body, from `start` on.
pub fn response_body(start: usize, size: usize) -> Result<Vec<u8>, Refused> {
    abi::buffer(abi::BUFFER_RESPONSE_BODY, start, size)
}

/// Puts `bytes` in the place of all that has come of the response's body, which is `size` bytes.
pub fn replace_response_body(size: usize, bytes: &[u8]) -> Result<(), Refused> {
    set_response_body(size, bytes)
}

/// Puts `bytes` before what has come of the response's body.
pub fn prepend_response_body(bytes: &[u8]) -> Result<(), Refused> {
    set_response_body(0, bytes)
}

fn set_response_body(size: usize, bytes: &[u8]) -> Result<(), Refused> {
    abi::call(|| unsafe {
        abi::proxy_set_buffer_bytes(
            abi::BUFFER_RESPONSE_BODY,
            0,
            size,
            bytes.as_ptr(),
            bytes.len(),
        )
    })
}

/// Sets how often the root context ticks, in milliseconds; 0 stops it.
pub fn set_tick_period(period_ms: u64) -> Result<(), Refused> {
    abi::call(|| {
        abi::proxy_set_tick_period_milliseconds(u32::try_from(period_ms).unwrap_or(u32::MAX))
    })
}

/// Tells Envoy that the context which answered `false` to `on_done` has finished.
pub fn done() -> Result<(), Refused> {
    abi::call(|| abi::proxy_done())
}
