//! What surrounds the client in an exploration: the time, and the service behind its links.

use super::server::{Server, TTL};
use super::sync::{AtomicU64, point};
use crate::client::Inner;
use crate::connector::TcpConnector;
use crate::driver::thread::Executor;
use crate::driver::transport::Transport;
use crate::wire::ClientIdentity;
use crate::{Client, Environment};
use dlock_core::Timestamp;
use dlock_proto::v1::client_message::Body as Said;
use dlock_proto::v1::{EndReason, ServerMessage, SessionRequest, SessionResponse};
use dlock_runtime::{Clock, Entropy};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use shuttle::rand::Rng;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

thread_local! {
    /// The world of the exploration on this thread, if there is one.
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// How far time goes at once while something is waited for.
const STEP: Duration = Duration::from_millis(5);

/// The world of one execution. No lock of it is held at a point.
pub(crate) struct World {
    pub(super) clock: Arc<ModelClock>,
    server: Mutex<Server>,
    /// How many links may yet break.
    breaks: AtomicU64,
    /// The link that the session is at home on.
    home: Mutex<Option<mpsc::UnboundedSender<SessionResponse>>>,
}

impl World {
    /// A new world, for the execution that begins.
    pub(super) fn begin() -> Arc<World> {
        let world = Arc::new(World {
            clock: Arc::new(ModelClock { now: AtomicU64::new(60_000_000_000), sleepers: Mutex::default() }),
            server: Mutex::default(),
            breaks: AtomicU64::new(0),
            home: Mutex::new(None),
        });
        CURRENT.set(Some(world.clone()));
        world
    }

    /// No exploration is under way any more.
    pub(super) fn end() {
        CURRENT.set(None);
    }

    pub(crate) fn current() -> Option<Arc<World>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Up to so many links break from now on.
    pub(super) fn break_links(&self, count: u64) {
        self.breaks.store(count, Ordering::SeqCst);
    }

    /// A client of the service.
    pub(super) fn client(&self) -> Client {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        let runtime = RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime that runs nothing")
        });
        let executor = {
            let _entered = runtime.enter();
            Executor::current().expect("a runtime")
        };
        let clock: Arc<dyn Clock> = self.clock.clone();
        let entropy = Entropy::from_seed(shuttle::rand::thread_rng().r#gen());
        let environment = Environment { clock: clock.clone(), entropy };
        let builder = Client::builder().ttl(TTL).environment(environment);
        let transport = Arc::new(Transport {
            endpoints: vec!["model".parse().expect("an endpoint")],
            connector: Arc::new(TcpConnector),
            connect_timeout: builder.connect_timeout,
            request_timeout: builder.request_timeout,
            clock,
            executor,
            last: Mutex::new(None),
        });
        Client { inner: Arc::new(Inner::new(&builder, transport, ClientIdentity::new("model"))) }
    }

    /// What the service knows.
    pub(super) fn server<T>(&self, look: impl FnOnce(&mut Server) -> T) -> T {
        point();
        look(&mut self.server.lock())
    }

    /// Completes when the service is as wanted.
    pub(super) async fn until(&self, is: impl Fn(&Server) -> bool) {
        poll_fn(|cx| {
            let mut server = self.server.lock();
            if is(&server) {
                return Poll::Ready(());
            }
            server.watchers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The service takes all locks on the resource away.
    pub(super) fn revoke(&self, resource: &str) {
        let messages = self.server(|server| server.revoke(resource));
        self.tell(messages);
    }

    /// The service ends the session.
    pub(super) fn end_session(&self) {
        let ended = self.server(|server| (!server.over).then(|| server.end(EndReason::Revoked)));
        self.tell(ended.map(|body| ServerMessage { sequence: 0, body: Some(body) }).into_iter().collect());
    }

    /// The future's output, while time goes on by itself.
    pub(super) fn in_time<T>(self: &Arc<Self>, future: impl Future<Output = T>) -> T {
        let done = Arc::new(AtomicBool::new(false));
        let (world, over) = (self.clone(), done.clone());
        let time = shuttle::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                world.clock.advance(STEP);
                shuttle::thread::yield_now();
            }
        });
        let output = shuttle::future::block_on(future);
        done.store(true, Ordering::SeqCst);
        time.join().expect("time goes on");
        output
    }

    /// A link to the service: what the client sends on it, and what it hears.
    pub(super) fn link(
        self: &Arc<Self>,
    ) -> (mpsc::UnboundedSender<SessionRequest>, mpsc::UnboundedReceiver<SessionResponse>) {
        let (outgoing, frames) = mpsc::unbounded_channel();
        let (answers, incoming) = mpsc::unbounded_channel();
        shuttle::future::spawn(self.clone().serve(frames, answers));
        (outgoing, incoming)
    }

    /// Answers what comes on a link, until one of its sides is gone. It may break before a frame is served and after.
    async fn serve(
        self: Arc<Self>,
        mut frames: mpsc::UnboundedReceiver<SessionRequest>,
        answers: mpsc::UnboundedSender<SessionResponse>,
    ) {
        let mut home = false;
        while let Some(frame) = frames.recv().await {
            point();
            if self.breaks() {
                break;
            }
            let mut messages = Vec::new();
            for message in frame.messages {
                let body = message.body.expect("a message says something");
                if matches!(body, Said::Heartbeat(_) | Said::Resume(_)) && self.server.lock().deaf {
                    continue;
                }
                if matches!(body, Said::Open(_) | Said::Resume(_)) {
                    *self.home.lock() = Some(answers.clone());
                    home = true;
                }
                point();
                // Who is not the session's home any more does nothing in its name.
                if self.home.lock().as_ref().is_some_and(|home| home.same_channel(&answers)) {
                    messages.extend(self.server.lock().serve(message.sequence, body));
                }
            }
            if self.breaks() {
                break;
            }
            if !messages.is_empty() && answers.send(SessionResponse { messages }).is_err() {
                break;
            }
            self.serve_later();
            self.wake_watchers();
        }
        let mut current = self.home.lock();
        if home && current.as_ref().is_some_and(|home| home.same_channel(&answers)) {
            *current = None;
        }
    }

    /// Whether the link breaks here.
    fn breaks(&self) -> bool {
        let left = self.breaks.load(Ordering::SeqCst);
        let breaks = left > 0 && shuttle::rand::thread_rng().gen_bool(0.25);
        if breaks {
            self.breaks.store(left - 1, Ordering::SeqCst);
        }
        breaks
    }

    /// Grants what waits, at any time from now on.
    fn serve_later(self: &Arc<Self>) {
        let later = std::mem::take(&mut self.server.lock().later);
        for lock in later {
            let world = self.clone();
            shuttle::future::spawn(async move {
                shuttle::future::yield_now().await;
                let granted = world.server(|server| server.promote(lock));
                world.tell(granted.into_iter().collect());
            });
        }
    }

    /// Says something unasked, where the session is at home.
    fn tell(&self, messages: Vec<ServerMessage>) {
        let home = self.home.lock().clone();
        if let Some(home) = home.filter(|_| !messages.is_empty()) {
            // On a link that is gone it is lost.
            let _ = home.send(SessionResponse { messages });
        }
        self.wake_watchers();
    }

    fn wake_watchers(&self) {
        let watchers = std::mem::take(&mut self.server.lock().watchers);
        watchers.into_iter().for_each(Waker::wake);
    }
}

/// A clock that goes on when it is told to.
pub(super) struct ModelClock {
    now: AtomicU64,
    sleepers: Mutex<Vec<(Timestamp, Waker)>>,
}

impl ModelClock {
    pub(super) fn advance(&self, by: Duration) {
        let now = self.now() + by;
        self.now.store(now.0, Ordering::SeqCst);
        let mut due = Vec::new();
        self.sleepers.lock().retain(|(at, waker)| {
            let over = *at <= now;
            if over {
                due.push(waker.clone());
            }
            !over
        });
        due.into_iter().for_each(Waker::wake);
    }
}

impl Clock for ModelClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        0
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let world = World::current().expect("an exploration");
        Box::pin(poll_fn(move |cx| {
            let clock = &world.clock;
            let mut sleepers = clock.sleepers.lock();
            if Timestamp(clock.now.peek()) >= deadline {
                return Poll::Ready(());
            }
            sleepers.push((deadline, cx.waker().clone()));
            Poll::Pending
        }))
    }
}
