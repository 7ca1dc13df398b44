//! Every interleaving of three generations, three epochs and two sinks, with crashes, lost replies and zombies.
//!
//! | file | what |
//! |---|---|
//! | `rules` | the protocol's rules, each of which can be taken away |
//! | `store` | what outlives a process: generations, log, sinks, checkpoints |
//! | `leader` | one incarnation: what it has in memory, and each of its steps |
//! | `world` | the two together as a model for the checker |
//! | `properties` | what must hold in every state, and what must be possible at all |
//! | `checks` | the tests: the whole protocol, then without one rule after another |
//!
//! What an epoch holds is the number of the incarnation that decided it, as if each cut the input differently: so a sink that applied an
//! epoch of a log that did not survive differs from one that did not.
//!
//! A crash is a leader that takes no further step: every state has that future, at every step of every leader, so it needs no step of its own. A
//! zombie is an older leader that takes a step after a newer one has begun. A message that a network holds back for long is such a
//! step too: what was sent arrives when the sender takes it.

mod checks;
mod leader;
mod properties;
mod rules;
mod store;
mod world;

/// So many incarnations begin, one after the other or over one another.
pub(crate) const INCARNATIONS: usize = 3;
/// So many epochs are decided.
pub(crate) const EPOCHS: u8 = 3;
/// So many sinks take them.
pub(crate) const SINKS: usize = 2;
