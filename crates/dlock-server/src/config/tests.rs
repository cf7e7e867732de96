//! Every way to get a configuration wrong has a message that names it.

use super::raw::Raw;
use super::*;
use clap::Parser;
use dlock_backend_redis::{RedisConfig, Settings};
use dlock_core::ResourceId;

fn parse(toml: &str) -> Result<Config, ConfigError> {
    Config::parse(Raw::parse(toml, false, "test.toml")?)
}

fn error(toml: &str) -> String {
    parse(toml).unwrap_err().to_string()
}

#[test]
fn nothing_at_all_is_in_memory_on_loopback() {
    let config = parse("").unwrap();
    assert_eq!((config.addr.to_string().as_str(), config.store), (DEFAULT_ADDRESS, StoreConfig::Memory));
}

#[test]
fn a_whole_file_is_read() {
    let config = parse(
        r#"
        addr = "tcp4://127.0.0.1:6000"
        metrics_addr = "127.0.0.1:9000"
        log_level = "debug"
        log_format = "json"
        drain_grace = "1m"
        [embedded]
        data_dir = "/data"
        [limits]
        waiters_max = 7
        "#,
    )
    .unwrap();
    assert_eq!(config.addr.port(), 6000);
    assert_eq!(config.store, StoreConfig::Directory("/data".into()));
    assert_eq!((config.drain_grace, config.engine.waiters_max), (Duration::from_secs(60), 7));
    assert_eq!(config.log_format, LogFormat::Json);
}

