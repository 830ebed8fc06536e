//! `meterOnGrpcStatus`: which responses of gRPC count.

use super::read::Node;
use crate::grpc::GrpcStatus;

/// A set of gRPC's statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatuses(u32);

impl Default for GrpcStatuses {
    /// 0 alone.
    fn default() -> Self {
        Self::NONE.with(GrpcStatus::OK)
    }
}

impl GrpcStatuses {
    const NONE: Self = Self(0);

    /// Whether the set has this status.
    #[must_use]
    pub const fn contains(self, status: GrpcStatus) -> bool {
        self.0 & 1 << status.number() != 0
    }

    const fn with(self, status: GrpcStatus) -> Self {
        Self(self.0 | 1 << status.number())
    }

    /// Reads a list of numbers.
    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        let members = node.list(1..=usize::from(GrpcStatus::LAST) + 1)?;
        let read = members.iter().map(|member| {
            let number = member.integer(0..=u64::from(GrpcStatus::LAST))?;
            GrpcStatus::new(u8::try_from(number).ok()?)
        });
        // Collected first, so that every member's mistake is named.
        let read: Vec<Option<GrpcStatus>> = read.collect();
        read.into_iter()
            .try_fold(Self::NONE, |statuses, status| Some(statuses.with(status?)))
    }
}
