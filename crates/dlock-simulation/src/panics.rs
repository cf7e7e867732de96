//! Panics on simulated threads: tokio keeps those of tasks to itself, and each of them is a finding.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// The panics of this thread, where somebody asked for them.
    static NOTED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs `body`, and returns what panicked on this thread meanwhile; no result if `body` did itself.
pub(crate) fn noted<T>(body: impl FnOnce() -> T) -> (Option<T>, Vec<String>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let noted = NOTED.with_borrow_mut(|noted| match noted {
                Some(noted) => {
                    noted.push(info.to_string());
                    true
                }
                None => false,
            });
            if !noted {
                others(info);
            }
        }));
    });
    NOTED.set(Some(Vec::new()));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(body)).ok();
    (result, NOTED.take().unwrap_or_default())
}
