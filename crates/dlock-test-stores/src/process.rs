//! A program under test: started, stopped, continued and killed.

#[cfg(feature = "containers")]
use crate::container::Container;
use crate::program::Program;
use std::ffi::OsString;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A running program, whose output goes to a file, or a container's log.
#[derive(Debug)]
pub struct Process(Kind);

#[derive(Debug)]
enum Kind {
    Program(Program),
    #[cfg(feature = "containers")]
    Container(Box<Container>),
}

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Process {
    /// Starts a program of the `PATH`, or of a container. `log` is in the directory that the program uses.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn start(program: &str, arguments: &[OsString], log: &Path) -> Process {
        if Program::exists(program) {
            return Process(Kind::Program(Program::start(program, arguments, log)));
        }
        #[cfg(feature = "containers")]
        return Process(Kind::Container(Box::new(Container::start(program, arguments, log))));
        #[cfg(not(feature = "containers"))]
        panic!("this test needs `{program}` on the PATH: `cargo xtask test` gets it");
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the program ends before, or takes a minute.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let started = Instant::now();
        while !ready() {
            assert!(self.is_running(), "the program ended before it was {what}:\n{}", self.output());
            assert!(started.elapsed() < START_TIMEOUT, "not {what} within a minute:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until somebody listens on the loopback port.
    pub fn wait_for_port(&mut self, port: u16) {
        self.wait_until("listening", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        match &mut self.0 {
            Kind::Program(program) => program.is_running(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.is_running(),
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        match &mut self.0 {
            Kind::Program(program) => program.kill(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.kill(),
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) {
        match &mut self.0 {
            Kind::Program(program) => program.terminate(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.terminate(),
        }
    }

    /// SIGINT, and waits for the end. A container is killed.
    pub fn interrupt(&mut self) {
        match &mut self.0 {
            Kind::Program(program) => program.interrupt(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.kill(),
        }
    }

    /// It stands still until [`Process::resume`].
    pub fn pause(&self) {
        match &self.0 {
            Kind::Program(program) => program.pause(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.pause(),
        }
    }

    /// It goes on.
    pub fn resume(&self) {
        match &self.0 {
            Kind::Program(program) => program.resume(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.resume(),
        }
    }

    /// Its process id; a container's is of no use here.
    pub fn id(&self) -> Option<u32> {
        match &self.0 {
            Kind::Program(program) => Some(program.id()),
            #[cfg(feature = "containers")]
            Kind::Container(_) => None,
        }
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        match &self.0 {
            Kind::Program(program) => program.output(),
            #[cfg(feature = "containers")]
            Kind::Container(container) => container.output(),
        }
    }
}
