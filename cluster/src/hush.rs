//! Keeps the echoes of one panic off stderr.
//!
//! When workers do not end with their incarnation, timely's threads take each other down, and each would print its own
//! panic. While an incarnation runs, those echoes are not printed, told by thread and text; every other panic is.

use std::cell::Cell;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// The hook that was there before, and how many incarnations run over it.
static BELOW: Mutex<(usize, Option<Arc<Hook>>)> = Mutex::new((0, None));

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Hides echoes as long as it lives.
pub(crate) struct Hush(());

impl Hush {
    pub(crate) fn new() -> Hush {
        let mut below = BELOW.lock().unwrap_or_else(PoisonError::into_inner);
        below.0 += 1;
        if below.0 == 1 {
            let hook = Arc::new(panic::take_hook());
            below.1 = Some(Arc::clone(&hook));
            panic::set_hook(Box::new(move |info| {
                if !is_echo(info) {
                    hook(info);
                }
            }));
        }
        Hush(())
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        let mut below = BELOW.lock().unwrap_or_else(PoisonError::into_inner);
        below.0 -= 1;
        // A thread that panics cannot change the hook; the next incarnation does it.
        if below.0 > 0 || thread::panicking() {
            return;
        }
        drop(panic::take_hook());
        if let Some(hook) = below.1.take().and_then(Arc::into_inner) {
            panic::set_hook(hook);
        }
    }
}

/// Runs `body` without printing its panics, which are told by `Err`.
pub(crate) fn quietly(body: impl FnOnce()) -> Result<(), String> {
    QUIET.set(true);
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(body));
    QUIET.set(false);
    outcome.map_err(|panic| text(&*panic))
}

/// Returns the text of a panic.
pub(crate) fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without text").to_owned()
}

fn is_echo(info: &PanicHookInfo<'_>) -> bool {
    let of_timely = thread::current().name().is_some_and(|name| name.starts_with("timely:"));
    QUIET.get() || (of_timely && is_of_communication(&text(info.payload())))
}

/// Tells whether the text is one of those with which timely's threads take each other down.
fn is_of_communication(text: &str) -> bool {
    text.starts_with("timely communication error") || text.starts_with("MergeQueue poisoned")
}
