//! What of gRPC matters here: which messages are its own, and their statuses.

/// The trailer with the status; in a response without a body it stands among the headers.
pub const STATUS: &str = "grpc-status";

/// Whether a `content-type` is that of gRPC, as Envoy has it: gRPC-Web is another protocol.
#[must_use]
pub fn is_content_type(value: &[u8]) -> bool {
    let rest = value.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// A status of gRPC, from 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrpcStatus(u8);

impl GrpcStatus {
    /// Greatest status there is.
    pub const LAST: u8 = 16;

    /// All went well.
    pub const OK: Self = Self(0);
    /// The stream was broken off before its status.
    pub const CANCELLED: Self = Self(1);
    /// None that gRPC knows.
    pub const UNKNOWN: Self = Self(2);
    /// The request is not what it should be.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// Whoever asks may not.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// Nothing is left.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Not now.
    pub const UNAVAILABLE: Self = Self(14);
    /// Nobody knows who asks.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The status of this number, if there is one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::LAST {
            Some(Self(number))
        } else {
            None
        }
    }

    /// What a trailer says; [`GrpcStatus::UNKNOWN`] when that is no status.
    #[must_use]
    pub fn read(value: &[u8]) -> Self {
        let number = str::from_utf8(value.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok());
        number.and_then(Self::new).unwrap_or(Self::UNKNOWN)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg_attr(not(target_arch = "wasm32"), test)]
    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    fn content_types_and_statuses_are_read_as_envoy_and_grpc_do() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_content_type(value.as_bytes()), expected, "{value}");
        }
        for (value, expected) in [
            ("0", 0),
            (" 8 ", 8),
            ("16", 16),
            ("17", 2),
            ("-1", 2),
            ("", 2),
            ("ok", 2),
        ] {
            let status = GrpcStatus::read(value.as_bytes());
            assert_eq!(status.number(), expected, "{value}");
        }
    }
}
