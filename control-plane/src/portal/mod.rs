//! Web pages for customers: small, without scripts, each complete in itself.

mod page;
pub mod routes;

use page::Page;
