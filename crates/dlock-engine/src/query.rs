//! Looking at resources, sessions and members, for people.

use crate::directory::read_active;
use crate::engine::TokenCheck;
use crate::error::{RequestError, SessionError};
use crate::io::news;
use crate::keys;
use crate::mastering::decode;
use crate::membership::PAGE;
use crate::shared::Shared;
use crate::view::{HolderView, MemberView, PageOf, QueuedView, ResourceEvent, ResourceView, SessionView};
use dlock_core::record::MemberRecord;
use dlock_core::resource::Resource;
use dlock_core::session::{ClientInfo, SessionRecord};
use dlock_core::{Namespace, ResourceId, SessionId, Token};
use dlock_store::{Content, Key, Record, Scope, StoreError, Version, WatchEvent};
use foldhash::HashMap;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many changes a watcher may be behind before it is slowed down with the store's own watch.
const WATCH_BUFFER: usize = 256;

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> RequestError {
        RequestError::StoreUnavailable { reason: error.to_string() }
    }
}

impl Shared {
    pub(crate) async fn resource(self: &Arc<Self>, id: &ResourceId) -> Result<ResourceView, RequestError> {
        let (record, resource) = self.read_resource(id).await?;
        self.view(id, record.version, &resource).await
    }

    pub(crate) async fn resources(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<PageOf<ResourceView>, RequestError> {
        let limit = limit.clamp(1, PAGE);
        let after = after.and_then(|name| ResourceId::new(namespace.as_str(), name).ok());
        let after = after.as_ref().map(keys::resource);
        let prefix = keys::resources(namespace, prefix);
        let listed = self.store.list(&prefix, after.as_ref(), limit);
        let page = self.within(listed).await.unwrap_or_else(|| Err(self.timed_out()))?;
        let mut items = Vec::with_capacity(page.records.len());
        let mut next = None;
        for (key, record) in &page.records {
            if let Some(id) = keys::parse_resource(key) {
                next = Some(id.name().to_owned());
                items.push(self.view_of(&id, record).await?);
            }
        }
        Ok(PageOf { items, next: next.filter(|_| page.more) })
    }

    /// A resource as its record says, or, if this server masters it, as it knows. To ask others for each of many would be to
    /// take it from them: of what they master, it is only said that they do.
    async fn view_of(&self, id: &ResourceId, record: &Record) -> Result<ResourceView, RequestError> {
        let read = decode(record)?;
        let resource = match read.master().map(|master| master.member) {
            None => read,
            Some(member) if member == self.member => self.own_mastered(id).unwrap_or(read),
            Some(member) => {
                let blank = Resource::new(read.last_token());
                let view = self.view(id, record.version, &blank).await?;
                return Ok(ResourceView { mastered_by: Some(member), ..view });
            }
        };
        self.view(id, record.version, &resource).await
    }

    async fn view(
        &self,
        id: &ResourceId,
        version: Version,
        resource: &Resource,
    ) -> Result<ResourceView, RequestError> {
        let clients = self.clients(resource).await;
        let holders = resource.holders().map(|holder| HolderView {
            key: holder.key,
            mode: holder.mode,
            token: holder.token,
            holds: 1 + u32::try_from(holder.aliases().count()).unwrap_or(u32::MAX),
            since_unix_ms: holder.since_unix_ms,
            client: clients.get(&holder.key.session).cloned(),
        });
        let queue = resource.queue().map(|entry| QueuedView {
            key: entry.key,
            mode: entry.mode,
            held: entry.held,
            since_unix_ms: entry.since_unix_ms,
            blocked_by: resource.blockers_of(entry.key),
            client: clients.get(&entry.key.session).cloned(),
        });
        Ok(ResourceView {
            resource: id.clone(),
            version: version.0,
            last_token: resource.last_token(),
            value: resource.value(),
            mastered_by: None,
            holders: holders.collect(),
            queue: queue.collect(),
        })
    }

    /// Who the clients of the resource's sessions are, where their records can be read.
    async fn clients(&self, resource: &Resource) -> HashMap<SessionId, ClientInfo> {
        let mut clients = HashMap::default();
        for session in resource.sessions() {
            if clients.contains_key(&session) {
                continue;
            }
            let client = match self.home(session) {
                Some(home) => Some(home.record.client.clone()),
                None => self.foreign_client(session).await,
            };
            clients.extend(client.map(|client| (session, client)));
        }
        clients
    }

    async fn foreign_client(&self, session: SessionId) -> Option<ClientInfo> {
        let record = self.get(&keys::session(session)).await.ok()?;
        Some(SessionRecord::decode(record.value()?).ok()?.client)
    }

    pub(crate) async fn sessions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<PageOf<SessionView>, SessionError> {
        let limit = limit.clamp(1, PAGE);
        let after = after.and_then(|id| id.parse().ok()).map(keys::session);
        let listed = self.store.list(keys::SESSIONS, after.as_ref(), limit);
        let page = self.within(listed).await.unwrap_or_else(|| Err(self.timed_out()))?;
        let next =
            page.records.last().map(|(key, _)| key.as_str().trim_start_matches(keys::SESSIONS).to_owned());
        let items = page.records.iter().filter_map(|(key, record)| self.session_view(key, record)).collect();
        Ok(PageOf { items, next: next.filter(|_| page.more) })
    }

    fn session_view(&self, key: &Key, record: &Record) -> Option<SessionView> {
        let session = keys::parse_session(key)?;
        let record = match SessionRecord::decode(record.value()?) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%session, %error, "a session's record can't be read");
                return None;
            }
        };
        Some(SessionView {
            session,
            owner: record.owner,
            epoch: record.epoch,
            terms: record.terms,
            principal: record.principal,
            client: record.client,
            opened_unix_ms: record.opened_unix_ms,
            state: record.state,
            locks: self.home(session).map(|home| home.lock_count()),
        })
    }

    pub(crate) async fn members(&self) -> Result<Vec<MemberView>, SessionError> {
        let mut members = Vec::new();
        for (key, record) in self.list_all(keys::MEMBERS).await? {
            let Some(member) = keys::parse_member(&key) else { continue };
            let Some(Ok(decoded)) = record.value().map(|bytes| MemberRecord::decode(bytes)) else { continue };
            members.push(MemberView {
                member,
                address: decoded.address,
                version: decoded.version,
                started_unix_ms: decoded.started_unix_ms,
                this: member == self.member,
                dead: member != self.member && self.observer.lock().is_dead(member),
            });
        }
        Ok(members)
    }

    pub(crate) async fn check_token(
        self: &Arc<Self>,
        id: &ResourceId,
        token: Token,
    ) -> Result<TokenCheck, RequestError> {
        let (_, resource) = self.read_resource(id).await?;
        let mut held = false;
        for holder in resource.holders().filter(|holder| holder.token == token) {
            let session = self.get(&keys::session(holder.key.session)).await?;
            let active =
                read_active(&session).map_err(|error| RequestError::Record { reason: error.to_string() })?;
            held |= active.is_some();
        }
        Ok(TokenCheck { held, highest: resource.last_token() })
    }

    /// A snapshot, then changes. A watcher who reads too slowly gets a resynchronisation instead of a backlog.
    pub(crate) async fn watch_resources(
        self: &Arc<Self>,
        namespace: &Namespace,
        prefix: &str,
    ) -> Result<BoxStream<'static, ResourceEvent>, RequestError> {
        let follower = self.follower();
        let scope = Scope::Prefix(keys::resources(namespace, prefix));
        let watch = self.within(self.store.watch(scope)).await.unwrap_or_else(|| Err(self.timed_out()))?;
        let (sender, receiver) = mpsc::channel(WATCH_BUFFER);
        let (shared, namespace, prefix) = (Arc::clone(self), namespace.clone(), prefix.to_owned());
        let follow = async move {
            let _follower = follower;
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = sender.closed() => {}
                () = shared.follow(watch, &namespace, &prefix, &sender) => {}
            }
        };
        tokio::spawn(follow);
        Ok(futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        })
        .boxed())
    }

    async fn follow(
        &self,
        mut watch: dlock_store::Watch,
        namespace: &Namespace,
        prefix: &str,
        sender: &mpsc::Sender<ResourceEvent>,
    ) {
        // A failure to send means that the receiver is gone, which `watch_resources` notices.
        self.send_snapshot(namespace, prefix, sender).await;
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Resync | WatchEvent::WentBack => {
                    drop(sender.send(ResourceEvent::Resync).await);
                    self.send_snapshot(namespace, prefix, sender).await;
                }
                WatchEvent::Changed { key, record } => {
                    let Some(id) = keys::parse_resource(&key) else { continue };
                    let event = match record {
                        Some(record) => self.event(&id, &record).await,
                        None => match self.get(&key).await {
                            Ok(record) => self.event(&id, &record).await,
                            Err(_) => Some(ResourceEvent::Resync),
                        },
                    };
                    if let Some(event) = event {
                        drop(sender.send(event).await);
                    }
                }
            }
        }
    }

    async fn send_snapshot(&self, namespace: &Namespace, prefix: &str, sender: &mpsc::Sender<ResourceEvent>) {
        let mut after: Option<String> = None;
        loop {
            match self.resources(namespace, prefix, after.as_deref(), PAGE).await {
                Ok(page) => {
                    for view in page.items {
                        drop(sender.send(ResourceEvent::Changed(view)).await);
                    }
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a snapshot for a watcher is tried again");
                    self.environment.clock.sleep(crate::timers::RETRY).await;
                }
            }
        }
        drop(sender.send(ResourceEvent::SnapshotDone).await);
    }

    async fn event(&self, id: &ResourceId, record: &Record) -> Option<ResourceEvent> {
        match &record.content {
            Content::Absent { .. } => Some(ResourceEvent::Removed(id.clone())),
            Content::Present(_) => self.view_of(id, record).await.ok().map(ResourceEvent::Changed),
        }
    }

    /// Follows the store's own news of resources and sessions, for as long as the engine runs.
    pub(crate) async fn follow_store(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                error = self.follow_once() => {
                    if let Err(error) = error {
                        tracing::warn!(%error, "the store's watch has ended and is begun anew");
                    }
                }
            }
            self.environment.clock.sleep(crate::timers::RETRY).await;
        }
    }

    async fn follow_once(self: &Arc<Self>) -> Result<(), StoreError> {
        let resources = self.store.watch(Scope::Prefix(keys::RESOURCES.to_owned())).await?;
        let sessions = self.store.watch(Scope::Prefix(keys::SESSIONS.to_owned())).await?;
        self.read_directory().await?;
        let (resources, sessions) = (resources.fuse(), sessions.fuse());
        tokio::pin!(resources, sessions);
        loop {
            tokio::select! {
                Some(event) = resources.next() => match event {
                    WatchEvent::Resync => self.resynchronise(),
                    WatchEvent::WentBack => {
                        self.suspect("it says that it misses what it had acknowledged");
                        self.resynchronise();
                    }
                    WatchEvent::Changed { key, record } => {
                        if let Some(id) = keys::parse_resource(&key) {
                            self.feed(vec![(id, news(record))]);
                        }
                    }
                },
                Some(event) = sessions.next() => match event {
                    WatchEvent::Resync | WatchEvent::WentBack => self.read_directory().await?,
                    WatchEvent::Changed { key, record } => {
                        let Some(session) = keys::parse_session(&key) else { continue };
                        let record = match record {
                            Some(record) => record,
                            None => self.get(&key).await?,
                        };
                        self.session_seen(session, &record);
                    }
                },
                else => return Ok(()),
            }
        }
    }

    /// Wake-ups may have been missed: every resource in memory is looked at again.
    fn resynchronise(self: &Arc<Self>) {
        let mut resources = Vec::new();
        for shard in self.shards.iter() {
            resources.extend(shard.lock().slots.keys().cloned());
        }
        resources.sort_unstable(); // as in every run of a simulation
        self.feed(resources.into_iter().map(|id| (id, news(None))).collect());
    }
}
