//! The program `dlock` itself.

use crate::world::{PATIENCE, lock};
use dlock_core::Mode;
use dlock_proto::v1::client_message::Body as Say;
use dlock_proto::v1::lock_service_client::LockServiceClient;
use dlock_proto::v1::server_message::Body as Hear;
use dlock_proto::v1::*;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

fn dlock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlock"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DLOCK_")) {
        command.env_remove(name);
    }
    command
}

/// A running `dlock`, killed at the end of its test.
struct Server {
    child: Child,
    address: String,
    greeting: Vec<String>,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let mut child = dlock()
            .args(["--addr", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting: Vec<String> = lines.take(3).map(Result::unwrap).collect();
        let address = greeting[1].trim_start_matches("at ").trim_end_matches(" (gRPC)").to_owned();
        Server { child, address, greeting }
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn session(
        &self,
        first: Say,
    ) -> (mpsc::UnboundedSender<SessionRequest>, Streaming<SessionResponse>) {
        let channel =
            Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        say(&sender, 0, first);
        let frames = LockServiceClient::new(channel).session(UnboundedReceiverStream::new(receiver)).await;
        (sender, frames.unwrap().into_inner())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended by itself
        self.child.wait().unwrap();
    }
}

fn say(sender: &mpsc::UnboundedSender<SessionRequest>, sequence: u64, body: Say) {
    let messages = vec![ClientMessage { sequence, body: Some(body) }];
    sender.send(SessionRequest { received_frames: 0, messages }).unwrap();
}

async fn hear(frames: &mut Streaming<SessionResponse>) -> Hear {
    let frame =
        tokio::time::timeout(PATIENCE, frames.message()).await.expect("silence").unwrap().expect("the end");
    frame.messages.into_iter().next().unwrap().body.unwrap()
}

fn refused(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = dlock().args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn without_arguments_it_says_what_it_serves_where_and_what_to_do_next() {
    let server = Server::start(&[]);
    assert!(server.greeting[0].contains("in memory"), "{:?}", server.greeting);
    assert!(server.greeting[1].contains("127.0.0.1:"), "{:?}", server.greeting);
    assert!(server.greeting[2].contains("--data-dir"), "{:?}", server.greeting);
}

#[test]
fn what_keeps_it_from_starting_is_named_with_the_way_out_and_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let unknown_key = file("unknown.toml", "adr = \"127.0.0.1:1\"");
    let bad_json = file("bad.json", "{\"addr\": ");
    let etcd = file("etcd.json", r#"{"etcd":{"endpoints":["http://127.0.0.1:1"]}}"#);
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--addr", &address], &["in use", &address, "--addr"]),
        (&["--addr", "nonsense"], &["addr is \"nonsense\"", "HOST:PORT"]),
        (&["--adr", "x"], &["--adr", "--addr"]),
        (&["--config", &unknown_key], &["\"adr\"", "did you mean \"addr\"?"]),
        (&["--config", &bad_json], &["bad.json"]),
        (&["--config", "/nowhere/dlock.toml"], &["/nowhere/dlock.toml"]),
        (&["--config", &etcd, "--addr", "127.0.0.1:0"], &["etcd does not answer", "http://127.0.0.1:1"]),
        (&["--data-dir", &unknown_key, "--addr", "127.0.0.1:0"], &["not a directory"]),
    ];
    for (arguments, words) in cases {
        let (code, message) = refused(arguments);
        assert_eq!(code, 2, "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?} does not say {word:?}: {message}");
        }
    }
}

#[test]
fn settings_are_taken_from_the_environment_and_the_old_address_form() {
    let output = dlock().env("DLOCK_ADDR", "tcp4://nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let server = {
        let mut child = dlock()
            .env("DLOCK_ADDR", "tcp4://127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().nth(1).unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        line
    };
    assert!(server.starts_with("at 127.0.0.1:"), "{server}");
}

#[test]
fn a_data_directory_belongs_to_one_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let server = Server::start(&["--data-dir", path]);
    assert!(server.greeting[0].contains(path));
    let (code, message) = refused(&["--addr", "127.0.0.1:0", "--data-dir", path]);
    assert_eq!(code, 2);
    assert!(message.contains("in use by another dlock") && message.contains(path), "{message}");
}

#[tokio::test]
async fn a_killed_server_has_every_lock_again_for_those_who_resume() {
    let directory = tempfile::tempdir().unwrap();
    let start = |path: &Path| Server::start(&["--data-dir", path.to_str().unwrap()]);
    let mut server = start(directory.path());
    let (sender, mut frames) = server.session(Say::Open(OpenSession::default())).await;
    let Hear::Opened(opened) = hear(&mut frames).await else { panic!("not opened") };
    say(&sender, 1, lock(1, "kept", Mode::Exclusive));
    let Hear::Granted(granted) = hear(&mut frames).await else { panic!("not granted") };
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    let server = start(directory.path());
    let SessionOpened { session_id, resume_secret, .. } = opened;
    let claims = vec![Claim {
        lock_id: 1,
        resource: crate::world::resource("kept"),
        token: Some(granted.token),
        mode: Some(granted.mode),
        waiting_sequence: None,
    }];
    let resume = ResumeSession { session_id, resume_secret, attempt: 0, last_sequence: 1, claims };
    let (sender, mut frames) = server.session(Say::Resume(resume)).await;
    let Hear::Resumed(resumed) = hear(&mut frames).await else { panic!("not resumed") };
    let Some(claim_result::State::Granted(kept)) = &resumed.results[0].state else { panic!("{resumed:?}") };
    assert_eq!(kept.token, granted.token);
    say(&sender, 2, Say::Release(ReleaseLock { lock_id: 1, ..Default::default() }));
    assert!(matches!(hear(&mut frames).await, Hear::Released(_)));
    say(&sender, 3, lock(2, "kept", Mode::Exclusive));
    let Hear::Granted(next) = hear(&mut frames).await else { panic!("not granted") };
    assert!(next.token > granted.token, "tokens go on growing");
}

#[tokio::test]
async fn a_terminated_server_tells_its_clients_to_move_and_ends_well() {
    let mut server = Server::start(&["--drain-grace", "20s"]);
    let (sender, mut frames) = server.session(Say::Open(OpenSession::default())).await;
    assert!(matches!(hear(&mut frames).await, Hear::Opened(_)));
    say(&sender, 1, lock(1, "r", Mode::Exclusive));
    assert!(matches!(hear(&mut frames).await, Hear::Granted(_)));
    server.signal("TERM");
    assert!(matches!(hear(&mut frames).await, Hear::MoveAway(_)));
    say(&sender, 2, Say::Release(ReleaseLock { lock_id: 1, ..Default::default() }));
    assert!(matches!(hear(&mut frames).await, Hear::Released(_)), "granted locks are served while it drains");
    say(&sender, 3, Say::Close(CloseSession {}));
    let status = tokio::task::spawn_blocking(move || server.child.wait().map(|status| (status, server)));
    let (status, _server) =
        tokio::time::timeout(PATIENCE, status).await.expect("it does not end").unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn metrics_and_health_are_served_over_http() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = Server::start(&["--metrics-addr", &format!("127.0.0.1:{port}")]);
    let get = |path: &'static str| {
        tokio::task::spawn_blocking(move || {
            use std::io::Write;
            let mut stream = loop {
                match std::net::TcpStream::connect(("127.0.0.1", port)) {
                    Ok(stream) => break stream,
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
                }
            };
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    let metrics = tokio::time::timeout(PATIENCE, get("/metrics")).await.unwrap().unwrap();
    assert!(metrics.contains("200 OK") && metrics.contains("dlock_serving 1"), "{metrics}");
    let health = tokio::time::timeout(PATIENCE, get("/healthz")).await.unwrap().unwrap();
    assert!(health.contains("200 OK") && health.contains("serving"), "{health}");
}
