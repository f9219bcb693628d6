//! What the command line understands, what it refuses, and its defaults.

use std::net::SocketAddr;

use clap::CommandFactory;

use super::up::{ApiOptions, RoleChoice, TlsChoice, UpOptions};
use super::*;
use crate::net::WanConfig;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

fn options(line: &str) -> Result<UpOptions, Failure> {
    match parse(line).expect("a command line") {
        Command::Up(args) => args.options(PathBuf::from("/data")),
        Command::Join(args) => args.options(PathBuf::from("/data")),
        other => panic!("{other:?} runs no node"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_understood() {
    let lines = [
        "fednode up",
        "fednode invite --role delegate --ttl 1h --ticket-file t --json",
        "fednode invite --no-wait --qr",
        "fednode invite --revoke",
        "fednode invite --revoke 000102030405060708090a0b0c0d0e0f",
        "fednode join - --name laptop --role delegate",
        "fednode join --ticket-file t",
        "fednode members",
        "fednode members list --json",
        "fednode members revoke den --yes",
        "fednode members rename den attic --json",
        "fednode members grant-admin den",
        "fednode members revoke-admin den",
        "fednode owner export key",
        "fednode owner import key --json",
        "fednode keys",
        "fednode keys add laptop --slot UCM --slot ULM --expires 90d --json",
        "fednode keys list",
        "fednode keys remove laptop",
        "fednode up --api 0.0.0.0:7717 --api-host desk.example --api-tls self-signed --api-key-always",
        "fednode up --api-tls-cert c.pem --api-tls-key k.pem",
        "fednode publish model.gguf --as ULM --domain core --version 2",
        "fednode pin",
        "fednode pin ULM:core --json",
        "fednode unpin UCM",
        "fednode pin UCM --on den --json",
        "fednode unpin UCM --on den",
        "fednode unpin --on den",
        "fednode load UCM --json",
        "fednode evict UCM",
        "fednode drain",
        "fednode drain den --back",
        "fednode managers",
        "fednode roster",
        "fednode roster show",
        "fednode roster apply roster.toml",
        "fednode routes --json",
        "fednode status --json --data-dir /data",
        "fednode --json plan --explain --inventory -",
        "fednode plan --what-if add:64GB --what-if add:den=32GiB --what-if remove:desk --what-if ctx:16384 --json",
        "fednode plan --inventory fleet.json --what-if ctx:UFM=8192 --explain",
        "fednode plan --inventory fleet.json --evaluate plan.json --what-if remove:desk",
        "fednode plan --as-inventory --what-if add:64GB",
        "fednode plan --schema",
        "fednode chat ULM:core hello --system brief --max-tokens 5 --temperature 0.5 --seed 1",
        "fednode verify UCM --json",
        "fednode up --check-seconds 5",
        "fednode bench fingerprint --json",
        "fednode up --disk-budget 200GiB --scrub-days 0",
        "fednode up --wan --relay-server --upnp",
        "fednode up --no-mdns --peer den.local:7718 --peer /ip4/10.0.0.1/tcp/7718",
        "fednode engine list --json",
        "fednode engine add http://127.0.0.1:8080 --as UCM --model llama --key-file k --unverified --json",
        "fednode engine add http://8.8.8.8 --as UCM",
        "fednode engine remove UCM",
        "fednode engine remove http://127.0.0.1:8080",
        "fednode bench transfer --size 1GiB --sources 2 --runs 3 --dir /tmp --json",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn the_commands_that_look_and_look_after_are_understood() {
    let lines = [
        "fednode doctor --json",
        "fednode service install --dry-run -- --memory 20GiB",
        "fednode service uninstall",
        "fednode service remove --dry-run",
        "fednode service status --json",
        "fednode transfers -v",
        "fednode transfers --watch",
        "fednode status --watch",
        "fednode gc",
        "fednode gc --yes --json",
        "fednode scrub",
        "fednode scrub --now ULM:core",
        "fednode dev manual out",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn the_commands_that_need_no_node_are_understood() {
    let lines = [
        "fednode assess --no-measure --memory 64GiB --roster syndicate --json",
        "fednode fit",
        "fednode fit llama-3.1-70b --ctx 8192 --parallel 4 --precision q4 --on h100 --on den=24GiB --json",
        "fednode fit --matrix",
        "fednode fit --roster syndicate --on 4x32GiB --on h100 --disk 1GB/s",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn the_commands_around_engines_are_understood() {
    let lines = [
        "fednode engine --socket /run/socket",
        "fednode engine",
        "fednode bench load m.gguf --resident other.gguf --context 512 --threads 2 --runs 3 --json",
        "fednode bench engine m.gguf --threads 2 --prompt 128 --tokens 32 --parallel 4 --runs 3",
        "fednode dev score --model m.gguf --adapter core=a.gguf",
        "fednode dev tokenize --model m.gguf",
    ];
    for line in lines {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn wrong_use_exits_with_2() {
    let lines = [
        "fednode",
        "fednode fly",
        "fednode up --listen here",
        "fednode up --peer den.local",
        "fednode up --memory lots",
        "fednode up --disk-budget much",
        "fednode gc --forget UCM",
        "fednode scrub UCM",
        "fednode up --threads 0",
        "fednode fit --ctx 0",
        "fednode fit x --matrix",
        "fednode bench",
        "fednode bench transfer --runs 0",
        "fednode up --name \u{7}",
        "fednode join ticket --roster r.toml",
        "fednode invite --role admin",
        "fednode invite --wait --no-wait",
        "fednode invite --revoke all",
        "fednode invite --revoke --ttl 1h",
        "fednode members revoke",
        "fednode members rename den \u{7}",
        "fednode owner",
        "fednode owner export",
        "fednode publish model.gguf",
        "fednode publish model.gguf --as ../UCM",
        "fednode pin ../UCM",
        "fednode plan --what-if 64GB",
        "fednode plan --what-if add:lots",
        "fednode plan --what-if ctx:0",
        "fednode plan --what-if remove:",
        "fednode plan --what-if grow:5",
        "fednode plan --evaluate p --as-inventory",
        "fednode plan --schema --inventory i",
        "fednode unpin",
        "fednode verify",
        "fednode up --check-seconds 0",
        "fednode pin --on den",
        "fednode load",
        "fednode evict ../UCM",
        "fednode keys add",
        "fednode keys add ../x",
        "fednode engine add http://127.0.0.1:8080",
        "fednode engine add 127.0.0.1:8080 --as UCM",
        "fednode engine add http://127.0.0.1:8080 --as ../UCM",
        "fednode engine remove",
        "fednode engine --socket s list",
        "fednode keys add laptop --expires never",
        "fednode up --api-host http://desk",
        "fednode up --api-tls-cert c.pem",
        "fednode up --api-tls self-signed --api-tls-cert c.pem --api-tls-key k.pem",
    ];
    for line in lines {
        assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let options = options("fednode up --name desk").expect("options");
    let expect = UpOptions {
        data_dir: PathBuf::from("/data"),
        role: RoleChoice::Auto,
        listen: up::default_listen(),
        peers: Vec::new(),
        mdns: true,
        wan: WanConfig::default(),
        api: ApiOptions {
            address: SocketAddr::from(([127, 0, 0, 1], 7717)),
            key_always: false,
            hosts: Vec::new(),
            tls: TlsChoice::Off,
        },
        memory_bytes: None,
        disk_budget_bytes: None,
        scrub_days: 30,
        check_period: crate::core::limits::CHECK_PERIOD,
        name: "desk".to_owned(),
        threads: None,
        lock: false,
        join_gpus: false,
        local: None,
        priority: 0,
        limit_up: None,
        limit_down: None,
        otlp: None,
        roster: None,
        ticket: None,
    };
    assert_eq!(options, expect);
}

#[test]
fn given_addresses_replace_the_default_and_a_name_is_always_there() {
    let options =
        options("fednode up --listen 127.0.0.1:1 --listen /ip4/127.0.0.1/tcp/2 --memory 20GiB").expect("options");
    assert_eq!(options.listen, ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"]);
    assert_eq!((options.memory_bytes, options.name.is_empty()), (Some(20 << 30), false));
}

#[test]
fn a_ticket_comes_from_exactly_one_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ticket");
    std::fs::write(&path, "fednode1file\n").expect("written");
    let ticket = |line: &str| options(line).map(|options| options.ticket);
    assert_eq!(ticket("fednode join fednode1word"), Ok(Some("fednode1word".to_owned())));
    let file = format!("fednode join --ticket-file {}", path.display());
    assert_eq!(ticket(&file), Ok(Some("fednode1file".to_owned())));
    let both = format!("{file} fednode1word");
    for (line, why) in [(both.as_str(), "two tickets"), ("fednode join", "no ticket")] {
        let failure = ticket(line).expect_err(line);
        assert!(failure.to_string().starts_with(why), "{failure}");
    }
}

#[test]
fn a_roster_is_checked_before_a_node_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("roster.toml");
    let line = format!("fednode up --roster {}", path.display());
    let cases = [
        ("name = 'one'\n[[slot]]\nname = 'judge'\n", None),
        ("name = 'twice'\n[[slot]]\nname = 'a'\n[[slot]]\nname = 'a'\n", Some("twice")),
        ("name = 'none'\nslot = []\n", Some("1 to")),
        ("this is no TOML", Some("roster.toml")),
    ];
    for (text, why) in cases {
        std::fs::write(&path, text).expect("written");
        match (options(&line), why) {
            (Ok(options), None) => assert!(options.roster.is_some()),
            (Err(failure), Some(why)) => assert!(failure.to_string().contains(why), "{failure}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}
