//! The host's functions as they are, and how their statuses and memory are read.

use std::ptr;

use super::Refused;

pub const BUFFER_RESPONSE_BODY: u32 = 1;
pub const BUFFER_CALL_BODY: u32 = 4;
pub const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;
pub const STREAM_REQUEST: u32 = 0;
pub const STREAM_RESPONSE: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    pub fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    pub safe fn proxy_set_effective_context(context: u32) -> u32;
    pub safe fn proxy_set_tick_period_milliseconds(period_ms: u32) -> u32;
    pub safe fn proxy_done() -> u32;
    pub fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *mut *mut u8,
        data_size: *mut usize,
    ) -> u32;
    pub fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *const u8,
        data_size: usize,
    ) -> u32;
    pub fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, data_size: *mut usize) -> u32;
    pub fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        data_size: *mut usize,
    ) -> u32;
    pub fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    pub fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    pub fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    pub fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    pub safe fn proxy_continue_stream(stream: u32) -> u32;
    pub fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    pub fn proxy_register_shared_queue(name: *const u8, name_size: usize, queue: *mut u32) -> u32;
    pub fn proxy_enqueue_shared_queue(queue: u32, value: *const u8, value_size: usize) -> u32;
    pub fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, data_size: *mut usize)
    -> u32;
    pub fn proxy_define_metric(
        kind: u32,
        name: *const u8,
        name_size: usize,
        metric: *mut u32,
    ) -> u32;
    pub safe fn proxy_increment_metric(metric: u32, offset: i64) -> u32;
    pub safe fn proxy_record_metric(metric: u32, value: u64) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub fn clock_time_get(clock: u32, precision_ns: u64, time_ns: *mut u64) -> u32;
    pub fn random_get(bytes: *mut u8, size: usize) -> u32;
    pub fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    pub fn environ_get(entries: *mut *mut u8, bytes: *mut u8) -> u32;
}

/// Makes a call of Proxy-WASM and reads its status.
pub fn call(host: impl FnOnce() -> u32) -> Result<(), Refused> {
    match host() {
        0 => Ok(()),
        1 => Err(Refused::NotFound),
        2 => Err(Refused::BadArgument),
        7 => Err(Refused::Empty),
        10 => Err(Refused::Internal),
        status => Err(Refused::Status(status)),
    }
}

/// Makes a call of WASI and reads its error number.
pub fn wasi(host: impl FnOnce() -> u32) -> Result<(), Refused> {
    match host() {
        0 => Ok(()),
        errno => Err(Refused::Errno(u16::try_from(errno).unwrap_or(u16::MAX))),
    }
}

/// Makes a call that answers with bytes, which the host has put into this VM's memory.
pub fn bytes(host: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Refused> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    call(|| host(&raw mut data, &raw mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host allocated exactly `size` bytes with the SDK's allocator function, a boxed
    // slice of bytes, and leaves them to us.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// Up to `size` bytes of one of the host's buffers, from `start` on.
pub fn buffer(buffer: u32, start: usize, size: usize) -> Result<Vec<u8>, Refused> {
    bytes(|data, data_size| unsafe { proxy_get_buffer_bytes(buffer, start, size, data, data_size) })
}
