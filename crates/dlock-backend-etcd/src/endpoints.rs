//! The cluster's members, and which of them is asked.
//!
//! All requests go to one member for as long as it answers. etcd-client could spread them, but would go on sending every
//! third to a member that is gone. Here a request that fails for the member's sake moves all that follow to the next
//! one; reads, and writes that certainly were not carried out, are sent there at once.

use crate::config::EtcdConfig;
use crate::error::{Failure, Kind, OpenError};
use crate::options::options;
use dlock_store::StoreError;
use etcd_client::{Client, ConnectOptions, Error, StatusResponse};
use futures::future::join_all;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a member may take to answer. A dlock server has 5.4 seconds to renew its own lease: a write to a member that
/// stands still, a read at another, and the write again have to fit.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The members that the configuration names.
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    current: AtomicUsize,
    /// The id of the cluster that all of them must belong to.
    cluster: OnceLock<u64>,
}

struct Endpoint {
    address: String,
    options: ConnectOptions,
    /// Made when it is first needed: with a user, the member has to be there for that.
    client: OnceCell<Client>,
    /// Whether it has been seen to belong to the cluster.
    verified: AtomicBool,
}

impl Endpoint {
    async fn client(&self) -> Result<Client, Error> {
        let connect = || Client::connect([&self.address], Some(self.options.clone()));
        self.client.get_or_try_init(connect).await.cloned()
    }
}

impl Endpoints {
    /// The members of these settings; none of them has been asked yet.
    ///
    /// # Errors
    /// When a setting is no good.
    pub(crate) fn new(config: &EtcdConfig) -> Result<Endpoints, OpenError> {
        let options = options(config)?;
        let endpoint = |address: &String| Endpoint {
            address: address.clone(),
            options: options.clone(),
            client: OnceCell::new(),
            verified: AtomicBool::new(false),
        };
        let all = config.endpoints.iter().map(endpoint).collect();
        Ok(Endpoints { all, current: AtomicUsize::new(0), cluster: OnceLock::new() })
    }

    /// Looks who is there, and begins with the leader: others would pass each write on to it.
    ///
    /// # Errors
    /// When no member answers by the deadline, or knows a leader, or lets this client in; when they are not of one cluster.
    pub(crate) async fn find_leader(&self, deadline: Instant) -> Result<StatusResponse, OpenError> {
        let (mut failures, mut leaderless) = (Vec::new(), None);
        let mut found: Option<(usize, StatusResponse)> = None;
        for (index, answer) in join_all(self.statuses(deadline)).await.into_iter().enumerate() {
            let address = &self.all[index].address;
            match answer {
                Ok(status) => {
                    if !self.verify(&self.all[index], &status) {
                        let one = found.map_or(0, |(index, _)| index);
                        let (one, other) = (self.all[one].address.clone(), address.clone());
                        return Err(OpenError::TwoClusters { one, other });
                    }
                    if found.is_none() || leads(&status) {
                        found = Some((index, status));
                    }
                }
                Err(Failure { kind: Kind::Refused, reason: why, elsewhere: false }) => {
                    return Err(OpenError::Refused { endpoint: address.clone(), why });
                }
                Err(failure) => {
                    if failure.is_no_leader() {
                        leaderless = Some(address);
                    }
                    failures.push(format!("{address}: {}", failure.reason));
                }
            }
        }
        let Some((index, status)) = found else {
            if let Some(address) = leaderless {
                return Err(OpenError::NotServing { endpoint: address.clone(), why: failures.join("; ") });
            }
            return Err(OpenError::Unreachable { why: failures.join("; ") });
        };
        for failure in failures {
            tracing::warn!("an etcd member does not answer: {failure}");
        }
        self.current.store(index, Ordering::Relaxed);
        Ok(status)
    }