#[test]
fn the_first_dlocks_files_are_understood() {
    let store = |json| Raw::parse(json, true, "old.json").unwrap().store().unwrap();
    let etcd = store(r#"{"etcd":{"endpoints":["http://127.0.0.1:2379"]}}"#);
    assert_eq!(
        etcd,
        StoreConfig::Etcd(EtcdConfig {
            endpoints: vec!["http://127.0.0.1:2379".into()],
            ..EtcdConfig::default()
        })
    );
    let redis = store(r#"{"redis":{"network":"tcp","addr":"127.0.0.1:6379"}}"#);
    let node = RedisConfig { addr: Some("127.0.0.1:6379".into()), ..RedisConfig::default() };
    assert_eq!(redis, StoreConfig::Redis(Settings::try_from(&node).unwrap()));
    let nats = store(r#"{"jetstream":{"endpoint":"nats://127.0.0.1:4222"}}"#);
    assert_eq!(
        nats,
        StoreConfig::Nats(NatsConfig {
            endpoint: Some("nats://127.0.0.1:4222".into()),
            ..NatsConfig::default()
        })
    );
}

#[test]
fn wrong_settings_are_named_with_the_way_out() {
    assert_eq!(
        error("adr = \"x\""),
        "the configuration test.toml is wrong: there is no setting \"adr\"; did you mean \"addr\"?"
    );
    let unknown = error("[limits]\nwaiters = 3");
    assert!(
        unknown.contains("\"limits.waiters\"") && unknown.contains("did you mean \"waiters_max\"?"),
        "{unknown}"
    );
    assert!(error("addr = 5").contains("addr: "), "{}", error("addr = 5"));
    assert!(error("addr = \"nonsense\"").starts_with("addr is \"nonsense\": "));
    assert!(error("addr = \"udp://127.0.0.1:1\"").contains("tcp4://HOST:PORT"));
    assert!(error("addr = \"tcp6://127.0.0.1:1\"").contains("no address for tcp6"));
    assert!(error("log_level = \"loud=very\"").contains("use error, warn, info"));
    assert!(error("drain_grace = \"soon\"").contains("such as 500ms"));
    assert!(error("drain_grace = \"2h\"").contains("between 0s and 1h"));
    assert!(error("[limits]\nsessions_max = 0").contains("at least 1"));
    assert!(error("[etcd]\nendpoints = []").contains("name at least one endpoint"));
    assert!(error("[redis]\naddr = \"nowhere\"").starts_with("redis.addr is \"nowhere\": write HOST:PORT"));
    let unknown = error("[redis]\naddres = \"a:1\"");
    assert!(unknown.contains("\"redis.addres\"") && unknown.contains("did you mean \"addrs\"?"), "{unknown}");
    let two = "[etcd]\nendpoints = [\"a\"]\n[jetstream]\nendpoint = \"b\"";
    assert_eq!(error(two), "more than one store is configured (etcd, jetstream): keep one");
    assert!(error("addr = ").contains("test.toml"));
}

#[test]
fn a_flag_goes_before_the_file() {
    let file =
        Raw::parse("addr = \"127.0.0.1:1\"\nlog_level = \"warn\"\n[etcd]\nendpoints=[\"x\"]", false, "f")
            .unwrap();
    let flags =
        Flags { addr: Some("127.0.0.1:2".into()), data_dir: Some("/data".into()), ..Flags::default() };
    let config = Config::parse(flags.over(file)).unwrap();
    assert_eq!(config.addr.port(), 2);
    assert_eq!(config.store, StoreConfig::Directory("/data".into()));
    assert_eq!(config.log_level.to_string(), "warn");
}

#[test]
fn namespaces_to_be_mastered_are_named_or_all_of_them_or_none() {
    let mastering = |toml: &str| parse(toml).unwrap().engine.mastering;
    assert_eq!(mastering(""), None, "the engine knows best");
    assert_eq!(mastering("mastered_namespaces = []"), Some(Mastering::Off));
    assert_eq!(mastering("mastered_namespaces = [\"*\"]"), Some(Mastering::All));
    let two = mastering("mastered_namespaces = [\"jobs\", \"default\", \"jobs\"]").unwrap();
    for (namespace, covered) in [("jobs", true), ("", true), ("other", false)] {
        assert_eq!(two.covers(&ResourceId::new(namespace, "r").unwrap()), covered, "{namespace:?}");
    }
    let json = Config::from_text("{\"mastered_namespaces\": [\"*\"]}").unwrap();
    assert_eq!(json.engine.mastering, Some(Mastering::All));
}

#[test]
fn namespaces_to_be_mastered_that_make_no_sense_are_named_with_the_way_out() {
    assert_eq!(
        error("mastered_namespaces = [\"jobs\", \"a/b\"]"),
        "mastered_namespaces is \"a/b\": the namespace has the character '/' at byte 1, and only ASCII letters, digits, \
         '.', '_' and '-' are allowed: name namespaces, or * alone for all"
    );
    assert_eq!(
        error("mastered_namespaces = [\"*\", \"jobs\"]"),
        "mastered_namespaces is \"*,jobs\": * means all namespaces: give it alone, or only names"
    );
    assert_eq!(
        error("mastered_namespaces = [\"jobs\", \"\"]"),
        "mastered_namespaces is \"\": an empty name; the default namespace is \"default\": name namespaces, or * alone for all"
    );
    assert!(error("mastered_namespaces = [\"jo*\"]").starts_with("mastered_namespaces is \"jo*\": "));
    assert!(error("mastered_namespaces = \"jobs\"").contains("mastered_namespaces: "));
}

#[test]
fn namespaces_to_be_mastered_are_separated_by_commas_in_a_flag_which_replaces_the_files() {
    let file = || Raw::parse("mastered_namespaces = [\"file\"]", false, "f").unwrap();
    let given = |arguments: &[&str]| Flags::try_parse_from([&["dlock"], arguments].concat()).unwrap();
    let mastering = |flags: Flags| Config::parse(flags.over(file())).unwrap().engine.mastering;
    let named = |names: &[&str]| {
        Some(Mastering::Namespaces(names.iter().map(|name| Namespace::new(name).unwrap()).collect()))
    };
    assert_eq!(mastering(given(&["--mastered-namespaces", "a,b"])), named(&["a", "b"]));
    assert_eq!(mastering(given(&["--mastered-namespaces", "*"])), Some(Mastering::All));
    assert_eq!(mastering(given(&["--mastered-namespaces", ""])), Some(Mastering::Off));
    assert_eq!(mastering(given(&[])), named(&["file"]));
}
