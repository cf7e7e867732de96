//! The disk without dlock: records appended to a file, with one sync for all that have gathered.

use crate::drive::{Held, Locker};
use async_trait::async_trait;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

const RECORD: &[u8] = &[7; 200];

/// Two records, one after the other, each on the disk when it is acknowledged.
pub(crate) struct Raw(Arc<Appender>);

struct Appender(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl Raw {
    pub(crate) fn start() -> Raw {
        let (sender, receiver) = mpsc::unbounded_channel();
        // In the directory where the server keeps its own, too.
        let file = tempfile::tempfile().expect("a file");
        std::thread::spawn(move || append(file, receiver));
        Raw(Arc::new(Appender(sender)))
    }
}

fn append(mut file: File, mut records: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let mut gathered = Vec::new();
    while let Some(first) = records.blocking_recv() {
        gathered.push(first);
        while let Ok(next) = records.try_recv() {
            gathered.push(next);
        }
        file.write_all(&RECORD.repeat(gathered.len())).expect("room on the disk");
        file.sync_data().expect("a sync");
        for waiting in gathered.drain(..) {
            waiting.send(()).expect("somebody who waits");
        }
    }
}

impl Appender {
    async fn append(&self) {
        let (sender, done) = oneshot::channel();
        self.0.send(sender).expect("the appender");
        done.await.expect("a sync");
    }
}

#[async_trait]
impl Locker for Raw {
    async fn acquire(&self, _: usize, _: &str) -> Held {
        let appender = self.0.clone();
        appender.append().await;
        Box::pin(async move { appender.append().await })
    }
}
