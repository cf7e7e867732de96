//! The behaviours of the whole lock service, for clients of several servers over one store.

mod cycles;
mod holders;
mod queues;
mod sessions;
mod values;

use crate::{Backend, Deployment};
use dlock_client::{Client, Guard, Lock, Mode};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// One thing that the service must do over any store.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// What it does, as a sentence.
    pub name: &'static str,
    /// Panics if the service does not.
    pub run: fn(World) -> LocalBoxFuture<'static, ()>,
}

macro_rules! behaviours {
    ($($module:ident :: $name:ident),* $(,)?) => {
        /// Every behaviour.
        pub const BEHAVIOURS: &[Behaviour] = &[
            $(Behaviour { name: stringify!($name), run: |world| Box::pin($module::$name(world)) }),*
        ];

        /// Makes one test of each behaviour, of three servers over this backend, or as many as it can have.
        #[macro_export]
        macro_rules! service_suite {
            ($backend:expr) => {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        $crate::service::run_one(stringify!($name), $backend).await;
                    }
                )*
            };
        }
    };
}

behaviours! {
    cycles::a_lock_is_taken_and_let_go,
    cycles::a_try_fails_fast_when_it_is_held,
    cycles::different_names_do_not_conflict,
    cycles::a_blocked_wait_can_be_cancelled,
    cycles::concurrent_requests_all_resolve,
    cycles::locks_can_be_used_again,
    cycles::releasing_what_was_never_held_is_an_error,
    cycles::clients_of_different_servers_exclude_each_other,
    cycles::memory_does_not_grow_over_repeated_cycles,
    cycles::any_name_can_be_locked,
    holders::two_modes_are_held_at_once_exactly_if_the_table_says_so,
    holders::many_readers_share_one_resource,
    holders::a_conversion_waits_for_holders_elsewhere,
    holders::two_conversions_that_wait_for_each_other_are_a_deadlock,
    holders::a_holder_is_told_whom_it_blocks_elsewhere,
    holders::tokens_grow_from_holder_to_holder,
    queues::the_queue_is_first_come_first_served_across_servers,
    queues::readers_do_not_overtake_a_writer_that_waits,
    queues::a_wait_ends_at_its_deadline,
    queues::a_place_in_the_queue_is_told,
    values::a_value_goes_from_a_writer_to_readers_elsewhere,
    values::the_death_of_a_writer_marks_the_value,
    sessions::a_silent_clients_locks_pass_on,
    sessions::a_closed_sessions_locks_are_free_at_once,
    sessions::a_session_moves_with_its_locks_and_places,
}

/// What a behaviour works with.
#[derive(Clone)]
pub struct World {
    prefix: &'static str,
    deployment: Arc<Deployment>,
}

/// Far longer than anything takes that does not hang.
const SOON: Duration = Duration::from_secs(30);

impl World {
    /// The servers and their store.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// A name that no other behaviour uses.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// A client of one server, round and round.
    pub async fn client(&self, number: usize) -> Client {
        self.deployment.client(number).await
    }

    /// A lock that is asked for and granted soon.
    pub async fn lock(&self, client: &Client, name: &str, mode: Mode) -> Guard {
        self.ask(client, name, mode).wait(SOON).acquire().await.expect("a grant")
    }

    /// A lock to ask for.
    pub fn ask(&self, client: &Client, name: &str, mode: Mode) -> Lock {
        client.lock(self.name(name)).mode(mode)
    }

    /// Whether it is granted at once; lets it go again.
    pub async fn is_free(&self, client: &Client, name: &str, mode: Mode) -> bool {
        match self.ask(client, name, mode).try_acquire().await.expect("an answer") {
            Some(guard) => {
                guard.release().await.expect("a release");
                true
            }
            None => false,
        }
    }

    /// Waits until so many wait for the resource.
    pub async fn until_queued(&self, client: &Client, name: &str, count: usize) {
        let mut seen = None;
        let queued = tokio::time::timeout(SOON, async {
            loop {
                let found = client.query().get_resource(&self.name(name)).await;
                if found.as_ref().is_ok_and(|resource| resource.queue.len() == count) {
                    return;
                }
                seen = Some(found);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(queued.await.is_ok(), "not {count} in the queue within {SOON:?}, but {seen:?}");
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) {
        let looked = tokio::time::timeout(SOON, async {
            while !so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(looked.await.is_ok(), "not {what} within {SOON:?}");
    }
}

/// Runs the behaviour of this name over the backend's deployment, which all behaviours of a process share.
///
/// # Panics
/// When the service does not have it, or there is no such behaviour.
pub async fn run_one(name: &'static str, backend: Backend) {
    let behaviour =
        BEHAVIOURS.iter().find(|behaviour| behaviour.name == name).expect("a behaviour of that name");
    let deployment = shared_deployment(backend).await;
    (behaviour.run)(World { prefix: behaviour.name, deployment }).await;
}

/// Runs all behaviours over a deployment, one after the other, and says which the service has.
pub async fn run_all(deployment: &Arc<Deployment>) -> Vec<(&'static str, bool)> {
    let mut results = Vec::with_capacity(BEHAVIOURS.len());
    for behaviour in BEHAVIOURS {
        let world = World { prefix: behaviour.name, deployment: deployment.clone() };
        let passed = AssertUnwindSafe((behaviour.run)(world)).catch_unwind().await.is_ok();
        results.push((behaviour.name, passed));
    }
    results
}

/// Starts the backend's three servers once.
async fn shared_deployment(backend: Backend) -> Arc<Deployment> {
    static DEPLOYMENTS: tokio::sync::Mutex<Vec<(Backend, Arc<Deployment>)>> =
        tokio::sync::Mutex::const_new(Vec::new());
    let mut deployments = DEPLOYMENTS.lock().await;
    if let Some((_, known)) = deployments.iter().find(|(known, _)| *known == backend) {
        return known.clone();
    }
    let started = Arc::new(Deployment::start(backend, 3));
    deployments.push((backend, started.clone()));
    started
}
