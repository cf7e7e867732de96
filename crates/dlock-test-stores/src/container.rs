//! A program in a container: on the host's network and on the host's directories, so that it takes the same arguments.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;
use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::runtime::Runtime;

/// Which image has which program.
const IMAGES: [Image; 4] = [
    Image::new("etcd", "quay.io/coreos/etcd", "v3.6.6"),
    Image::new("redis-server", "docker.io/library/redis", "8.2"),
    Image::new("nats-server", "docker.io/library/nats", "2.12"),
    Image {
        // Makes the data directory, and becomes a user that PostgreSQL accepts.
        script: Some("docker-entrypoint.sh"),
        environment: &[("POSTGRES_HOST_AUTH_METHOD", "trust")],
        ..Image::new("postgres", "docker.io/library/postgres", "17")
    },
];

struct Image {
    program: &'static str,
    name: &'static str,
    tag: &'static str,
    /// What starts the program.
    script: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

impl Image {
    const fn new(program: &'static str, name: &'static str, tag: &'static str) -> Image {
        Image { program, name, tag, script: None, environment: &[] }
    }
}

/// By this label `cargo xtask test` finds what a killed test left behind.
const LABEL: &str = "dlock-test";

/// A running container, removed when dropped.
#[derive(Debug)]
pub(crate) struct Container(Option<ContainerAsync<GenericImage>>);

impl Container {
    /// Starts a program of a known image.
    pub(crate) fn start(program: &str, arguments: &[OsString], log: &Path) -> Container {
        let image =
            IMAGES.iter().find(|image| image.program == program).expect("an image that has the program");
        let mut command = vec![program.to_owned()];
        command.extend(arguments.iter().map(|argument| argument.to_str().expect("UTF-8").to_owned()));
        let entrypoint = image.script.map_or_else(|| command.remove(0), str::to_owned);
        let directory = log.parent().expect("a directory for the log").to_str().expect("UTF-8").to_owned();
        let user = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let request = GenericImage::new(image.name, image.tag)
            .with_entrypoint(&entrypoint)
            .with_cmd(command)
            .with_network("host")
            .with_user(user)
            .with_label(LABEL, std::process::id().to_string())
            .with_mount(Mount::bind_mount(directory.clone(), directory));
        let set =
            |request: ContainerRequest<_>, (name, value): &(&str, &str)| request.with_env_var(*name, *value);
        let request = image.environment.iter().fold(request, set);
        let started = wait(async move { request.start().await });
        Container(Some(started.unwrap_or_else(|error| {
            panic!("{program} in {}:{} does not start: {error}", image.name, image.tag)
        })))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.with(async |container| container.is_running().await.unwrap_or(false)).unwrap_or(false)
    }

    pub(crate) fn pause(&self) {
        self.with(async |container| container.pause().await.unwrap());
    }

    pub(crate) fn resume(&self) {
        self.with(async |container| container.unpause().await.unwrap());
    }

    /// SIGTERM, and SIGKILL ten seconds later.
    pub(crate) fn terminate(&mut self) {
        self.with(async |container| container.stop_with_timeout(Some(10)).await.unwrap());
    }

    /// SIGKILL, and forgets the container.
    pub(crate) fn kill(&mut self) {
        if let Some(container) = self.0.take() {
            wait(async move { container.rm().await }).unwrap();
        }
    }

    pub(crate) fn output(&self) -> String {
        self.with(async |container| {
            let mut output = container.stdout_to_vec().await.unwrap_or_default();
            output.extend(container.stderr_to_vec().await.unwrap_or_default());
            String::from_utf8_lossy(&output).into_owned()
        })
        .unwrap_or_default()
    }

    fn with<T: Send>(&self, call: impl AsyncFnOnce(&ContainerAsync<GenericImage>) -> T + Send) -> Option<T> {
        let container = self.0.as_ref()?;
        Some(std::thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(call(container))).join().expect("an answer from Docker")
        }))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// Waits outside of whatever runtime the caller is in.
fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        scope.spawn(|| runtime().block_on(future)).join().expect("an answer from Docker")
    })
}
