//! The harness: starts the client processes, serves the resource, and stops holders at the worst moment.
//!
//! Nothing here depends on how long anything takes: each step waits for what must have happened.

use crate::resource::{Check, Resource, Tally};
use crate::wire::{Answer, Request, Wire, token};
use dlock_suites::Deployment;
use dlock_test_stores::Process;
use parking_lot::Mutex;
use std::ffi::OsString;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use tempfile::TempDir;

/// So many writes go undisturbed before each pause.
const CALM: usize = 25;
/// Longer than anything takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// When a stopped process goes on.
#[derive(Clone, Copy, Debug)]
enum Resumed {
    /// After the next holder has written: what that one wrote is what a late write replaces.
    AfterTheNextWrite,
    /// Between the next holder's read and its write: the late write is what that one replaces.
    BeforeTheNextWrite,
}

/// What a client's connection tells.
#[derive(Debug)]
enum Event {
    /// It holds the lock, has checked its guard, and waits to be let go on.
    Ready { client: usize, go: Sender<Answer> },
    /// Its write has been answered.
    Wrote { client: usize },
    /// It has closed its connection.
    Left { client: usize },
}

/// Client processes around a resource.
pub(crate) struct Stage {
    clients: Vec<Process>,
    resource: Arc<Mutex<Resource>>,
    events: Receiver<Event>,
    _logs: TempDir,
}

impl Stage {
    /// Starts client processes of the deployment's servers.
    pub(crate) fn set(deployment: &Deployment, check: Check, clients: usize) -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let logs = tempfile::tempdir().unwrap();
        let resource = Arc::new(Mutex::new(Resource::new(check)));
        let (told, events) = mpsc::channel();
        let program = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
        let start = |number: usize| {
            let mut endpoints = deployment.endpoints();
            let count = endpoints.len();
            endpoints.rotate_left(number % count);
            let endpoints = endpoints.join(",");
            let arguments = ["client", "--resource", &address, "--endpoints", &endpoints].map(OsString::from);
            let mut process = Process::start(&program, &arguments, &logs.path().join(number.to_string()));
            // One after the other: the connection that comes is this client's.
            let mut connection = None;
            process.wait_until("connected", || {
                connection = listener.accept().ok();
                connection.is_some()
            });
            let stream = connection.unwrap().0;
            stream.set_nonblocking(false).unwrap();
            let wire = Wire::over(stream);
            let (resource, told) = (resource.clone(), told.clone());
            std::thread::spawn(move || serve(number, wire, &resource, &told));
            process
        };
        Stage { clients: (0..clients).map(start).collect(), resource: resource.clone(), events, _logs: logs }
    }

    /// Stops so many holders, one after the other; then lets everybody end.
    pub(crate) fn run(mut self, pauses: usize) -> Tally {
        for number in 0..pauses {
            for _ in 0..CALM {
                let (client, go) = self.next_ready();
                self.let_write(client, &go);
            }
            let resumed =
                if number % 2 == 0 { Resumed::AfterTheNextWrite } else { Resumed::BeforeTheNextWrite };
            self.pause_a_holder(resumed);
        }
        self.end();
        self.resource.lock().tally()
    }

    fn pause_a_holder(&mut self, resumed: Resumed) {
        let (late, go) = self.next_ready();
        self.clients[late].pause();
        go.send(Answer::Go).unwrap(); // which it reads when it goes on
        let (next, go) = self.next_ready(); // so the lock has passed on
        assert_ne!(next, late);
        match resumed {
            Resumed::AfterTheNextWrite => {
                self.let_write(next, &go);
                self.clients[late].resume();
                self.wait_for_write(late);
            }
            Resumed::BeforeTheNextWrite => {
                self.clients[late].resume();
                self.wait_for_write(late);
                self.let_write(next, &go);
            }
        }
    }

    fn let_write(&mut self, client: usize, go: &Sender<Answer>) {
        go.send(Answer::Go).unwrap();
        self.wait_for_write(client);
    }

    /// Others may have the lock by then, and go on.
    fn wait_for_write(&mut self, of: usize) {
        loop {
            match self.next_event() {
                Event::Wrote { client } if client == of => return,
                Event::Wrote { .. } => {}
                Event::Ready { go, .. } => go.send(Answer::Go).unwrap(),
                Event::Left { client } => self.fail(client),
            }
        }
    }

    fn next_ready(&mut self) -> (usize, Sender<Answer>) {
        loop {
            match self.next_event() {
                Event::Ready { client, go } => return (client, go),
                Event::Wrote { .. } => {}
                Event::Left { client } => self.fail(client),
            }
        }
    }

    fn end(&mut self) {
        let mut left = 0;
        while left < self.clients.len() {
            match self.next_event() {
                Event::Ready { go, .. } => go.send(Answer::Leave).unwrap(),
                Event::Wrote { .. } => {}
                Event::Left { .. } => left += 1,
            }
        }
    }

    fn next_event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("nothing happened for {PATIENCE:?}; the clients said:\n{}", self.outputs())
        })
    }

    fn fail(&self, client: usize) -> ! {
        panic!("client {client} has ended; the clients said:\n{}", self.outputs())
    }

    fn outputs(&self) -> String {
        let outputs = self.clients.iter().enumerate();
        outputs.map(|(number, client)| format!("{number}: {}\n", client.output())).collect()
    }
}

/// One client's connection.
fn serve(client: usize, mut wire: Wire, resource: &Mutex<Resource>, told: &Sender<Event>) {
    while let Some(request) = wire.receive() {
        let answer = match request {
            Request::Read { token: number } => Answer::to_read(resource.lock().read(client, token(number))),
            Request::Write { token: number, value } => {
                let written = resource.lock().write(client, token(number), value);
                told.send(Event::Wrote { client }).unwrap();
                Answer::to_write(written)
            }
            Request::Ready => {
                let (go, may_go) = mpsc::channel();
                told.send(Event::Ready { client, go }).unwrap();
                may_go.recv().unwrap()
            }
        };
        wire.send(&answer);
    }
    told.send(Event::Left { client }).unwrap();
}
