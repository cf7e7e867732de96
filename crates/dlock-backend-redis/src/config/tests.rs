//! Every way to get the settings wrong has a message that names it.

use super::*;

fn parse(toml: &str) -> Result<Settings, SettingError> {
    Settings::try_from(&toml::from_str::<RedisConfig>(toml).unwrap())
}

fn error(toml: &str) -> String {
    parse(toml).unwrap_err().to_string()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

#[test]
fn the_first_dlocks_settings_are_one_node() {
    let settings = parse("network = \"tcp\"\naddr = \"127.0.0.1:6379\"").unwrap();
    assert_eq!(settings.deployment, Deployment::Single(tcp("127.0.0.1", 6379)));
    assert_eq!((settings.prefix.as_str(), settings.db, settings.replicas), ("dlock", 0, 0));
    let settings = parse("network = \"unix\"\naddr = \"/run/redis.sock\"").unwrap();
    assert_eq!(settings.deployment, Deployment::Single(Address::Unix("/run/redis.sock".into())));
}

#[test]
fn every_deployment_is_read() {
    let sentinel = parse(
        "mode = \"sentinel\"\naddrs = [\"a:1\", \"[::1]:2\"]\n[sentinel]\nmaster = \"locks\"\npassword = \"p\"",
    );
    let Deployment::Sentinel { sentinels, master, login } = sentinel.unwrap().deployment else { panic!() };
    assert_eq!((sentinels, master.as_str()), (vec![tcp("a", 1), tcp("::1", 2)], "locks"));
    assert_eq!(login.password, Some(Password::Given("p".into())));
    let cluster = parse("mode = \"cluster\"\naddrs = [\"a:1\"]").unwrap();
    assert_eq!(cluster.deployment, Deployment::Cluster { seeds: vec![tcp("a", 1)] });
    let quorum = parse("mode = \"quorum\"\naddrs = [\"a:1\", \"b:1\", \"c:1\"]").unwrap();
    assert_eq!(quorum.deployment, Deployment::Quorum { nodes: vec![tcp("a", 1), tcp("b", 1), tcp("c", 1)] });
}

#[test]
fn wrong_settings_are_named_with_the_way_out() {
    for (toml, expected) in [
        ("", "redis.addr is \"\": write HOST:PORT"),
        ("addr = \"localhost\"", "redis.addr is \"localhost\": write HOST:PORT"),
        ("addr = \"a:0\"", "redis.addr is \"a:0\""),
        ("addr = \"a:1\"\naddrs = [\"b:1\"]", "keep one of them"),
        ("addrs = [\"a:1\", \"b:1\"]", "name the mode"),
        ("addr = \"a:1\"\nnetwork = \"udp\"", "redis.network is \"udp\": use tcp or unix"),
        ("addr = \"a:1\"\nmode = \"ring\"", "use single, sentinel, cluster or quorum"),
        ("addr = \"a:1\"\nmode = \"sentinel\"", "[redis.sentinel] master"),
        ("addr = \"a:1\"\n[sentinel]\nmaster = \"m\"", "write mode = \"sentinel\""),
        ("addrs = [\"a:1\", \"b:1\"]\nmode = \"quorum\"", "3, 5 or 7 different nodes"),
        ("addrs = [\"a:1\", \"b:1\", \"a:1\"]\nmode = \"quorum\"", "3, 5 or 7 different nodes"),
        (
            "addrs = [\"a:1\", \"b:1\", \"c:1\"]\nmode = \"quorum\"\nreplicas = 1",
            "redis.replicas is \"1\": the nodes of a quorum have no replicas",
        ),
        ("addr = \"a:1\"\nmode = \"cluster\"\ndb = 3", "a cluster has only database 0"),
        ("addr = \"a:1\"\ndb = -1", "redis.db is \"-1\""),
        ("addr = \"a:1\"\npassword = \"x\"\npassword_file = \"/p\"", "redis.password_file is \"/p\""),
        ("addr = \"a:1\"\nprefix = \"a{b}\"", "redis.prefix is \"a{b}\""),
        ("addr = \"a:1\"\ntimeout = \"soon\"", "such as 500ms or 2s"),
        ("addr = \"a:1\"\ntimeout = \"1h\"", "between 50ms and 1m"),
        ("addr = \"a:1\"\n[tls]\ncert_file = \"/c\"", "write tls.key_file"),
        ("addr = \"/s\"\nnetwork = \"unix\"\nmode = \"cluster\"", "one node only"),
    ] {
        let message = error(toml);
        assert!(message.contains(expected), "{toml:?}: {message}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let settings = parse("addr = \"a:1\"\npassword = \"hunter2\"").unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
