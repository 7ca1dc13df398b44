//! Forms the cluster of a job's processes, hands its sockets to timely, and notices when a peer is lost.
//!
//! timely's own start-up sleeps a second, believes everybody who calls, and never notices a peer that hangs. Here the
//! processes make their sockets themselves:
//!
//! ```text
//!  every process        process 0, the leader               every process
//!  Listener::bind ──▶ form(Role::Leader { generation, … }) ──▶ gather ──▶ scatter ──▶ start ──▶ run
//!                     form(Role::Follower)                 "what my        "where to            │
//!        ▲                                                  sinks hold"     begin"              │
//!        └──────────────── the next incarnation, after Ended::PeerLost ─────────────────────────┘
//! ```
//!
//! One passage from `form` to the end of `run` is an *incarnation* of the cluster. It has a random identity, which every one of
//! its connections names, and a generation, which is higher than that of all incarnations before it.
//!
//! # Connections
//! Each pair of processes has two: one belongs to timely (`stream`), the other carries heartbeats, the steps of forming and the
//! barriers (`links`). The process with the higher index calls, the other answers (`dial`, `greeting`): both prove that they know
//! the shared secret, by an HMAC over both sides' random numbers, and the answering side compares version, job, workers and index.
//! The secret authenticates, it does not encrypt: what flows between the processes can be read on the way.
//!
//! # Invariants
//! 1. Nothing that an unknown caller sends is kept for longer than two seconds or takes more than 64 KB, and no more than 64
//!    unknown callers are heard at once; none of them can end an incarnation.
//! 2. A connection belongs to one incarnation: one that comes late is refused.
//! 3. Once an incarnation has ended here, nothing of it leaves this process, and all peers learn of it.
//! 4. [`run`] returns when all threads of the incarnation have ended and all of its sockets are closed.

#[macro_use]
mod points;

mod codec;
mod dial;
mod error;
mod follow;
mod forming;
mod frame;
mod gate;
mod greeting;
mod hello;
mod hush;
mod incarnation;
mod lead;
mod limit;
mod line;
mod links;
mod listener;
mod member;
mod patience;
mod place;
mod pulse;
mod run;
mod stream;
mod timed;

pub use error::{Cause, Ended, Error, Lost, Refusal};
pub use forming::{Forming, Role};
pub use listener::Listener;
pub use member::{Member, Secret, Timeouts};
pub use run::{Handle, Running, run};
