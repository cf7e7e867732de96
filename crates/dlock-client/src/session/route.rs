//! Which server to try next, and when.

use crate::Endpoint;
use dlock_core::Timestamp;
use dlock_runtime::Entropy;
use std::time::Duration;

/// The pause before the second attempt after a failure; doubled with each round through all servers.
const PAUSE: Duration = Duration::from_millis(25);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How many servers are remembered that others told of.
const PEERS_MAX: usize = 64;

/// The servers of the service, tried one after the other.
#[derive(Debug)]
pub(crate) struct Route {
    /// Those configured, then those that servers told of.
    endpoints: Vec<Endpoint>,
    configured: usize,
    /// The next one to try.
    next: usize,
    /// Attempts that failed since the last one that did not.
    failures: usize,
    /// Not before this moment.
    not_before: Timestamp,
    pause_max: Duration,
}

impl Route {
    /// A route along `endpoints`, which begins at the one with index `first`. Pauses stay well below `ttl`.
    pub(crate) fn new(endpoints: Vec<Endpoint>, first: usize, ttl: Duration) -> Route {
        let configured = endpoints.len();
        Route {
            endpoints,
            configured,
            next: first % configured.max(1),
            failures: 0,
            not_before: Timestamp(0),
            pause_max: PAUSE_MAX.min(ttl / 8),
        }
    }

    /// The server to try now, and the next one the next time. `None` without any server.
    pub(crate) fn take(&mut self) -> Option<Endpoint> {
        let endpoint = self.endpoints.get(self.next)?.clone();
        self.next = (self.next + 1) % self.endpoints.len();
        Some(endpoint)
    }

    /// When the next attempt may begin.
    pub(crate) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Whether every configured server has failed since the last success.
    pub(crate) fn all_failed(&self) -> bool {
        self.failures >= self.configured
    }

    /// An attempt failed. Within a round the next server is tried almost at once, after a round there is a pause; both
    /// jittered, so that the clients of a server that died don't fall upon the next one in step.
    pub(crate) fn failed(&mut self, now: Timestamp, retry_after: Option<Duration>, entropy: &Entropy) {
        self.failures += 1;
        let rounds = u32::try_from(self.failures / self.endpoints.len().max(1)).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(2u32.saturating_pow(rounds)).min(self.pause_max);
        // A server that asks for patience speaks for itself: with others to ask, its wish does not hold us up.
        let wish =
            if rounds > 0 { retry_after.unwrap_or_default().min(self.pause_max) } else { Duration::ZERO };
        self.not_before = now + entropy.jitter(pause.max(wish));
    }

    /// A link that worked broke: look for another one soon, but not all clients at the same moment.
    pub(crate) fn broken(&mut self, now: Timestamp, entropy: &Entropy) {
        self.not_before = self.not_before.max(now + entropy.between(Duration::ZERO, PAUSE));
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = Timestamp(0);
    }

    /// These servers are there, too. They replace those learnt before.
    pub(crate) fn learn(&mut self, peers: Vec<Endpoint>) {
        if peers.is_empty() {
            return;
        }
        self.endpoints.truncate(self.configured);
        for peer in peers.into_iter().take(PEERS_MAX) {
            if !self.endpoints.contains(&peer) {
                self.endpoints.push(peer);
            }
        }
        self.next %= self.endpoints.len().max(1);
    }

    /// All servers known.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(names: &[&str]) -> Vec<Endpoint> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn servers_are_tried_in_turn_and_learnt_ones_after_the_configured() {
        let mut route = Route::new(endpoints(&["a", "b"]), 1, Duration::from_secs(10));
        let next = |route: &mut Route| route.take().unwrap().host().to_owned();
        assert_eq!([next(&mut route), next(&mut route)], ["b", "a"]);
        route.learn(endpoints(&["a", "c"]));
        assert_eq!([next(&mut route), next(&mut route), next(&mut route)], ["b", "c", "a"]);
    }

    #[test]
    fn pauses_grow_with_each_round_and_stay_below_the_time_to_live() {
        let entropy = Entropy::from_seed(1);
        let mut route = Route::new(endpoints(&["a", "b"]), 0, Duration::from_secs(1));
        let mut pauses = Vec::new();
        for attempt in 0..40 {
            let now = Timestamp(attempt);
            route.failed(now, Some(Duration::from_secs(60)), &entropy);
            pauses.push(route.not_before().since(now));
        }
        assert!(pauses[0] < Duration::from_millis(32), "the second server is tried at once: {:?}", pauses[0]);
        assert!(pauses[1] > pauses[0]);
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(157)), "{pauses:?}");
        assert!(route.all_failed());
    }
}
