//! Requests that are repeated while there is no answer.
//!
//! JetStream says nothing where another store would refuse: a stream without a leader does not hear what it is asked, and
//! a consumer may be given to a server that has died a moment ago, whose silence nobody has noticed. Who asks once waits
//! for the whole of its timeout, and may be as unlucky the next time.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::time::Duration;

/// How long an answer may take before the question is put once more.
const PATIENCE: Duration = Duration::from_millis(500);

/// The first answer. What is asked must do no harm when it is done several times, and give up by itself: its timeout is
/// that of all.
pub(crate) async fn insist<F: Future>(ask: impl Fn() -> F) -> F::Output {
    let mut asked = FuturesUnordered::new();
    loop {
        asked.push(ask());
        let patience = tokio::time::sleep(PATIENCE);
        tokio::select! {
            biased;
            Some(answer) = asked.next() => return answer,
            () = patience => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test(start_paused = true)]
    async fn silence_is_answered_by_another_question_and_the_first_answer_counts() {
        let asked = AtomicU64::new(0);
        let answer = insist(|| async {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            match number {
                0 | 1 => std::future::pending().await,
                _ => number,
            }
        });
        assert_eq!(answer.await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let begun = tokio::time::Instant::now();
        insist(|| tokio::time::sleep(Duration::from_secs(5))).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
