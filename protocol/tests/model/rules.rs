//! The protocol's rules, each of which can be taken away to see what it is there for.

/// The rules that the leaders and the sinks of a model keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// A start takes a generation that no other has.
    pub(crate) raise_generation: bool,
    /// Every sink is fenced before the log and the sinks are read.
    pub(crate) fence_first: bool,
    /// What a sink says is believed only with our own generation beside it.
    pub(crate) read_with_generation: bool,
    /// Of an older segment only what lies before its successor's `Start` is read.
    pub(crate) chain_by_start: bool,
    /// An epoch's record is durable before the epoch is committed anywhere.
    pub(crate) log_first: bool,
    /// A sink takes commits from the generation that fenced it last, only.
    pub(crate) check_generation: bool,
    /// A sink applies only what is newer than what it holds.
    pub(crate) check_epoch: bool,
    /// After a lost reply the sink is read, rather than its answer guessed.
    pub(crate) read_back: bool,
    /// A checkpoint is taken of epochs that every sink has confirmed.
    pub(crate) checkpoint_behind_sinks: bool,
    /// A checkpoint's manifest is written after what it names.
    pub(crate) manifest_last: bool,
}

impl Rules {
    /// The protocol as it is.
    pub(crate) const ALL: Rules = Rules {
        raise_generation: true,
        fence_first: true,
        read_with_generation: true,
        chain_by_start: true,
        log_first: true,
        check_generation: true,
        check_epoch: true,
        read_back: true,
        checkpoint_behind_sinks: true,
        manifest_last: true,
    };
}
