//! A chain's access document, and whether it is the newest.

use std::rc::Rc;

use super::{Chain, Settlement};
use crate::contract::AccessDocument;
use crate::contract::answer::Receipt;

impl Chain {
    /// The document, unless it changed since it was read.
    #[must_use]
    pub const fn document(&self) -> Option<&Rc<AccessDocument>> {
        if self.stale {
            None
        } else {
            self.document.as_ref()
        }
    }

    /// The document even if a newer one is known to exist, for a time without Redis.
    #[must_use]
    pub const fn last_document(&self) -> Option<&Rc<AccessDocument>> {
        self.document.as_ref()
    }

    /// Version of the document the worker has, 0 for none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.document
            .as_ref()
            .map_or(0, |document| document.version)
    }

    /// Notes that the document changed to `version`.
    pub fn changed(&mut self, version: u64) {
        if version > self.version() {
            self.stale = true;
        }
    }

    /// Length of the document as it came, 0 for none.
    #[must_use]
    pub const fn document_bytes(&self) -> usize {
        self.document_bytes
    }

    /// Lets go of the document; whoever needs it asks for it.
    pub fn forget_document(&mut self) {
        self.document = None;
        self.document_bytes = 0;
        self.stale = true;
    }

    pub(super) fn read_document(&mut self, receipt: &Receipt<'_>) -> Settlement {
        if let Some(bytes) = receipt.document {
            let Ok(document) = serde_json::from_slice::<AccessDocument>(bytes) else {
                return Settlement::BadDocument;
            };
            self.adopt(document);
            self.document_bytes = bytes.len();
        }
        self.stale = self.document.is_none() || self.version() != receipt.version;
        Settlement::Counted
    }

    fn adopt(&mut self, document: AccessDocument) {
        for window in &mut self.windows {
            if let Some(described) = document.window(window.epoch, &window.meter, window.start_ms) {
                window.describe(described);
            }
            window.ask_again();
        }
        self.document = Some(Rc::new(document));
    }
}
