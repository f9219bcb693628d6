//! What tells the runs of a study apart: the words of its tables.

use serde::Serialize;

/// An owner's question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Specialised or swapping?
    Strategy,
    /// Who still answers when a machine dies?
    Loss,
    /// Which machine is enough for what?
    Minimum,
    /// Is a swap better fed from the disk or from the network?
    Storage,
    /// Is a second Griffith worth it?
    Griffith,
}

impl Question {
    /// All, in the order of the report.
    pub const ALL: [Question; 5] =
        [Question::Strategy, Question::Loss, Question::Minimum, Question::Storage, Question::Griffith];

    /// The word used on the command line and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Question::Strategy => "strategy",
            Question::Loss => "loss",
            Question::Minimum => "minimum",
            Question::Storage => "storage",
            Question::Griffith => "griffith",
        }
    }

    /// As an owner asks it.
    pub fn asked(self) -> &'static str {
        match self {
            Question::Strategy => "Specialised or swapping?",
            Question::Loss => "Who still answers when a machine dies?",
            Question::Minimum => "Which machine is enough for what?",
            Question::Storage => "Storage or network: what does a swap cost?",
            Question::Griffith => "Is a second Griffith worth it?",
        }
    }

    /// The inverse of [`Question::as_str`].
    pub fn parse(text: &str) -> Option<Question> {
        Question::ALL.into_iter().find(|question| question.as_str() == text)
    }
}

/// How the managers are made resident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Way {
    /// A: what fits stays, the rest is not offered.
    #[serde(rename = "specialised")]
    Specialised,
    /// B: everything but pinned managers is loaded when asked for.
    #[serde(rename = "swapping")]
    Swapping,
    /// What fits is resident, the rest is swapped in.
    #[serde(rename = "mixed")]
    Mixed,
    /// All managers are adapters of one model.
    #[serde(rename = "shared base")]
    SharedBase,
}

impl Way {
    /// All, in the order of the report.
    pub const ALL: [Way; 4] = [Way::Specialised, Way::Swapping, Way::Mixed, Way::SharedBase];

    /// The words used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Specialised => "specialised",
            Way::Swapping => "swapping",
            Way::Mixed => "mixed",
            Way::SharedBase => "shared base",
        }
    }

    /// The strategy that fednode itself knows.
    pub fn strategy(self) -> &'static str {
        match self {
            Way::SharedBase => "mixed",
            other => other.as_str(),
        }
    }
}

/// The line of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Link {
    /// 1 gigabit a second.
    #[serde(rename = "1 GbE")]
    Gbe1,
    /// 2.5.
    #[serde(rename = "2.5 GbE")]
    Gbe2_5,
    /// 10.
    #[serde(rename = "10 GbE")]
    Gbe10,
}

impl Link {
    /// All, slowest first.
    pub const ALL: [Link; 3] = [Link::Gbe1, Link::Gbe2_5, Link::Gbe10];

    /// The words used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Link::Gbe1 => "1 GbE",
            Link::Gbe2_5 => "2.5 GbE",
            Link::Gbe10 => "10 GbE",
        }
    }

    /// What TCP carries over it: 94 % of the line.
    pub fn bytes_per_s(self) -> u64 {
        match self {
            Link::Gbe1 => 117_000_000,
            Link::Gbe2_5 => 293_000_000,
            Link::Gbe10 => 1_170_000_000,
        }
    }
}

/// The disk under a store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Disk {
    /// Over PCIe.
    #[serde(rename = "NVMe")]
    Nvme,
    /// A solid-state disk behind SATA at 6 gigabits a second.
    #[serde(rename = "SATA")]
    Sata,
}

impl Disk {
    /// All, fastest first.
    pub const ALL: [Disk; 2] = [Disk::Nvme, Disk::Sata];

    /// The words used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Disk::Nvme => "NVMe",
            Disk::Sata => "SATA",
        }
    }

    /// Reads at this speed. NVMe: 13.48 GB in 4.5 s, between the 3.8 and 5.0 s of DESIGN 16.
    pub fn bytes_per_s(self) -> u64 {
        match self {
            Disk::Nvme => 3_000_000_000,
            Disk::Sata => 530_000_000,
        }
    }
}

/// What happens to the machine with the most memory after an eighth of the run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub enum Loss {
    /// Nothing.
    #[serde(rename = "none")]
    None,
    /// It is without power for another eighth.
    #[serde(rename = "for a while")]
    ForAWhile,
    /// It does not come back.
    #[serde(rename = "for good")]
    ForGood,
}

impl Loss {
    /// All.
    pub const ALL: [Loss; 3] = [Loss::None, Loss::ForAWhile, Loss::ForGood];

    /// The words used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Loss::None => "none",
            Loss::ForAWhile => "for a while",
            Loss::ForGood => "for good",
        }
    }
}

/// Everything that tells one run from another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Labels {
    /// Which question it helps to answer.
    pub question: Question,
    /// Which machines.
    pub machines: String,
    /// What they host.
    pub task: String,
    /// How.
    pub way: Way,
    /// Over which lines.
    pub link: Link,
    /// From which disks.
    pub disk: Disk,
    /// What dies.
    pub loss: Loss,
}
