//! What a client process and the resource say to each other: lines of JSON over TCP.

use dlock_core::{StaleToken, Token};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Read {
        token: u64,
    },
    /// The guard was checked, and what remains is the write. The harness says when it may go on: this is where it stops
    /// processes.
    Ready,
    Write {
        token: u64,
        value: u64,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Value(u64),
    Written,
    Stale,
    Go,
    /// Release, and end.
    Leave,
}

impl Answer {
    pub(crate) fn to_read(result: Result<u64, StaleToken>) -> Answer {
        result.map_or(Answer::Stale, Answer::Value)
    }

    pub(crate) fn to_write(result: Result<(), StaleToken>) -> Answer {
        result.map_or(Answer::Stale, |()| Answer::Written)
    }
}

/// Either end of a connection.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    pub(crate) fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).unwrap();
        Wire(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, message: &impl Serialize) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.0.get_mut().write_all(&line).unwrap();
    }

    /// `None` when the other side has closed it.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut line = String::new();
        match self.0.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    pub(crate) fn call(&mut self, request: Request) -> Answer {
        self.send(&request);
        self.receive().expect("an answer of the resource")
    }
}

/// A token as it came.
pub(crate) fn token(number: u64) -> Token {
    Token::from_u64(number).expect("a token of dlock's")
}