    /// Each member's status, or why there is none by the deadline.
    pub(crate) fn statuses<'a>(
        &'a self,
        deadline: Instant,
    ) -> Vec<impl Future<Output = Result<StatusResponse, Failure>> + use<'a>> {
        let status = move |endpoint: &'a Endpoint| async move {
            let asking = async { endpoint.client().await?.maintenance_client().status().await };
            match timeout_at(deadline, asking).await {
                Ok(answer) => answer.map_err(|error| Failure::of(&error)),
                Err(_) => Err(Failure::new(Kind::NotSent, "no answer in time", true)),
            }
        };
        self.all.iter().map(status).collect()
    }

    /// The address of each.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|endpoint| endpoint.address.as_str())
    }

    /// The address of the one that is asked at the moment.
    pub(crate) fn current_address(&self) -> &str {
        &self.all[self.current()].address
    }

    /// Sends what changes nothing: on to the next member if one fails.
    pub(crate) async fn read<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        // A lone member that was restarted is found only by the second attempt: the first ends the old connection.
        self.send(call, self.all.len().max(2), |_| true).await
    }

    /// Sends a transaction: on to the next member if one fails and it certainly was not carried out.
    pub(crate) async fn write<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.send(call, self.all.len(), Failure::is_certain).await.map_err(Failure::of_write)
    }

    async fn send<T, F>(
        &self,
        call: impl Fn(Client) -> F,
        attempts: usize,
        may_repeat: impl Fn(&Failure) -> bool,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 1;
        loop {
            let index = self.current();
            let failure = match self.send_to(index, &call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if failure.elsewhere {
                self.leave(index, &failure);
            }
            if !failure.elsewhere || attempt >= attempts || !may_repeat(&failure) {
                return Err(failure);
            }
            attempt += 1;
        }
    }

    async fn send_to<T, F>(&self, index: usize, call: &impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.client(index).await?;
        let answer = timeout(REQUEST_TIMEOUT, call(client.clone())).await;
        let failure = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::late(REQUEST_TIMEOUT),
        };
        if failure.is_old_auth()
            && let Ok(Err(error)) = timeout(REQUEST_TIMEOUT, client.refresh_token()).await
        {
            tracing::warn!(%error, "etcd wants a new token of this client, and gives none");
        }
        Err(failure)
    }

    fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// The member that is asked at the moment, to be named to [`Endpoints::leave`] if it fails.
    pub(crate) async fn current_client(&self) -> Result<(usize, Client), Failure> {
        let index = self.current();
        match self.client(index).await {
            Ok(client) => Ok((index, client)),
            Err(failure) => {
                self.leave(index, &failure);
                Err(failure)
            }
        }
    }

    /// From now on the next member is asked, unless somebody else has moved on from this one already.
    pub(crate) fn leave(&self, index: usize, failure: &Failure) {
        let next = (index + 1) % self.all.len();
        let moved = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && next != index {
            let (from, to) = (&self.all[index].address, &self.all[next].address);
            tracing::warn!(from, to, reason = failure.reason, "another etcd member is asked from now on");
        }
    }

    /// A client whose member is known to be of the right cluster.
    async fn client(&self, index: usize) -> Result<Client, Failure> {
        let endpoint = &self.all[index];
        let verify = async {
            let client = endpoint.client().await?;
            if endpoint.verified.load(Ordering::Relaxed) {
                return Ok((client, true));
            }
            let status = client.maintenance_client().status().await?;
            Ok((client, self.verify(endpoint, &status)))
        };
        // Whatever goes wrong, the request itself has not been sent.
        let not_sent = |failure: Failure| match failure.kind {
            Kind::Unknown => Failure { kind: Kind::NotSent, ..failure },
            Kind::NotSent | Kind::Refused | Kind::Full | Kind::Invalid => failure,
        };
        match timeout(REQUEST_TIMEOUT, verify).await {
            Ok(Ok((client, true))) => Ok(client),
            Ok(Ok((_, false))) => {
                Err(Failure::new(Kind::NotSent, "it belongs to another cluster than at the start", true))
            }
            Ok(Err(error)) => Err(not_sent(Failure::of(&error))),
            Err(_) => Err(not_sent(Failure::late(REQUEST_TIMEOUT))),
        }
    }

    /// Whether the member with this status belongs to the cluster of those seen before.
    fn verify(&self, endpoint: &Endpoint, status: &StatusResponse) -> bool {
        let cluster = status.header().map_or(0, |header| header.cluster_id());
        let verified = *self.cluster.get_or_init(|| cluster) == cluster;
        endpoint.verified.fetch_or(verified, Ordering::Relaxed);
        verified
    }
}

/// Whether it is the leader that says so.
fn leads(status: &StatusResponse) -> bool {
    status.header().is_some_and(|header| header.member_id() == status.leader())
}
