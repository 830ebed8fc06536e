//! What every route shares: documents in, pages and problems out, limits around.

pub mod authorize;
pub mod document;
pub mod idempotency;
pub mod limits;
pub mod observe;
pub mod openapi;
pub mod page;
