//! How a worker packs what it keeps of documents and calls.

use super::call::{Bounds, ClaimChange, ClaimCost, Funding};
use super::{AccessDocument, Block, BlockCode, Entitlement, Term, Window};
use crate::packed::{Pack, Packer, Unpacker, pack_fields, pack_variants};
use crate::units::Units;

pack_variants!(Funding: Leased = 0, Unleased = 1);
pack_variants!(Bounds: Within = 0, Beyond = 1);
pack_variants!(ClaimChange: Finished = 0, GivenBack = 1, Kept = 2);
pack_fields!(ClaimCost: window, milli, least);

pack_fields!(AccessDocument: chain, version, customer, block, terms);
pack_fields!(Block: from_ms, code);
pack_variants!(BlockCode: PaymentRequired = 0, PaymentOverdue = 1, PaymentUncollectible = 2);
pack_fields!(Term: from_ms, to_ms, epoch, subscription, plan, entitlements);
pack_fields!(Window: start_ms, end_ms, included, limit, carried);

impl Pack for Entitlement {
    fn pack<'v>(&'v self, to: &mut Packer<'v>) {
        match self {
            Self::Metered { windows } => {
                0_u64.pack(to);
                windows.pack(to);
            }
            Self::Boolean => 1_u64.pack(to),
            Self::RateLimit {
                units,
                per_ms,
                burst,
            } => {
                2_u64.pack(to);
                units.pack(to);
                per_ms.pack(to);
                burst.pack(to);
            }
            Self::Static { config } => {
                3_u64.pack(to);
                config.pack(to);
            }
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(match u64::unpack(from)? {
            0 => Self::Metered {
                windows: Vec::unpack(from)?,
            },
            1 => Self::Boolean,
            2 => Self::RateLimit {
                units: Units::unpack(from)?,
                per_ms: u64::unpack(from)?,
                burst: Units::unpack(from)?,
            },
            3 => Self::Static {
                config: serde_json::Value::unpack(from)?,
            },
            _ => return None,
        })
    }
}
