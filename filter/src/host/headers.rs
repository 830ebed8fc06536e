//! Headers of requests and responses, and answers in the upstream's place.

use smallvec::SmallVec;

use super::{Refused, abi};

/// One of Envoy's header maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    /// The request on its way to the upstream.
    Request = 0,
    /// The response on its way to the client.
    Response = 2,
    /// What follows the body of that response.
    ResponseTrailers = 3,
    /// The answer to a call of `dispatch`.
    CallAnswer = 6,
}

/// All headers of a map, fetched in one call and left as they came: names in lower case, a repeated
/// header once per line, pseudo headers with their colon.
#[derive(Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
}

impl Headers {
    /// Names and values in their order. What does not have the host's form ends it.
    pub fn iter(&self) -> impl Iterator<Item = Pair<'_>> + Clone {
        let (sizes, texts) = self.split().unwrap_or_default();
        Pairs { sizes, texts }
    }

    /// Names and values in their order.
    pub fn pairs(&self) -> SmallVec<[Pair<'_>; USUAL_HEADERS]> {
        let mut pairs = SmallVec::new();
        // Collecting takes longer: it reckons with what the iterator does not know.
        for pair in self.iter() {
            pairs.push(pair);
        }
        pairs
    }

    /// The host's form: a count, so many pairs of sizes, so many names and values that each end in a zero byte.
    fn split(&self) -> Option<(&[u8], &[u8])> {
        let (count, rest) = self.bytes.split_first_chunk()?;
        let sizes = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        rest.split_at_checked(sizes.checked_mul(SIZES_OF_PAIR)?)
    }
}

/// So many headers need no memory of their own.
const USUAL_HEADERS: usize = 24;
/// Two sizes of four bytes each.
const SIZES_OF_PAIR: usize = 8;

/// A header's name and value.
pub type Pair<'h> = (&'h [u8], &'h [u8]);

#[derive(Clone)]
struct Pairs<'a> {
    sizes: &'a [u8],
    texts: &'a [u8],
}

impl<'a> Pairs<'a> {
    fn take(&mut self) -> Option<&'a [u8]> {
        let (size, sizes) = self.sizes.split_first_chunk()?;
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        let (text, rest) = self.texts.split_at_checked(size)?;
        self.sizes = sizes;
        self.texts = rest.get(1..)?;
        Some(text)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.take()?, self.take()?))
    }
}

/// All headers of a map.
pub fn headers(map: Map) -> Result<Headers, Refused> {
    abi::bytes(|data, size| unsafe { abi::proxy_get_header_map_pairs(map as u32, data, size) })
        .map(|bytes| Headers { bytes })
}

/// The first line of a header; `None` when it is not there.
pub fn header(map: Map, name: &str) -> Result<Option<Vec<u8>>, Refused> {
    let value = abi::bytes(|data, size| unsafe {
        abi::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    });
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Refused::NotFound) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Adds a header to a map known to be without it, which costs the host less than to look for lines to replace.
pub fn add_header(map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
    abi::call(|| unsafe {
        abi::proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Sets a header in place of all its lines.
pub fn set_header(map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
    abi::call(|| unsafe {
        abi::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes all lines of a header; one that is not there is no mistake.
pub fn remove_header(map: Map, name: &[u8]) -> Result<(), Refused> {
    abi::call(|| unsafe {
        abi::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len())
    })
}

/// Leaves a value with the request, which Envoy calls `wasm.<name>`.
pub fn set_property(name: &str, value: &[u8]) -> Result<(), Refused> {
    abi::call(|| unsafe {
        abi::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Lets a request go on that was paused.
pub fn resume_request() -> Result<(), Refused> {
    abi::call(|| abi::proxy_continue_stream(abi::STREAM_REQUEST))
}

/// Lets a response go on that was paused.
pub fn resume_response() -> Result<(), Refused> {
    abi::call(|| abi::proxy_continue_stream(abi::STREAM_RESPONSE))
}

/// An answer in the upstream's place.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse<'a> {
    /// HTTP status code.
    pub status: u16,
    /// Status for a request that is gRPC: that gets trailers alone, and the body as their message.
    pub grpc_status: u8,
    /// What the access log says of it: `%RESPONSE_CODE_DETAILS%`.
    pub details: &'a str,
    /// Its headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: &'a [u8],
}

/// Answers the request, which then never reaches the upstream.
pub fn send_local_response(response: &LocalResponse<'_>) -> Result<(), Refused> {
    let headers = serialize(response.headers);
    abi::call(|| unsafe {
        abi::proxy_send_local_response(
            u32::from(response.status),
            response.details.as_ptr(),
            response.details.len(),
            response.body.as_ptr(),
            response.body.len(),
            headers.as_ptr(),
            headers.len(),
            i32::from(response.grpc_status),
        )
    })
}

fn serialize(headers: &[(&str, &str)]) -> Vec<u8> {
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    let mut bytes = count.to_le_bytes().to_vec();
    for (name, value) in headers {
        bytes.extend(size(name));
        bytes.extend(size(value));
    }
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
