//! What a client, an upstream and an operator see, on real Envoys with the filter and a real Redis.
//!
//! Each module tries to break one kind of promise; the tests run one at a time, since each loads the machine.
//!
//! What must hold of the edge, and what tries to break it. Tests count at the upstream, in Redis and, with a control
//! plane, in the ledger; what is let through beyond a limit and what is lost is printed.
//!
//! | | broken by | in |
//! | --- | --- | --- |
//! | E1 | two gateways of two workers on one key; kill -9; every kind of bad network; wrong clocks; a partition | `limits`, `kills`, `network`, `clocks`, `partition`, `exact` |
//! | E2 | demand that goes on after each of these gets exactly the limit, less what the dead hold | `limits`, `network`, `partition`, `redis`, `kills` |
//! | E3 | lost, late, short and garbled answers; reloads; then counters equal what the upstream saw | `network`, `configuration`, `partition`, `exact` |
//! | E4 | calls that arrive twice, at once or later; forgotten scripts; simulated loss patterns | `network`, `redis`, the test `simulation` |
//! | E5 | kill -9 of a gateway, alone and together with Redis | `kills`, `deaths`, `exact` |
//! | E6 | revocations under load, and amid ten thousand keys that change | `control_plane`, `storm` |
//! | E7 | three days without the control plane, kills of it under load, a broken database | `absence`, `control_plane` |
//! | E8 | Redis refuses, falls silent, pauses, is not filled; allowances to the unit; how often it is asked | `offline`, `redis`, `network` |
//! | E9 | garbage from clients, Redis and the configuration; answers without end; ten thousand keys | `garbage`, `network`, `storm`, `configuration`, the engine's test `fuzz` |
//! | E10 | forged headers in every spelling; keys that differ in one byte; other environments; two keys at once | `requests::forged`, `requests::credentials`, `requests::refusals` |
//! | E11 | Redis is killed, comes back empty or older, alone and together with a gateway | `redis`, `deaths`, the test `simulation` |

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod absence;
mod clocks;
mod configuration;
mod control_plane;
mod customer;
mod deaths;
mod exact;
mod garbage;
mod imported;
mod kills;
mod limits;
mod load;
mod network;
mod offline;
mod partition;
mod paying;
mod rates;
mod readme;
mod redis;
mod requests;
mod sandbox;
mod shop;
mod storm;
mod world;
