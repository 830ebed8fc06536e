//! A chain's access document, and whether it is the newest.

use super::{Chain, Settlement};
use crate::contract::AccessDocument;
use crate::contract::answer::Receipt;
use crate::lease::Window;
use crate::packed::{self, pack_fields};

/// What a window's id and meter take, in bytes.
const WINDOW_TEXTS_BYTES: usize = 128;

/// An access document in few bytes: it is read anew by whoever needs more of it than its version.
#[derive(Clone, Debug)]
pub(super) struct PackedDocument {
    version: u64,
    bytes: Box<[u8]>,
}

pack_fields!(PackedDocument: version, bytes);

impl Chain {
    /// Version of the document, unless it changed since it was read.
    #[must_use]
    pub fn document_version(&self) -> Option<u64> {
        self.last_document_version().filter(|_| !self.stale)
    }

    /// Version of the document even if a newer one is known to exist, for a time without Redis.
    #[must_use]
    pub fn last_document_version(&self) -> Option<u64> {
        self.document.as_ref().map(|document| document.version)
    }

    /// The document even if a newer one is known to exist.
    #[must_use]
    pub fn last_document(&self) -> Option<AccessDocument> {
        packed::unpack(&self.document.as_ref()?.bytes, &self.id)
    }

    /// Notes that the document changed to `version`.
    pub fn changed(&mut self, version: u64) {
        if version > self.last_document_version().unwrap_or(0) {
            self.stale = true;
        }
    }

    /// What the document takes, in bytes.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        self.document
            .as_ref()
            .map_or(0, |document| document.bytes.len())
    }

    /// What the chain takes about, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let windows = self.windows.len() * (size_of::<Window>() + WINDOW_TEXTS_BYTES);
        size_of::<Self>() + windows + self.document_bytes()
    }

    /// Lets go of the document; whoever needs it asks for it.
    pub fn forget_document(&mut self) {
        self.document = None;
        self.stale = true;
    }

    pub(super) fn read_document(&mut self, receipt: &Receipt<'_>) -> Settlement {
        if let Some(bytes) = receipt.document {
            let Ok(document) = serde_json::from_slice::<AccessDocument>(bytes) else {
                return Settlement::BadDocument;
            };
            self.adopt(&document);
        }
        self.stale = self.last_document_version() != Some(receipt.version);
        Settlement::Counted
    }

    fn adopt(&mut self, document: &AccessDocument) {
        for window in &mut self.windows {
            if let Some(described) = document.window(window.epoch, &window.meter, window.start_ms) {
                window.describe(described);
            }
            window.ask_again();
        }
        self.document = Some(PackedDocument {
            version: document.version,
            bytes: packed::pack(document, &self.id),
        });
    }
}
