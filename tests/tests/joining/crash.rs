//! An inviter that is killed while a machine joins: wherever that falls, the machine gets in with the same ticket, and the
//! federation has one member more.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fednode_tests::{Federation, NodeSpec, until};

const LIMIT: Duration = Duration::from_secs(40);

/// When the inviter is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the joiner's start.
    AfterMs(u64),
    /// When the ticket's end is on disk, which is before the answer is sent.
    Burnt,
}

#[test]
fn whenever_the_inviter_is_killed_the_joiner_becomes_one_member() {
    use Moment::{AfterMs, Burnt};
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    let mut lost = 0;
    for (round, moment) in [Burnt, AfterMs(20), Burnt, AfterMs(60), Burnt, AfterMs(120), Burnt].into_iter().enumerate()
    {
        let name = format!("joiner-{round}");
        joins_although_the_inviter_is_killed(&mut federation, &name, moment);
        let log = std::fs::read_to_string(federation.node(&name).log_path()).expect("a log");
        lost += u32::from(log.contains("answer was lost"));
        let members = federation.node("north").command(&["members", "--json"]).expect("a list").json();
        let names: Vec<&str> =
            members["members"].as_array().into_iter().flatten().filter_map(|member| member["name"].as_str()).collect();
        assert_eq!(names.len(), round + 2, "after a kill at {moment:?}: {names:?}");
        assert!(names.contains(&name.as_str()), "{names:?}");
        federation.node_mut(&name).stop().expect("it stops");
    }
    println!("{lost} answers were lost");
}

fn joins_although_the_inviter_is_killed(federation: &mut Federation, name: &str, moment: Moment) {
    let ticket = federation.invite("north", "delegate").expect("north invites");
    let ticket = ticket.to_str().expect("paths of this test are UTF-8").to_owned();
    let join = ["join", "--ticket-file", &ticket];
    let membership = federation.node("north").data_dir().join("membership");
    let before = inode(&membership);
    federation.add(NodeSpec::delegate(name)).expect("a free port").spawn(&join).expect("it starts");
    match moment {
        Moment::AfterMs(ms) => std::thread::sleep(Duration::from_millis(ms)),
        Moment::Burnt => {
            let begin = Instant::now();
            // Without a pause between two looks: the answer follows at once.
            while inode(&membership) == before {
                assert!(begin.elapsed() < LIMIT, "the ticket is not used");
            }
        }
    }
    federation.node_mut("north").kill9();
    federation.node_mut("north").up().expect("north starts again");

    let joiner = federation.node_mut(name);
    until(&format!("{name} joining"), LIMIT, || match joiner.wait_ready(Duration::from_secs(1)) {
        Ok(()) => Ok(()),
        Err(error) if joiner.is_running() => Err(error.to_string()),
        // It gave up, and said so: the same command again.
        Err(_) => {
            joiner.spawn(&join).map_err(|error| error.to_string())?;
            Err("it was started again".to_owned())
        }
    })
    .expect("the same ticket admits the same machine");
}

/// Changes whenever the file is replaced.
fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.ino())
}
