//! Which TCP connections two processes have with each other, as the kernel tells it: a node's own word is not enough.

use std::collections::BTreeSet;

/// `local` and `remote` as `/proc/net/tcp` writes them.
type Ends = (String, String);

const ESTABLISHED: &str = "01";

/// How many established connections process `one` has that lead, or led, to process `two`.
pub(crate) fn between(one: u32, two: u32) -> usize {
    let theirs: BTreeSet<Ends> = of(two).into_iter().map(|(ends, _)| ends).collect();
    let live = of(one).into_iter().filter(|(_, state)| state == ESTABLISHED);
    live.filter(|((local, remote), _)| theirs.contains(&(remote.clone(), local.clone()))).count()
}

/// The connections of one process, and the state of each.
fn of(pid: u32) -> Vec<(Ends, String)> {
    let inodes = inodes(pid);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux says which connections there are");
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.get(9).is_some_and(|inode| inodes.contains(*inode)));
    ours.map(|fields| ((fields[1].to_owned(), fields[2].to_owned()), fields[3].to_owned())).collect()
}

fn inodes(pid: u32) -> BTreeSet<String> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let sockets =
        targets.filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()));
    sockets.collect()
}
